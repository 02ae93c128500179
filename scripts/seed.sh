#!/usr/bin/env bash
# Fills the running shop with the data of the demo. `scripts/seed.sh --help`
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
Fills the running shop with three users, three products and three orders, always
the same. The shop must be empty, so that the ids are always the same too;
scripts/reset.sh empties it.

    scripts/seed.sh

Environment
    BASE_PORT    port of user-service; the others follow, the gateway is before (8001)
    RUN_DIR      the directory for logs and process ids (run)
USAGE
}

case ${1:-} in
    ('') ;;
    (-h | --help) usage && exit 0 ;;
    (*) misused "unknown argument $1; there is --help" ;;
esac
need_curl
choose_shop

for i in $USER $PRODUCT $ORDER $NOTIFICATION; do
    lab_ask POST "$i" /lab/seed || exit 1
done
say 'There are 3 users, 3 products, 3 orders (the last one is cancelled) and 3 notifications.'
say "Look: curl $(base_url $GATEWAY)/api/users/1/dashboard"
