#!/usr/bin/env bash
# Shows the shop by placing orders. `scripts/demo.sh --help`
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
# shellcheck source-path=SCRIPTDIR source=demo_steps.sh
. scripts/demo_steps.sh || exit 1

usage() {
    cat <<'USAGE'
Builds and starts the shop, places orders and checks the effects on each service.
Every step prints its purpose, a curl command to paste, the response and the checks.

    scripts/demo.sh                   runs all steps, then stops the shop
    scripts/demo.sh --failures        the second act: services fail and recover
    scripts/demo.sh --pause           waits for Enter before each response, so that you
                                      can predict it, and after each step
    scripts/demo.sh --keep            leaves the shop running
    scripts/demo.sh --release         the optimised build
    scripts/demo.sh --compose         in containers, as scripts/lab.sh does
    scripts/demo.sh --list            the steps, and which others each needs
    scripts/demo.sh --step 6          this step; those that it needs run before, unseen
    scripts/demo.sh --from 6          this step and those after it
    scripts/demo.sh --skip cancel     without this step and the steps that need it
    scripts/demo.sh --only stock      this step alone, after the steps that it needs

--skip and --only can be given several times. Each step fits a screen of 80 x 24.

A shop that already runs is used and left running, even if services were missing. The
exit status is 1 if a check failed or the demo could not continue.

Environment
    BASE_PORT    port of user-service; the others follow, the gateway is before (8001)
    PROFILE      cargo profile: dev, release or dist (dev)
    RUN_DIR      the directory for logs and process ids (run)
    START_TIMEOUT    seconds until a service must be ready (10; containers 60)
USAGE
}

# Whether there is a step called $1.
is_step() {
    local row
    for row in "${STEPS[@]}"; do [ "${row%%|*}" = "$1" ] && return; done
    return 1
}

list_steps() {
    local row name needs title number=0
    for row in "${STEPS[@]}"; do
        IFS='|' read -r name needs title <<<"$row"
        number=$((number + 1))
        printf '%2s  %-12s  %s%s\n' "$number" "$name" "$title" "${needs:+ (needs ${needs// /, })}"
    done
}

# The name of step number $2, for the option $1.
step_number() {
    case $2 in
        ([1-9] | [1-9][0-9]) [ "$2" -le ${#STEPS[@]} ] && printf '%s' "${STEPS[$2 - 1]%%|*}" && return ;;
    esac
    misused "$1 is \"$2\", expected the number of a step, 1 to ${#STEPS[@]}; --list shows them"
}

# The second act has other steps, which the options below name.
for argument in "$@"; do
    [ "$argument" = --failures ] || continue
    # shellcheck source-path=SCRIPTDIR source=demo_failures.sh
    . scripts/demo_failures.sh || exit 1
    break
done

PAUSE='' KEEP='' COMPOSED='' ONLY='' WITHOUT='' FIRST=1
while [ $# -gt 0 ]; do
    case $1 in
        (--failures) ;;
        (--pause) PAUSE=yes ;;
        (--keep) KEEP=yes ;;
        (--release) PROFILE=release ;;
        (--compose) COMPOSED=yes ;;
        (--list) list_steps && exit 0 ;;
        (--step | --from)
            named=$(step_number "$1" "${2:-}") || exit
            [ "$1" = --from ] || ONLY="$ONLY $named"
            FIRST=$2
            shift
            ;;
        (--skip | --only)
            is_step "${2:-}" || misused "$1 is \"${2:-}\", expected a step; --list shows them"
            if [ "$1" = --only ]; then ONLY="$ONLY $2"; else WITHOUT="$WITHOUT $2"; fi
            shift
            ;;
        (-h | --help) usage && exit 0 ;;
        (*) misused "unknown argument $1; --help shows those there are" ;;
    esac
    shift
done

if [ -n "$COMPOSED" ]; then
    # shellcheck source-path=SCRIPTDIR source=compose.sh
    . scripts/compose.sh || exit 1
fi

# ------------------------------------------------------------------ output

NEWLINE=$'\n' RETURN=$'\r'
# The number of the current step, how many have run, whether one was shown, and where the
# output of the current one goes if it is not.
STEP=0 STEPS_RUN=0 SHOWN='' UNSEEN=''
PASSED=0
FAILED=0
FAILURES='' SKIPPED=''

# Sets CHOSEN to the numbers of the steps to run: of those asked for, and of those that
# they need.
choose_steps() {
    local i name needs need title wanted="$ONLY " names=' '
    if [ -z "$ONLY" ]; then
        for ((i = FIRST; i <= ${#STEPS[@]}; i++)); do wanted="$wanted ${STEPS[i - 1]%%|*} "; done
    fi
    for ((i = ${#STEPS[@]} - 1; i >= 0; i--)); do
        IFS='|' read -r name needs title <<<"${STEPS[i]}"
        case $wanted in (*" $name "*) wanted="$wanted$needs " ;; esac
    done
    CHOSEN=()
    for ((i = 1; i <= ${#STEPS[@]}; i++)); do
        IFS='|' read -r name needs title <<<"${STEPS[i - 1]}"
        case $wanted in (*" $name "*) ;; (*) continue ;; esac
        case "$WITHOUT " in
            (*" $name "*)
                SKIPPED="$SKIPPED    - $title: skipped as asked"$'\n'
                continue
                ;;
        esac
        for need in $needs; do
            case $names in (*" $need "*) continue ;; esac
            SKIPPED="$SKIPPED    - $title: needs the step \"$need\""$'\n'
            continue 2
        done
        names="$names$name "
        CHOSEN+=("$i")
    done
    [ ${#CHOSEN[@]} -gt 0 ] || misused 'no step is left to run; --list shows what each needs'
}

# Waits for Enter, if the demo pauses.
pause() {
    [ -n "$PAUSE" ] && [ -z "$UNSEEN" ] || return 0
    printf '    %s' "$DIM$1$PLAIN "
    IFS= read -r _ || PAUSE=''
}

# Runs step number $1. The output of a step that another one needs goes to a file, unless a
# check fails.
run_step() {
    local name needs title failed=$FAILED
    IFS='|' read -r name needs title <<<"${STEPS[$1 - 1]}"
    STEP=$1
    STEPS_RUN=$((STEPS_RUN + 1))
    if [ "$1" -lt "$FIRST" ]; then
        say "${DIM}First, unseen: $title$PLAIN"
        UNSEEN=$SCRATCH.unseen
        "step_${name//-/_}" >"$UNSEEN"
        [ "$FAILED" -eq "$failed" ] || cat "$UNSEEN"
        UNSEEN=''
        return
    fi
    if [ -n "$SHOWN" ]; then
        pause 'Press Enter for the next step.'
    fi
    SHOWN=yes
    printf '\n%s\n' "$BOLD$STEP/${#STEPS[@]}  $title$PLAIN"
    "step_${name//-/_}"
}

# Prints what a step shows and why.
why() {
    fold -s -w 76 <<<"$*" | sed -e 's/ *$//' -e 's/^/    /'
    say ''
}

# Prints a command to paste.
command_line() { say "    $CYAN$*$PLAIN"; }

# Seconds after which `ask` gives up, and what it runs just before it sends a request.
ASK_WITHIN=5 MEANWHILE=''

# Sends a request and shows it, and of the response the status line, the headers that a
# step mentions, and the JSON.
#   ask <place> <method> <path> [<body> [<header>...]]
# Sets STATUS, HEAD and BODY.
ask() {
    local method=$2 url body=${4:-} shown sent header spoken_of='Location X-Total-Count Idempotency-Replayed Retry-After'
    url=$(base_url "$1")$3
    shift 3
    [ $# -gt 0 ] && shift
    [ $# -gt 0 ] && spoken_of="$spoken_of X-Request-Id"
    [ -n "$body" ] && set -- 'Content-Type: application/json' "$@"
    sent=(curl -sS -i -m "$ASK_WITHIN")
    shown='curl -i'
    [ "$ASK_WITHIN" = 5 ] || shown="$shown -m $ASK_WITHIN"
    if [ "$method" != GET ]; then
        sent+=(-X "$method")
        shown="$shown -X $method"
    fi
    sent+=("$url")
    shown="$shown $url"
    for header in "$@"; do
        sent+=(-H "$header")
        shown="$shown"$' \\\n        '"-H '$header'"
    done
    if [ -n "$body" ]; then
        sent+=(-d "$body")
        shown="$shown"$' \\\n        '"-d '$body'"
    fi
    command_line "$shown"
    pause 'What will it answer? Press Enter.'
    $MEANWHILE
    receive "${sent[@]}"
    show_answer
    say ''
}

# Shows the last response: its status line, the headers in spoken_of, and the JSON.
show_answer() {
    local header answered
    if [ -z "$HEAD" ]; then
        fold -s -w 76 <<<"$STATUS" | sed -e "s/.*/    $RED&$PLAIN/"
    else
        say "    $DIM${HEAD%%"$NEWLINE"*}$PLAIN"
        for header in $spoken_of; do
            answered=$(header "$header")
            [ -n "$answered" ] && say "    $DIM$header: $answered$PLAIN"
        done
        steadily show_json
    fi
}

show_json() { fold_json <<<"$BODY" | sed 's/^/    /'; }

# Runs a `curl -i` and splits its response into STATUS, HEAD and BODY.
receive() {
    local answer='' status
    HEAD='' BODY=''
    steadily "$@" >"$SCRATCH.answer" 2>&1
    status=$?
    IFS= read -r -d '' answer <"$SCRATCH.answer"
    answer=${answer%"$NEWLINE"}
    if [ "$status" -eq 0 ]; then
        answer=${answer//"$RETURN"/}
        HEAD=${answer%%"$NEWLINE$NEWLINE"*}
        BODY=${answer#*"$NEWLINE$NEWLINE"}
        STATUS=${HEAD#* }
        STATUS=${STATUS%%[!0-9]*}
    else
        STATUS="no answer ($answer)"
    fi
}

# The value of header $1 of the last response.
header() {
    printf '%s\n' "$HEAD" | awk -v name="$1" '
        tolower(substr($0, 1, length(name) + 1)) == tolower(name ":") {
            sub(/^[^:]*:[ \t]*/, ""); print; exit
        }'
}

# check <place> <what> <expected> <actual>
check() {
    if [ "$3" = "$4" ]; then
        passed "$1" "$2 is $3"
    else
        failed "$1" "$2 should be $3, but is ${4:-missing}"
    fi
}

# check_has <place> <what> <expected part> <actual>
check_has() {
    case $4 in
        (*"$3"*) passed "$1" "$2 has $3" ;;
        (*) failed "$1" "$2 should have $3, but is ${4:-missing}" ;;
    esac
}

passed() {
    PASSED=$((PASSED + 1))
    say "    $GREEN✓$PLAIN ${NAMES[$1]}: $2"
}

failed() {
    FAILED=$((FAILED + 1))
    FAILURES="$FAILURES    ✗ step $STEP, ${NAMES[$1]}: $2"$'\n'
    say "    $RED✗ ${NAMES[$1]}: $2$PLAIN"
}

# Reports, here and in the summary, that a part is left out.
skip() {
    SKIPPED="$SKIPPED    - step $STEP: $1"$'\n'
    say "    ${YELLOW}SKIPPED: $1$PLAIN"
}

# Ends the demo because the next steps cannot work.
cannot_continue() {
    # Standard output may be the file of a step that is not shown.
    [ -z "$UNSEEN" ] || { exec >&8; cat "$UNSEEN"; }
    say ''
    say "    ${RED}The demo cannot continue: $1$PLAIN"
    FAILURES="$FAILURES    ✗ step $STEP: the demo ended here: $1"$'\n'
    FAILED=$((FAILED + 1))
    summary
    exit 1
}

summary() {
    say ''
    if [ "$FAILED" -eq 0 ]; then
        say "$GREEN${BOLD}All $PASSED checks passed$PLAIN in $STEPS_RUN step$([ "$STEPS_RUN" -eq 1 ] || printf s), $((SECONDS - BEGAN)) s."
    else
        say "$RED$BOLD$FAILED of $((PASSED + FAILED)) checks failed:$PLAIN"
        printf '%s' "$FAILURES"
        say "    The logs: $(log_hint)"
    fi
    if [ -n "$SKIPPED" ]; then
        say "${YELLOW}Left out:$PLAIN"
        printf '%s' "$SKIPPED"
    fi
}

# 39.98 as 3998: whole cents add up exactly. Empty if it is not an amount.
cents() {
    local whole=${1%%.*} part=''
    case $1 in (*.*) part=${1#*.} ;; esac
    case $whole$part in ('' | *[!0-9]*) return ;; esac
    [ "${#part}" -gt 2 ] && return
    part="${part}00"
    printf '%s' "$((10#$whole * 100 + 10#${part:0:2}))"
}

# The second number minus the first; empty if one is not a number.
above() {
    case $1 in ('' | *[!0-9]*) return ;; esac
    case $2 in ('' | *[!0-9]*) return ;; esac
    printf '%s' "$(($2 - $1))"
}

# Whether something other than these scripts started the service at $1.
is_foreign() {
    case " $ELSEWHERE " in (*" $1 "*) return 0 ;; (*) return 1 ;; esac
}

# ------------------------------------------------------------------ starting and stopping

# The places that this demo started, and those that it has stopped or frozen since.
MINE='' OUT='' FROZEN=''
STARTING=yes

tidy_up() {
    local status=$?
    trap : INT TERM HUP
    trap '' PIPE
    # The signal may have interrupted a `read` with its own IFS.
    IFS=$' \t\n'
    trap - EXIT
    # Standard output may be the file of a step that is not shown. Nobody reads it after a
    # closed pipe (| head).
    if [ "$status" -eq 141 ]; then exec >/dev/null; else exec >&8; fi
    rm -f "${SCRATCH:?}"*
    [ -z "$FROZEN" ] || thaw
    if [ "$status" -gt 128 ]; then
        say ''
        say 'Interrupted.'
        KEEP=''
    fi
    # The signal may have interrupted a start.
    [ -n "$STARTING" ] && [ -z "$COMPOSED" ] && stop_started
    if [ -n "$MINE" ] && [ -z "$KEEP" ]; then
        say ''
        close_shop
    fi
    if [ -n "$OUT" ]; then
        case " $MINE " in
            (*" $OUT "*) [ -n "$KEEP" ] && bring_back "$OUT" ;;
            (*) bring_back "$OUT" ;;
        esac
    fi
    rm -f "${SCRATCH:?}"*
    # An interrupted `time` must print nothing.
    TIMEFORMAT=''
    exit "$status"
}

# Starts the shop unless it runs. Sets MINE to the places that it started, and ELSEWHERE
# to those that something other than these scripts started.
open_shop() {
    if [ -n "$COMPOSED" ]; then
        ELSEWHERE=''
        if lab_exists; then
            # shellcheck disable=SC2086 # a list of places
            wait_until_healthy $ALL
        else
            MINE=$ALL
            build_images && start_lab
        fi
        return
    fi
    # shellcheck disable=SC2086 # a list of places
    start_shop $ALL || return 1
    MINE=$STARTED
    ELSEWHERE=$FOREIGN
    # What others use stays complete: only a shop of which nothing ran is stopped again.
    case $MINE in ('' | "$ALL ") ;; (*) KEEP=partly ;; esac
}

close_shop() {
    # shellcheck disable=SC2086 # a list of places
    if [ -n "$COMPOSED" ]; then compose_all down --remove-orphans; else stop_services $MINE; fi
}

show_shop() {
    # shellcheck disable=SC2086 # a list of places
    if [ -n "$COMPOSED" ]; then lab_table; else print_table $ALL; fi
}

# Prints the log of the service at $1; log_hint prints where all logs are.
logged() {
    if [ -n "$COMPOSED" ]; then docker logs "${IDS[$1]}" 2>/dev/null; else cat "$(log_of "$1")"; fi
}
log_hint() {
    if [ -n "$COMPOSED" ]; then printf 'scripts/lab.sh logs'; else printf '%s/<service>.log' "$RUN_DIR"; fi
}

# Whether this demo can stop, freeze and restart the service at $1.
can_take_out() {
    local pid
    if [ -n "$COMPOSED" ]; then
        read_containers && [ "${STATES[$1]}" = running ]
        return
    fi
    pid=$(pid_of "$1") || return 1
    is_own "$1" || BIN_DIR=$(dirname -- "$(program_of "$pid")")
}

# Says why a step is left out, if it needs to stop or freeze the service at $1 and cannot.
must_take_out() {
    can_take_out "$1" && return
    if is_foreign "$1"; then
        skip "scripts/start.sh did not start ${NAMES[$1]}, so the demo does not stop it"
    else
        failed "$1" "it should be running, but has ended; see $(log_hint)"
    fi
    return 1
}

# The commands for the reader that stop and start the service at $1.
stop_command() {
    if [ -n "$COMPOSED" ]; then
        printf 'scripts/lab.sh break %s stop' "${NAMES[$1]}"
    else
        by_hand "scripts/stop.sh ${NAMES[$1]}"
    fi
}
start_command() {
    if [ -n "$COMPOSED" ]; then printf 'scripts/lab.sh mend'; else by_hand "scripts/start.sh ${NAMES[$1]}"; fi
}

take_out() {
    OUT=$1
    if [ -n "$COMPOSED" ]; then
        docker stop --time 15 "${IDS[$1]}" >/dev/null && say 'Stopped its container.'
    else
        stop_services "$1"
    fi
}

# Starts the service at $1 again.
bring_back() {
    if [ -n "$COMPOSED" ]; then
        docker start "${IDS[$1]}" >/dev/null && wait_until_healthy "$1" || return 1
        OUT=''
        say '    Started its container again; it is healthy.'
        return 0
    fi
    STARTING=yes
    if start_shop "$1"; then
        STARTING='' OUT=''
        say "    Started ${NAMES[$1]} again: ready in ${READY_MS[$1]:-0} ms."
        return 0
    fi
    STARTING=''
    complain "${NAMES[$1]} could not be restarted; try $(by_hand "scripts/start.sh ${NAMES[$1]}")"
    return 1
}

# Freezes the service at $1: its port accepts connections, but nothing answers. `thaw` lets
# it run again; its records are still there.
freeze() {
    FROZEN=$1
    if [ -n "$COMPOSED" ]; then
        docker pause "${IDS[$1]}" >/dev/null
    else
        kill -STOP "$(pid_of "$1")"
    fi
}

thaw() {
    if [ -n "$COMPOSED" ]; then
        docker unpause "${IDS[$FROZEN]}" >/dev/null 2>&1
    else
        kill -CONT "$(pid_of "$FROZEN")" 2>/dev/null
    fi
    FROZEN=''
}

choose_steps
need_curl
if [ -n "$COMPOSED" ]; then need_docker; else choose_ports; fi
BEGAN=$SECONDS
exec 8>&1
trap tidy_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
trap 'exit 129' HUP
trap 'exit 141' PIPE

mkdir -p "$RUN_DIR" || exit 1
say "${BOLD}The shop: five services, five frameworks$PLAIN"
say ''

# The step "logs" needs a log line for every request.
unset RUST_LOG
export LOG_LEVEL=info LOG_FORMAT=json
open_shop || exit 1
STARTING=''
if [ -z "$MINE" ]; then
    say 'The shop already runs; the demo uses it and leaves it running.'
elif [ "$KEEP" = partly ]; then
    # shellcheck disable=SC2086 # a list of places
    say "Part of the shop already ran. The demo started $(names $MINE), and leaves all running."
fi
say ''
show_shop
BEGAN=$SECONDS

# ------------------------------------------------------------------ the steps

# Different for each run, so that the demo can run repeatedly on the same shop.
RUN="$(date +%d%H%M%S)-$$"

for number in "${CHOSEN[@]}"; do run_step "$number"; done

summary
if [ -z "$MINE" ] || [ -n "$KEEP" ]; then
    say ''
    say 'The shop is still running:'
    for place in $ALL; do
        printf '    %-20s  %s/docs\n' "${NAMES[place]}" "$(base_url "$place")"
    done
    if [ -n "$COMPOSED" ]; then
        say '    scripts/lab.sh status shows its state, scripts/lab.sh down removes it.'
    else
        say "    Health:  $(by_hand scripts/health.sh)"
        say "    Stop:    $(by_hand scripts/stop.sh)"
    fi
fi
[ "$FAILED" -eq 0 ]
