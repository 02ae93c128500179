#!/usr/bin/env bash
# Shows the health of the services. `scripts/health.sh --help`
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
Sends GET /health (is it alive?) and GET /health/ready (can it do its work?) to each
service, and shows the responses as a table.

    scripts/health.sh                 once
    scripts/health.sh --watch         again every 2 seconds, until Ctrl-C
    scripts/health.sh --watch 10      again every 10 seconds
    scripts/health.sh --curl          with the curl commands for it, to paste

The gateway is shown if it runs: no service needs it. So are the further instances that
scripts/start.sh --instances has started.

The exit status is the number of unhealthy services: those that do not answer or are
unavailable. A degraded service counts as healthy: it works without an optional
dependency, which the table names.

Environment
    BASE_PORT    port of user-service; the others follow, the gateway is before (the
                 port of the running shop, else 8001)
    RUN_DIR      the directory for logs and process ids (run)
USAGE
}

watch='' show_curl=''
while [ $# -gt 0 ]; do
    case $1 in
        (--watch)
            watch=2
            case ${2:-} in
                ('' | -*) ;;
                (*[!0-9]* | 0* | ?????*) misused "--watch takes whole seconds, 1 to 9999, not \"$2\"" ;;
                (*) watch=$2 && shift ;;
            esac
            ;;
        (--curl) show_curl=yes ;;
        (-h | --help) usage && exit 0 ;;
        (*) misused "unknown argument $1; there are --watch, --curl and --help" ;;
    esac
    shift
done

need_curl
choose_ports

# The services to show with their instances, and their number in words.
SHOWN=''
for place in $(for first in $FIVE $GATEWAY; do instances_of "$first"; done); do
    if [ "$place" != $GATEWAY ] || pid_of $GATEWAY >/dev/null ||
        [ "$(field service "$(curl -s -m 1 "$(base_url $GATEWAY)/health")")" = gateway ]; then
        SHOWN="$SHOWN $place"
    fi
done
# shellcheck disable=SC2086 # a list of places
COUNT=$(set -- $SHOWN && printf '%s' $#)
case $COUNT in (5) COUNT=five ;; (6) COUNT=six ;; esac

# On a terminal, each round overwrites the one before.
LINE_END=''
[ -n "$watch" ] && [ -n "$ON_TERMINAL" ] && LINE_END=$'\033[K'
line() { printf "%s$LINE_END\n" "$*"; }

# A number of seconds in words.
in_words() {
    if [ "$1" -lt 60 ]; then
        printf '%s s' "$1"
    elif [ "$1" -lt 3600 ]; then
        printf '%s min %s s' "$(($1 / 60))" "$(($1 % 60))"
    else
        printf '%s h %s min' "$(($1 / 3600))" "$(($1 / 60 % 60))"
    fi
}

# Prints one row of the table; sets HEALTHY, and NOTE if something is wrong.
row() {
    local name=${NAMES[$1]} url health live_status took
    local live=no state=- framework=- version=- uptime=- latency=- colour=$RED missing
    url=$(base_url "$1")
    HEALTHY='' NOTE=''
    [ -n "$ON_TERMINAL" ] && printf '%s\r' "$DIM$name ...$PLAIN"
    {
        read_answer
        health=$BODY live_status=$STATUS took=$TOOK
        read_answer
    } <<<"$(curl -s -m 2 -w "$MEASURED" "$url/health" "$url/health/ready")"
    case $live_status in
        (200)
            if [ "$(field service "$health")" != "$(service_of "$1")" ]; then
                NOTE="the answer at $url/health is not from $(service_of "$1")"
            else
                live=yes
                framework=$(field framework "$health")
                version=$(field version "$health")
                uptime=$(in_words "$(field uptimeSeconds "$health")")
                latency=$(awk -v s="$took" 'BEGIN { printf "%.1f ms", s * 1000 }')
                state=$(field status "$BODY")
            fi
            ;;
        (000)
            NOTE="nothing answers at $url"
            case $took in ([2-9]*) NOTE="no answer at $url within 2 s" ;; esac
            ;;
        (*) NOTE="$url/health answers $live_status" ;;
    esac
    if [ "$live" = yes ]; then
        case $state in
            (ready)
                HEALTHY=yes
                colour=$GREEN
                ;;
            (degraded)
                HEALTHY=yes
                colour=$YELLOW
                missing=$(missing_in "$BODY")
                NOTE="degraded: it works without ${missing:-something}"
                ;;
            (unavailable)
                missing=$(missing_in "$BODY" true)
                NOTE='unavailable: it is shutting down'
                [ -n "$missing" ] && NOTE="unavailable: it cannot work without $missing"
                ;;
            (*)
                state='?'
                NOTE="/health/ready answers $STATUS"
                ;;
        esac
    fi
    line "$(printf "%-20s $colour%-4s  %-11s$PLAIN %-9s %-7s %12s %9s" \
        "$name" "$live" "$state" "$framework" "$version" "$uptime" "$latency")"
}

# Prints the table; sets UNHEALTHY.
print_all() {
    local i notes=''
    UNHEALTHY=0
    line "$BOLD$(printf '%-20s %-4s  %-11s %-9s %-7s %12s %9s' service live ready framework version uptime latency)$PLAIN"
    for i in $SHOWN; do
        row "$i"
        [ -z "$HEALTHY" ] && UNHEALTHY=$((UNHEALTHY + 1))
        [ -n "$NOTE" ] && notes="$notes${NAMES[i]}: $NOTE"$'\n'
    done
    line ''
    if [ "$UNHEALTHY" -eq 0 ]; then
        line "${GREEN}All $COUNT are healthy.$PLAIN"
    else
        line "$RED$UNHEALTHY of $COUNT are not healthy.$PLAIN"
    fi
    while IFS= read -r i; do
        [ -n "$i" ] && line "    $i"
    done <<<"$notes"
    [ "$SHOWN" = " $FIVE" ] && [ "$UNHEALTHY" -eq 5 ] && line "    $(by_hand scripts/start.sh) starts the shop."
    [ -n "$show_curl" ] || return 0
    line ''
    line 'The same by hand; the last line of each response is its status and its time in seconds:'
    for i in $SHOWN; do
        line "    ${CYAN}curl -s -m 2 -w '$MEASURED' $(base_url "$i")/health $(base_url "$i")/health/ready$PLAIN"
    done
}

if [ -z "$watch" ]; then
    print_all
    exit "$UNHEALTHY"
fi

UNHEALTHY=0
trap 'printf "\n"; exit "$UNHEALTHY"' INT TERM
[ -n "$ON_TERMINAL" ] && printf '\033[2J'
while :; do
    [ -n "$ON_TERMINAL" ] && printf '\033[H'
    line "$DIM$(date '+%H:%M:%S'), every $watch s; Ctrl-C ends it.$PLAIN"
    line ''
    print_all
    if [ -n "$ON_TERMINAL" ]; then printf '\033[J'; else line ''; fi
    sleep "$watch"
done
