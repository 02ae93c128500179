#!/usr/bin/env bash
# Builds and starts the shop. `scripts/start.sh --help`
[ -n "${BASH_VERSION:-}" ] || { echo 'This script needs bash. Run it with "bash" in front, or with nothing.' >&2; exit 2; }
set +o posix
# Finds the repository, also through symbolic links.
unset CDPATH
SCRIPT=${BASH_SOURCE[0]:-}
while [ -L "$SCRIPT" ]; do
    cd -P -- "$(dirname -- "$SCRIPT")" && SCRIPT=$(readlink -- "${SCRIPT##*/}") || exit 1
done
if [ ! -f "$SCRIPT" ] || ! cd -P -- "$(dirname -- "$SCRIPT")/.." || [ ! -f scripts/lib.sh ]; then
    echo 'This script needs the other files of its repository: run it there, or through a symbolic link.' >&2
    exit 1
fi
# shellcheck source-path=SCRIPTDIR source=lib.sh
. scripts/lib.sh || exit 1

usage() {
    cat <<'USAGE'
Builds the shop, starts it in the background and waits until it is ready.

    scripts/start.sh                  all five services, and the gateway in front
    scripts/start.sh order-service    only the named services
    scripts/start.sh --release        optimised; the build takes longer
    scripts/start.sh --instances analytics-service=3
                                      three instances of it, between which the gateway
                                      chooses; =1 stops the other two again

Options
    --release    build with cargo's release profile
    --instances <service>=<n>
                 1 to 5 instances of analytics-service or the gateway; the others keep
                 their records in memory. Instance 2 has a port that is higher by ten, and
                 so on. Each gateway has its own cache and its own count of requests
    --help       this text

Environment
    BASE_PORT    port of user-service; the others follow, the gateway is before (8001)
    PROFILE      cargo profile: dev, release or dist (dev)
    RUN_DIR      the directory for logs and process ids (run)
    START_TIMEOUT    seconds until a service must be ready (10)
    LAB_MODE     the routes that break, seed and reset a service: on or off (on)
    LOG_LEVEL, LOG_FORMAT, RUST_LOG    passed on to the services
    TLS=self-signed, or TLS_CERT and TLS_KEY    the gateway speaks HTTPS too
    TLS_PORT     the port for that; 443 after the gateway's (8443)

scripts/stop.sh stops the services again.
USAGE
}

# Notes how many instances of a service are wanted, from "analytics-service=3".
note_instances() {
    local place number reason
    case $1 in
        (*=[1-"$MOST_INSTANCES"]) ;;
        (*) misused "--instances is \"$1\", expected a service and 1 to $MOST_INSTANCES, such as analytics-service=3" ;;
    esac
    place=$(place_of "${1%=*}") && [ "${NUMBER_OF[place]}" = 1 ] ||
        misused "there is no service called ${1%=*}; there are ${NAMES[*]:0:6}"
    reason=$(why_one_instance "$place")
    if [ -n "$reason" ] && [ "${1##*=}" -gt 1 ]; then
        complain "$reason"
        exit 1
    fi
    for ((number = 2; number <= ${1##*=}; number++)); do add_instance "$place" "$number"; done
    counted="$counted $place"
    for number in $(instances_of "$place"); do
        [ "${NUMBER_OF[number]}" -le "${1##*=}" ] || surplus="$surplus $number"
    done
}

wanted='' counted='' surplus=''
while [ $# -gt 0 ]; do
    case $1 in
        (--release) PROFILE=release ;;
        (--instances)
            note_instances "${2:-}"
            shift
            ;;
        (-h | --help) usage && exit 0 ;;
        (-*) misused "unknown option $1; there are --release, --instances and --help" ;;
        (*)
            place=$(place_of "$1") ||
                misused "there is no service called $1; there are ${NAMES[*]}"
            case " $wanted " in (*" $place "*) ;; (*) wanted="$wanted $place" ;; esac
            ;;
    esac
    shift
done
# All instances of the named services, but for those that are too many.
named=${wanted:+$wanted $counted} wanted=''
for first in ${named:-$ALL}; do
    for place in $(instances_of "$first"); do
        case "$wanted $surplus " in (*" $place "*) ;; (*) wanted="$wanted $place" ;; esac
    done
done
wanted=${wanted# }

need_curl
choose_ports
for place in $wanted; do
    [ "$(port_of "$place")" -le 65535 ] ||
        misused "BASE_PORT is \"$BASE_PORT\", which leaves no port for ${NAMES[place]}; choose one below 65000"
done

# Ctrl-C leaves no process behind.
interrupted() {
    trap : INT TERM HUP
    trap '' PIPE
    # The signal may have interrupted a `read` with its own IFS.
    IFS=$' \t\n'
    # Nobody reads the output after a closed pipe (| head).
    [ "$1" != 141 ] || exec >/dev/null
    say ''
    stop_started
    say "Interrupted; the services that this run started are stopped."
    # An interrupted `time` must print nothing.
    TIMEFORMAT=''
    exit "$1"
}
trap 'rm -f "${SCRATCH:?}"*' EXIT
trap 'interrupted 130' INT
trap 'interrupted 143' TERM
trap 'interrupted 129' HUP
trap 'interrupted 141' PIPE

# shellcheck disable=SC2086 # a list of places
{
    [ -n "$surplus" ] && stop_services $surplus
    start_shop $wanted || exit 1
}
# From here on, a closed pipe (| head) stops only the table.
trap - PIPE

# Prints which services run, and the next commands.
report() {
    if [ -z "$STARTED" ]; then
        # shellcheck disable=SC2086
        if [ -z "$named" ]; then
            say 'The shop is already running.'
        else
            say "Already running: $(names $wanted)."
        fi
    fi
    say ''
    # shellcheck disable=SC2086
    print_table $wanted
    say ''
    local place count=0 state=ready
    for place in $STARTED; do
        count=$((count + 1))
        [ -n "${NOTES[place]}" ] && state=up
    done
    case $count in
        (0) ;;
        (1) say "One service $state in $BOLD$ELAPSED ms$PLAIN." ;;
        (*) say "$count services $state in $BOLD$ELAPSED ms$PLAIN; the memory above adds up to $(megabytes "$TOTAL_MEMORY")." ;;
    esac
    local port certificate
    port=$(tls_port "$(port_of $GATEWAY)")
    certificate=${TLS_CERT:-$RUN_DIR/gateway-$port.crt}
    if [ -n "${TLS:-}${TLS_CERT:-}" ] && [ -f "$certificate" ] && pid_of $GATEWAY >/dev/null; then
        say "HTTPS:   curl --cacert $certificate https://localhost:$port/health"
    fi
    if pid_of $GATEWAY >/dev/null; then
        say "Console: $(base_url $GATEWAY)    ${DIM}open it in a browser$PLAIN"
    fi
    say 'API:     add /docs to a URL above, and open it in a browser'
    say "Logs:    $RUN_DIR/<service>.log    ${DIM}tail -f $RUN_DIR/*.log$PLAIN"
    say "Health:  $(by_hand scripts/health.sh)"
    say "Stop:    $(by_hand scripts/stop.sh)"
}
steadily report
