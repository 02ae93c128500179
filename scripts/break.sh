#!/usr/bin/env bash
# Breaks and mends services of the running shop. `scripts/break.sh --help`
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
Breaks a service of the running shop, for all of its routes, and mends it again.

    scripts/break.sh <service> delay 250ms   it answers so much later; also 2s
    scripts/break.sh <service> errors 30%    so many of its responses are 500
    scripts/break.sh <service> hang          it never answers
    scripts/break.sh <service> close         it closes the connection instead
    scripts/break.sh <service> garbage       it answers 200 with something else
    scripts/break.sh <service> down          it is stopped; its records are lost
    scripts/break.sh mend                    repairs all that is broken
    scripts/break.sh mend <service>          repairs this one

<service> is a name such as user-service, or gateway. Each of these replaces
what was broken in that service before, and ends by itself after an hour, except
`down`. Health, metrics and the lab's own routes go on. For single routes and
more kinds, see docs/faults.md.

Environment
    BASE_PORT    port of user-service; the others follow, the gateway is before (8001)
    RUN_DIR      the directory for logs and process ids (run)
USAGE
}

case ${1:-} in (-h | --help) usage && exit 0 ;; esac
need_curl
choose_ports

# Sets the fault with the fields $2 for all routes of the service at $1, and says $3.
break_with() {
    lab_ask PUT "$1" /lab/faults "[{\"route\":\"*\",\"seconds\":3600,$2}]" || exit 1
    say "${NAMES[$1]} $3; health and metrics still answer."
    say "$(by_hand scripts/break.sh mend) repairs it."
}

break_down() {
    stop_services "$1" || {
        complain "${NAMES[$1]} was not started by scripts/start.sh; stop it where it was started,"
        complain 'in the lab in containers with scripts/lab.sh break.'
        exit 1
    }
    say "$1" >>"$DOWN_NOTE"
    say "$(by_hand scripts/break.sh mend) starts it again, without its records."
}

# Sets MS to the milliseconds in $1.
milliseconds() {
    case $1 in
        (*ms) MS=${1%ms} ;;
        (*s) MS=${1%s}000 ;;
        (*) MS='' ;;
    esac
    case $MS in ('' | *[!0-9]* | ??????*) misused "\"$1\" is no delay; it is 0ms to 60000ms, or 0s to 60s" ;; esac
    [ "$((10#$MS))" -le 60000 ] || misused "\"$1\" is too long; the longest delay is 60s"
    MS=$((10#$MS))
}

# Sets SHARE to the percentage in $1, as a fraction.
percentage() {
    local number=${1%\%}
    case $number in ('' | *[!0-9]* | ????*) number=101 ;; esac
    [ "$number" != "$1" ] && [ "$((10#$number))" -le 100 ] ||
        misused "\"$1\" is no share of the requests; it is 0% to 100%"
    SHARE=$(printf '%d.%02d' "$((10#$number / 100))" "$((10#$number % 100))")
}

# Repairs the services at the places given. A service that does not run has no faults.
mend() {
    local i down='' rest=''
    if [ -r "$DOWN_NOTE" ]; then
        while read -r i; do
            # Started again by hand.
            pid_of "$i" >/dev/null && continue
            case " $* " in (*" $i "*) down="$down $i" ;; (*) rest="$rest$i"$'\n' ;; esac
        done <"$DOWN_NOTE"
        printf '%s' "$rest" >"$DOWN_NOTE"
    fi
    if [ -n "$down" ]; then
        # shellcheck disable=SC2086 # a list of places
        start_shop $down || exit 1
        # shellcheck disable=SC2086
        say "Started $(names $down) again."
    fi
    MENDED=''
    for i in "$@"; do
        lab_ask DELETE "$i" /lab/faults 2>/dev/null && MENDED="$MENDED $i"
    done
    [ -n "$MENDED" ] || {
        complain "Nothing to mend: no service of the shop answers. $(by_hand scripts/start.sh) starts it."
        exit 1
    }
    # shellcheck disable=SC2086
    say "No faults in $(names $MENDED)."
}

trap 'rm -f "${SCRATCH:?}"*' EXIT
what=${1:-}
[ -n "$what" ] || misused 'which service, and how? --help lists what there is'
if [ "$what" = mend ]; then
    place=$ALL
    if [ -n "${2:-}" ]; then
        place=$(place_of "$2") || misused "there is no service called $2; there are ${NAMES[*]}"
    fi
    # shellcheck disable=SC2086 # a list of places
    mend $place
    exit 0
fi
place=$(place_of "$what") || misused "there is no service called $what; there are ${NAMES[*]}"
case ${2:-} in
    (delay)
        milliseconds "${3:-}"
        break_with "$place" "\"kind\":\"latency\",\"ms\":$MS" "answers $MS ms later"
        ;;
    (errors)
        percentage "${3:-}"
        break_with "$place" "\"kind\":\"status\",\"status\":500,\"share\":$SHARE" "answers ${3} of its requests with 500"
        ;;
    (hang) break_with "$place" '"kind":"hang"' 'accepts requests and never answers' ;;
    (close) break_with "$place" '"kind":"close"' 'closes the connection instead of answering' ;;
    (garbage) break_with "$place" '"kind":"garbage"' 'answers 200 with something that is not JSON' ;;
    (down) break_down "$place" ;;
    (*) misused "how? scripts/break.sh $what delay 250ms, errors 30%, hang, close, garbage or down" ;;
esac
