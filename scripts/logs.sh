#!/usr/bin/env bash
# Shows the logs of the shop for people. `scripts/logs.sh --help`
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
Shows the logs of the running shop: one short line for each, in the colour of its
service.

    scripts/logs.sh                       the last lines, then new ones until Ctrl-C
    scripts/logs.sh order-service         only the named services, with all their instances
    scripts/logs.sh --once                the last lines only
    scripts/logs.sh --request b56c62e0    all lines of one request, in order; the
                                          beginning of its id is enough

The id of a request is at the end of its line, in X-Request-Id and in every error. The
logs themselves are JSON, in RUN_DIR.

Environment
    RUN_DIR     the directory for logs and process ids (run)
    NO_COLOR    without colour, as in a pipe
USAGE
}

# Also of those that have stopped.
find_instances log

id='' once='' wanted=''
while [ $# -gt 0 ]; do
    case $1 in
        (-h | --help) usage && exit 0 ;;
        (--once) once=yes ;;
        (--request)
            case ${2:-} in
                ('' | *[!A-Za-z0-9._-]*) misused "--request is \"${2:-}\", expected the id of a request or its beginning" ;;
            esac
            id=$2
            shift
            ;;
        (-*) misused "unknown option $1; there are --once, --request and --help" ;;
        (*)
            place=$(place_of "$1") ||
                misused "there is no service called $1; there are ${NAMES[*]}"
            wanted="$wanted $(instances_of "$place")"
            ;;
    esac
    shift
done

logs=()
for place in ${wanted:-$ALL}; do
    [ -e "$(log_of "$place")" ] && logs+=("$(log_of "$place")")
done
if [ ${#logs[@]} -eq 0 ]; then
    # shellcheck disable=SC2086 # a list of places
    complain "There is no log of $(names ${wanted:-$ALL}) in $RUN_DIR/; $(by_hand scripts/start.sh) starts the shop."
    exit 1
fi


if [ -n "$id" ]; then
    # With LOG_FORMAT=pretty, the id is at the end of a line, and shortened.
    lines=$(cat "${logs[@]}" | grep -E "\"requestId\":\"$id| ${id:0:8}[A-Za-z0-9._-]*(: .*)?\$" | sort)
    if [ -z "$lines" ]; then
        complain "No line has a request id that begins with $id."
        exit 1
    fi
    readable <<<"$lines"
elif [ -n "$once" ]; then
    for log in "${logs[@]}"; do tail -n 20 "$log"; done | sort | readable
else
    trap 'exit 0' INT
    # The program that ends with a closed pipe (| head) is the one that prints.
    readable < <(for log in "${logs[@]}"; do tail -n 5 "$log"; done | sort; exec tail -n 0 -F "${logs[@]}" 2>/dev/null)
fi
