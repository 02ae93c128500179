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
# shellcheck source-path=SCRIPTDIR source=breaking.sh
. scripts/breaking.sh || exit 1

usage() {
    cat <<'USAGE'
Breaks a service of the running shop, for all of its routes, and mends it again.
If no shop runs, but the lab in containers is up, breaks and mends that one.

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
choose_shop

mend_hint() { by_hand scripts/break.sh mend; }

break_down() {
    if [ -n "$IN_CONTAINERS" ]; then
        need_running "$1"
        stop_container "$1" || exit 1
    elif stop_services "$1"; then
        say "$1" >>"$DOWN_NOTE"
    else
        complain "${NAMES[$1]} was not started by scripts/start.sh; stop it where it was started."
        exit 1
    fi
    say "$(mend_hint) starts it again, without its records."
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
    remove_faults "$@"
    [ -n "$MENDED" ] || {
        complain "Nothing to mend: no service of the shop answers. $(by_hand scripts/start.sh) starts it."
        exit 1
    }
    # shellcheck disable=SC2086
    say "No faults in $(names $MENDED)."
}

trap 'rm -f "${SCRATCH:?}"*' EXIT
what=${1:-}
[ $# -le 3 ] || misused "unknown argument $4; there is --help"
[ -n "$what" ] || misused 'which service, and how? --help lists what there is'
if [ "$what" = mend ]; then
    [ $# -le 2 ] || misused "unknown argument $3; mend takes one service, or none for all"
    place=$ALL
    if [ -n "${2:-}" ]; then
        place=$(place_of "$2") || misused "there is no service called $2; there are ${NAMES[*]}"
    fi
    if [ -n "$IN_CONTAINERS" ]; then repair=mend_containers; else repair=mend; fi
    # shellcheck disable=SC2086 # a list of places
    "$repair" $place || exit 1
    exit 0
fi
place=$(place_of "$what") || misused "there is no service called $what; there are ${NAMES[*]}"
if [ "${2:-}" = down ]; then
    [ $# -le 2 ] || misused "down takes no amount, so $3 is too many"
    break_down "$place"
elif read_fault "${2:-}" "${3:-}"; then
    set_fault "$place" || exit 1
    say "$(mend_hint) repairs it."
else
    misused "how? scripts/break.sh $what $VERBS or down"
fi
