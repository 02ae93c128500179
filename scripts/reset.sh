#!/usr/bin/env bash
# Empties the running shop. `scripts/reset.sh --help`
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
Makes the services of the running shop as they were when they started: no records,
ids from 1, no faults, and the right time on the lab's clock. Their processes go on.

    scripts/reset.sh                  all of them, and the gateway
    scripts/reset.sh order-service    only the named services

A service finishes its requests in flight first, for at most 5 s.

Environment
    BASE_PORT    port of user-service; the others follow, the gateway is before (8001)
    RUN_DIR      the directory for logs and process ids (run)
USAGE
}

wanted=''
while [ $# -gt 0 ]; do
    case $1 in
        (-h | --help) usage && exit 0 ;;
        (-*) misused "unknown option $1; there is --help" ;;
        (*)
            place=$(place_of "$1") ||
                misused "there is no service called $1; there are ${NAMES[*]}"
            wanted="$wanted $place"
            ;;
    esac
    shift
done
need_curl
choose_shop

# The gateway last: its cache may have kept what was there before.
for i in ${wanted:-$ALL}; do
    lab_ask POST "$i" /lab/reset || exit 1
done
# shellcheck disable=SC2086 # a list of places
say "Reset: $(names ${wanted:-$ALL})."
