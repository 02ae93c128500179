#!/usr/bin/env bash
# How much of the contract each framework keeps. `scripts/contract.sh --help`
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

usage() {
    cat <<'USAGE'
Runs the contract suite, which asks the product API on each of the five frameworks
the same questions and expects the same answers, and tells how many of its cases
each has passed. The exit status is 1 if any failed, or if they are not as many on
all five.

    scripts/contract.sh

The suite is tests/tests/contract; the four other services go through it too.

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
trap 'rm -f "$SCRATCH"*' EXIT

say "${DIM}Asking all of them; the first time also builds the tests, some minutes.$PLAIN"
command=(cargo test --quiet --package shop-tests --test contract)
case ${PROFILE:-dev} in (dev | debug) ;; (*) command+=(--profile "$PROFILE") ;; esac
if ! steadily "${command[@]}" -- --show-output >"$SCRATCH" 2>&1; then
    cat "$SCRATCH" >&2
    complain 'The contract is not kept; what strays is above.'
    exit 1
fi

# "passed on product-service on axum: 36", a line a test and a server.
counts=$(awk '$1 == "passed" && $3 == "product-service" { sub(":", "", $5); n[$5] += $6 }
    END { for (name in n) print name, n[name] }' "$SCRATCH")
say ''
say "$BOLD$(printf '%-10s  %6s  %6s' framework passed failed)$PLAIN"
different='' first=''
for framework in "${FRAMEWORKS[@]}"; do
    passed=$(printf '%s\n' "$counts" | awk -v name="$framework" '$1 == name { print $2 }')
    printf '%-10s  %6s  %6s\n' "$framework" "${passed:-none}" 0
    [ "${passed:-none}" = "${first:=${passed:-none}}" ] || different=yes
done
say ''
if [ -n "$different" ] || [ "$first" = none ]; then
    complain 'Not the same number of cases on all five: some were not asked at all.'
    exit 1
fi
say "${GREEN}All five pass the same $first cases.$PLAIN"
