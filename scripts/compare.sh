#!/usr/bin/env bash
# Measures the five frameworks beside each other. `scripts/compare.sh --help`
# Where the tools' output and what is built for the figures are.
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
bare hyper, the floor that they stand on. Prints tables, and writes them with
results.json and charts to docs/frameworks/.

    scripts/compare.sh            everything: about 40 minutes, and then the builds,
                                  about 15 (on two cores)
    scripts/compare.sh --quick    under five minutes, once the servers are built: 32
                                  connections, and no builds measured

Options
    --quick         six rounds of 1 s each, at 32 connections
    --smoke         one round, in well under a minute: shows that it works, and
                    nothing else
    --peer URL      also measure the server at URL, which must have the same API,
                    such as http://127.0.0.1:9000; may be given several times. It
                    keeps the products that are created, some hundred thousand
    --rounds N      rounds of each quantity, 1 to 50 (10; quick 6). Below six,
                    nothing is called a difference
    --out DIR       where the results go (docs/frameworks)

The servers are started by it, on free ports, and ended by it. It needs cargo, wrk,
and oha or hey; oha is taken where both are there. Processor time and memory are
measured on Linux alone. On a machine that is busy with something else the numbers
mean little.

Environment
    PROFILE    cargo profile of the servers (dist)
    RUN_DIR    where the output of the tools goes (run/compare)
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
need_cargo

export PROFILE=${PROFILE:-dist}
say "${DIM}Building by the profile $PROFILE; the first time takes some minutes.$PLAIN"
command=(cargo build --profile "$PROFILE")
[ "$(profile_dir)" = debug ] && command=(cargo build)
# Each by itself: built together, the features of one would be the other's too.
for package in framework-comparison bench; do
    "${command[@]}" -p "$package" && continue
    complain 'The build did not work out; what cargo says about it is above.'
    exit 1
done

BIN_DIR=${CARGO_TARGET_DIR:-target}/$(profile_dir)
if [ ! -x "$BIN_DIR/compare" ]; then
    complain "cargo has built the programs, but not to $BIN_DIR; set CARGO_TARGET_DIR to the directory it builds into."
    exit 1
fi
export RUN_DIR
# It ends the servers when it is told to stop.
exec "$BIN_DIR/compare" ${options[@]+"${options[@]}"}
