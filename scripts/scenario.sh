#!/usr/bin/env bash
# Runs lessons about failures on the shop. `scripts/scenario.sh --help`
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
Runs scenarios: there is load on the shop, something changes, and you see what
becomes of it. Each asks a question first. docs/scenarios.md lists them and says how
to write one.

    scripts/scenario.sh list
    scripts/scenario.sh run slow-user-service
    scripts/scenario.sh run slow-user-service --predict    asks for your answer first
    scripts/scenario.sh run my-own.toml                    a file of yours
    scripts/scenario.sh all                                all, briefly

The shop that runs is used; what is missing is started, and stays up. A scenario
empties the shop first, and at the end it mends what it broke, also after Ctrl-C.
The exit status is 1 if something is not as the scenario says.

Options
    --predict    asks for a prediction first
    --release    starts the optimised build
    --help       this text

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
need_curl
choose_ports
# The services too: it starts those that are missing.
[ -n "$BIN_DIR" ] && [ -x "$BIN_DIR/scenario" ] || build "${PROGRAMS[@]}" scenario >&2 || exit 1
case ${words[0]:-} in
    (run | all)
        trap 'rm -f "${SCRATCH:?}"*' EXIT
        # Without what is missing, as for the lab in containers: the ports are taken then.
        # shellcheck disable=SC2086 # a list of places
        start_shop $ALL >&2 || exit 1
        rm -f "${SCRATCH:?}"*
        ;;
esac
# It starts and stops services with the scripts, from the same programs.
export BASE_PORT RUN_DIR BIN_DIR
[ -z "${PROFILE:-}" ] || export PROFILE
# It handles Ctrl-C itself.
exec "$BIN_DIR/scenario" ${words[@]+"${words[@]}"}
