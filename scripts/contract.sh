#!/usr/bin/env bash
# Counts the contract cases that each framework passes. `scripts/contract.sh --help`
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
Runs the contract suite: the same requests to the product API on each of the five
frameworks must get the same responses. Prints how many cases each framework passed.
The exit status is 1 if a case failed, or if the five numbers differ.

    scripts/contract.sh

The suite is tests/tests/contract; it also covers the four other services.

Environment
    PROFILE      cargo profile: dev, release or dist (dev)
USAGE
}

while [ $# -gt 0 ]; do
    case $1 in
        (-h | --help) usage && exit 0 ;;
        (*) misused "unknown argument $1; there is --help" ;;
    esac
done

need_cargo
mkdir -p "$RUN_DIR" || exit 1
trap 'rm -f "${SCRATCH:?}"*' EXIT

say "${DIM}Running the suite; the first run also builds the tests, which takes some minutes.$PLAIN"
command=(cargo test --quiet --workspace --test contract)
case ${PROFILE:-dev} in (dev | debug) ;; (*) command+=(--profile "$PROFILE") ;; esac
if ! steadily "${command[@]}" -- --show-output >"$SCRATCH" 2>&1; then
    cat "$SCRATCH" >&2
    complain 'A service breaks the contract; see the failed cases above.'
    exit 1
fi

# Each test prints a line per server: "passed on product-service on axum: 36".
counts=$(awk '$1 == "passed" && $3 == "product-service" { sub(":", "", $5); n[$5] += $6 }
    END { for (name in n) print name, n[name] }' "$SCRATCH")
say ''
say "$BOLD$(printf '%-10s  %6s  %6s' framework passed failed)$PLAIN"
different='' first=''
for place in $FIVE; do
    framework=${FRAMEWORKS[place]}
    passed=$(printf '%s\n' "$counts" | awk -v name="$framework" '$1 == name { print $2 }')
    printf '%-10s  %6s  %6s\n' "$framework" "${passed:-none}" 0
    [ "${passed:-none}" = "${first:=${passed:-none}}" ] || different=yes
done
say ''
if [ -n "$different" ] || [ "$first" = none ]; then
    complain 'The numbers differ: some cases did not run on every framework.'
    exit 1
fi
say "${GREEN}All five pass the same $first cases.$PLAIN"
