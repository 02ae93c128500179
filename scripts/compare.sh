#!/usr/bin/env bash
# Compares the speed of the five frameworks. `scripts/compare.sh --help`
[ -n "${BASH_VERSION:-}" ] || { echo 'This script needs bash. Run it with "bash" in front, or with nothing.' >&2; exit 2; }
set +o posix
# The directory for the output of the tools and for the measured builds.
RUN_DIR=${RUN_DIR:-run/compare}
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
Measures product-service's API on axum, Rocket, poem, warp and actix-web, and on
bare hyper as the baseline. Prints tables, and writes them with results.json and
charts to docs/frameworks/.

    scripts/compare.sh            everything: about 40 minutes for the servers and 15
                                  for the build times (on two cores)
    scripts/compare.sh --quick    under five minutes, once the servers are built: 32
                                  connections, no build times

Options
    --quick         six rounds of 1 s each, at 32 connections
    --smoke         one round, in well under a minute: shows only that the program
                    works
    --peer URL      also measure the server at URL, such as http://127.0.0.1:9000;
                    it must have the same API. Can be given several times. The run
                    leaves some hundred thousand products in that server
    --rounds N      rounds of each quantity, 1 to 50 (10; quick 6). With fewer than
                    six rounds, no difference counts as significant
    --out DIR       the directory for the results (docs/frameworks)

It starts the servers on free ports and stops them. It needs cargo, wrk, and oha or
hey; it prefers oha. It measures processor time and memory only on Linux. On a busy
machine the numbers mean little.

Environment
    PROFILE    cargo profile of the servers (dist)
    RUN_DIR    the directory for the output of the tools (run/compare)
USAGE
}

options=("$@")
while [ $# -gt 0 ]; do
    case $1 in
        (-h | --help) usage && exit 0 ;;
        (--quick | --smoke) ;;
        (--rounds)
            case ${2:-} in
                ([1-9] | [1-4][0-9] | 50) ;;
                (*) misused "--rounds is \"${2:-}\", expected 1 to 50" ;;
            esac
            shift
            ;;
        (--peer)
            case ${2:-} in
                (http://?*) ;;
                (*) misused "--peer is \"${2:-}\", expected a URL such as http://127.0.0.1:9000" ;;
            esac
            shift
            ;;
        (--out)
            case ${2:-} in ('' | -*) misused "--out is \"${2:-}\", expected a directory" ;; esac
            shift
            ;;
        (*) misused "there is no option $1; --help lists them" ;;
    esac
    shift
done

has() { command -v "$1" >/dev/null 2>&1; }
if ! has wrk; then
    complain 'wrk was not found; install it with "apt install wrk" or "brew install wrk" (https://github.com/wg/wrk)'
    exit 1
fi
if ! has oha && ! has hey; then
    complain 'neither oha nor hey was found; install one with "cargo install oha", "apt install hey" or "brew install oha"'
    exit 1
fi

export PROFILE=${PROFILE:-dist}
build framework-comparison bare compare || exit 1
export RUN_DIR
# The program stops its servers when it receives a signal.
exec "$BIN_DIR/compare" ${options[@]+"${options[@]}"}
