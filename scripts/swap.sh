#!/usr/bin/env bash
# Replaces a running service by one on another framework. `scripts/swap.sh --help`
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
Replaces product-service in the running shop by the same API on another framework:
the old process finishes its requests in flight and stops, and the new one starts on
the same port. Its products are gone. Apart from that and GET /health, callers notice
no difference.

    scripts/swap.sh product axum      or rocket, poem, warp, actix-web
    scripts/swap.sh product rocket    the original framework
    scripts/swap.sh product poem --program target/debug/mine

product-service stays on that framework when it restarts, until no service of the shop
runs. The other services are built on one framework each.

Options
    --program FILE    your own implementation of product-service on that framework
    --help            this text

Environment
    RUN_DIR      the directory for logs and process ids (run)
    START_TIMEOUT    seconds until a service must be ready (10)
USAGE
}

wanted=() own=''
while [ $# -gt 0 ]; do
    case $1 in
        (-h | --help) usage && exit 0 ;;
        (--program)
            [ $# -gt 1 ] || misused '--program needs the file of a program, such as: --program target/debug/mine'
            own=$2
            shift
            ;;
        (-*) misused "unknown option $1; there are --program and --help" ;;
        (*) wanted+=("$1") ;;
    esac
    shift
done
[ ${#wanted[@]} -eq 2 ] || misused 'say which service and which framework, such as: product poem'
case ${wanted[0]} in
    (product | product-service) ;;
    (*) misused "\"${wanted[0]}\" cannot be swapped; only product exists on all five frameworks" ;;
esac
framework=${wanted[1]}
case " $CHOICE " in
    (*" $framework "*) ;;
    (*) misused "there is no framework \"$framework\"; there are ${CHOICE// /, }" ;;
esac
if [ -n "$own" ]; then
    if [ -d "$own" ] || [ ! -x "$own" ]; then misused "\"$own\" is not a program; build it first"; fi
    own=$(CDPATH='' cd -- "$(dirname -- "$own")" && pwd)/${own##*/}
fi

need_curl
choose_ports
if ! anything_runs; then
    complain "The shop does not run; start it with $(by_hand scripts/start.sh)"
    exit 1
fi

# Builds with the profile of the running services.
for place in $ALL; do
    pid=$(pid_of "$place") || continue
    PROFILE=$(basename -- "$(dirname -- "$(program_of "$pid")")")
done

trap 'rm -f "${SCRATCH:?}"*' EXIT
trap 'say ""; say "Interrupted; $(by_hand scripts/start.sh product-service) starts the service if it does not run."; exit 130' INT
trap 'exit 143' TERM

# Starts product-service on framework $1, as the program $2 if there is one.
start_on() {
    FRAMEWORKS[PRODUCT]=$1 OWN_PROGRAM=$2
    start_shop "$PRODUCT"
}

before=${FRAMEWORKS[PRODUCT]} own_before=$OWN_PROGRAM
# Builds first, so that the service is down only while it starts.
FRAMEWORKS[PRODUCT]=$framework OWN_PROGRAM=$own
build_services "$PRODUCT" || exit 1
# stop_services recognises the running process by its program.
OWN_PROGRAM=$own_before
stop_services "$PRODUCT"
if ! start_on "$framework" "$own"; then
    complain "It stays on $before."
    start_on "$before" "$own_before"
    exit 1
fi
say ''
print_table "$PRODUCT"
say ''
say "product-service is now on ${BOLD}$framework$PLAIN, before on $before; its products are gone."
