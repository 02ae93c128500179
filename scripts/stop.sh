#!/usr/bin/env bash
# Stops the shop. `scripts/stop.sh --help`
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
Stops the services that scripts/start.sh or scripts/demo.sh started, and no others.

    scripts/stop.sh                  all of them
    scripts/stop.sh order-service    only the named services, with all their instances
    scripts/stop.sh analytics-service.2    only this instance; .1 is the first one

A service finishes its requests in flight first. After 12 s the script kills it and
says so.

Environment
    RUN_DIR      the directory for logs and process ids (run)
USAGE
}

wanted=''
while [ $# -gt 0 ]; do
    case $1 in
        (-h | --help) usage && exit 0 ;;
        (-*) misused "unknown option $1; there is --help" ;;
        (*)
            place=$(place_of "${1%.1}") ||
                misused "there is no service called $1; there are ${NAMES[*]}"
            # Of analytics-service.1 only the first instance.
            [ "${1%.1}" != "$1" ] || place=$(instances_of "$place")
            for place in $place; do
                case " $wanted " in (*" $place "*) ;; (*) wanted="$wanted $place" ;; esac
            done
            ;;
    esac
    shift
done

# shellcheck disable=SC2086 # a list of places
if ! stop_services ${wanted:-$ALL}; then
    if [ -n "$wanted" ]; then
        say "Nothing to stop: $(names $wanted) was not started by scripts/start.sh, or has stopped already."
    else
        say 'Nothing to stop: no service that scripts/start.sh started is running.'
    fi
fi
exit 0
