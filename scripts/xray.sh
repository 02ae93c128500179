#!/usr/bin/env bash
# Draws one request: what each service did for it. `scripts/xray.sh --help`
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
Draws one request of the running shop: what each service did for it, what ran at
the same time, what waited, what was repeated, and what failed or was not sent.

    scripts/xray.sh --last            the latest request
    scripts/xray.sh --order 7         the one that placed order 7
    scripts/xray.sh <id>              the one with this X-Request-Id, or this trace

Options
    --waterfall    how long everything took, as bars; so it is without an option
    --sequence     who called whom, as a sequence diagram
    --help         this text

The services remember their latest 4,096 spans each, with LAB_MODE=on, as the
scripts start them. docs/xray.md shows how to read the drawing. It draws requests
of the lab in containers as well, but is built here, with cargo.

Environment
    BASE_PORT    port of user-service; the others follow, the gateway is before (8001)
    PROFILE      cargo profile of this tool: dev, release or dist (dev)
    RUN_DIR      the directory for logs and process ids (run)
    NO_COLOR     no colours, also on a terminal
USAGE
}

for argument in "$@"; do
    case $argument in (-h | --help) usage && exit 0 ;; esac
done
choose_ports
export BASE_PORT
build_tool xray || exit 1
exec "$BIN_DIR/xray" "$@"
