#!/usr/bin/env bash
# Puts load on the shop. `scripts/load.sh --help`
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
Sends customers to the running shop, who browse, order and cancel, until Ctrl-C.
One line shows how the shop does: requests a second, the share of errors, the time
within which half (p50) and 99 of a hundred (p99) requests ended, and what else
came back. A summary follows at the end.

    scripts/load.sh                20 requests a second
    scripts/load.sh 100            100 a second, 1 to 2000
    scripts/load.sh 50 --seconds 60

They come as fast as asked for, however slow the answers are. The load makes
three users and three products of its own, so that it sells out nothing else.

Options
    --seconds N    ends by itself
    --seed N       other customers; the same seed does the same (1)
    --direct       to the ports of the services, not through the gateway
    --release      the optimised build of this program
    --help         this text

The gateway lets 200 requests a second through for one client and answers the
others with 429, which is counted apart. RATE_LIMIT=off scripts/start.sh starts
one without this limit.

Environment
    BASE_PORT    port of user-service; the others follow, the gateway is before (8001)
    PROFILE      cargo profile: dev, release or dist (dev)
    RUN_DIR      the directory for logs and process ids (run)
USAGE
}

words=()
for word in "$@"; do
    case $word in
        (-h | --help) usage && exit 0 ;;
        (--release) PROFILE=release ;;
        (*) words+=("$word") ;;
    esac
done
choose_ports
build_tool load || exit 1
export BASE_PORT
# It handles Ctrl-C itself.
exec "$BIN_DIR/load" ${words[@]+"${words[@]}"}
