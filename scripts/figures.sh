#!/usr/bin/env bash
# Measures the figures of docs and README on this machine. `scripts/figures.sh --help`
[ -n "${BASH_VERSION:-}" ] || { echo 'This script needs bash. Run it with "bash" in front, or with nothing.' >&2; exit 2; }
set +o posix
# The directory for raw numbers and logs.
RUN_DIR=${RUN_DIR:-run/figures}
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
Measures the shop on this machine: prints tables, and keeps the raw numbers in
run/figures/. It starts shops of its own on free ports and ends them; a shop
that runs already is not touched.

    scripts/figures.sh                    all sections, about half an hour
    scripts/figures.sh cost order         only these sections

Sections
    cost          CPU of four requests and an order, relative to nginx
    gateway       the gateway beside nginx and haproxy
    startup       from the first start to the last service's first answer
    memory        resident memory, idle and after load
    throughput    requests per second, beside a bare server
    order         CPU of an order over all five; orders per second
    page          a page and the summary at 1,000 and 1,000,000 users
    slow-head     time until a request that does not arrive is cut off
    idle          resident memory with 1,500 idle connections
    hung          orders while notification- or product-service hangs
    recovery      from a service's return to its caller's first good answer
    telemetry     user-service with spans exported, without, without a log
    lab-mode      CPU of a request and an order with and without LAB_MODE
    viewers       CPU of the shop with 0, 1 and 30 viewers of the console
    lines         lines of code of each crate, number of tests

Options
    --rounds N    rounds of each measurement, 1 to 50 (7; of cost at most 3)
    --out FILE    also writes the tables to FILE, a page such as
                  docs/gateway-figures.md
    --smoke       one short round of each: shows that it works, and nothing else

It needs cargo and wrk, nginx for cost, and oha or hey for the latency of the
gateway; nginx and haproxy are left out of gateway if they are missing.
Processor time and memory are measured on Linux alone. On a machine that is busy
with something else the numbers mean little.

Environment
    PROFILE    cargo profile of the services (release)
    RUN_DIR    where raw numbers and logs go (run/figures)
USAGE
}

SECTIONS='cost gateway startup memory throughput order page slow-head idle hung recovery telemetry lab-mode viewers lines'
options=("$@")
while [ $# -gt 0 ]; do
    case $1 in
        (-h | --help) usage && exit 0 ;;
        (--smoke) ;;
        (--rounds)
            case ${2:-} in
                ([1-9] | [1-4][0-9] | 50) ;;
                (*) misused "--rounds is \"${2:-}\", expected 1 to 50" ;;
            esac
            shift
            ;;
        (--out)
            [ -n "${2:-}" ] || misused '--out needs the name of a file'
            shift
            ;;
        (-*) misused "there is no option $1; --help lists them" ;;
        (*) case " $SECTIONS " in (*" $1 "*) ;; (*) misused "there is no section $1; there are $SECTIONS" ;; esac ;;
    esac
    shift
done

export PROFILE=${PROFILE:-release} RUN_DIR
build "${PROGRAMS[@]}" bare figures >&2 || exit 1
# It ends the servers when it is told to stop.
exec "$BIN_DIR/figures" ${options[@]+"${options[@]}"}
