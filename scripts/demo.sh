#!/usr/bin/env bash
# The story of the shop, told by placing orders. `scripts/demo.sh --help`
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
Builds and starts the shop, places orders in it and proves each effect where it
must show. Every step says what it shows and why, the curl to paste, the answer,
and what was checked of it.

    scripts/demo.sh                   the whole story, then everything is stopped
    scripts/demo.sh --pause           waits for Enter after each step
    scripts/demo.sh --keep            leaves the shop running
    scripts/demo.sh --release         the optimised build
    scripts/demo.sh --compose         in containers, by scripts/lab.sh's rules

A shop that already runs is used as it is and left running. The exit status is 1
if any check failed or the story could not go on.

Environment
    BASE_PORT    port of user-service; the others follow (8001)
    PROFILE      cargo profile: dev, release or dist (dev)
    RUN_DIR      where logs and process ids are kept (run)
USAGE
}

PAUSE='' KEEP='' COMPOSED=''
while [ $# -gt 0 ]; do
    case $1 in
        (--pause) PAUSE=yes ;;
        (--keep) KEEP=yes ;;
        (--release) PROFILE=release ;;
        (--compose) COMPOSED=yes ;;
        (-h | --help) usage && exit 0 ;;
        (*) misused "unknown argument $1; there are --pause, --keep, --release, --compose and --help" ;;
    esac
    shift
done

if [ -n "$COMPOSED" ]; then
    # shellcheck source-path=SCRIPTDIR source=compose.sh
    . scripts/compose.sh || exit 1
fi

# ------------------------------------------------------------ how it is told

NEWLINE=$'\n' RETURN=$'\r'
STEPS=14
STEP=0
PASSED=0
FAILED=0
FAILURES='' SKIPPED=''

# A new step: its title, and why it is there, a line an argument.
step() {
    if [ "$STEP" -gt 0 ] && [ -n "$PAUSE" ]; then
        printf '\n    %s' "${DIM}Enter goes on.$PLAIN "
        IFS= read -r _ || PAUSE=''
    fi
    STEP=$((STEP + 1))
    printf '\n%s\n' "$BOLD$STEP/$STEPS  $1$PLAIN"
    shift
    printf '    %s\n' "$@"
    say ''
}

# A command as a person types it.
command_line() { say "    $CYAN$*$PLAIN"; }

# Sends a request and shows it, and of the answer the status line, the headers that
# a step speaks of, and the JSON.
#   ask <place> <method> <path> [<body> [<header>...]]
# The answer is in STATUS, HEAD and BODY.
ask() {
    local method=$2 url body=${4:-} shown sent header answered spoken_of='Location X-Total-Count'
    url=$(base_url "$1")$3
    shift 3
    [ $# -gt 0 ] && shift
    [ $# -gt 0 ] && spoken_of="$spoken_of X-Request-Id"
    [ -n "$body" ] && set -- 'Content-Type: application/json' "$@"
    sent=(curl -sS -i -m 5)
    shown='curl -i'
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
    say ''
    receive "${sent[@]}"
    if [ -z "$HEAD" ]; then
        say "    $RED$STATUS$PLAIN"
    else
        say "    $DIM${HEAD%%"$NEWLINE"*}$PLAIN"
        for header in $spoken_of; do
            answered=$(header "$header")
            [ -n "$answered" ] && say "    $DIM$header: $answered$PLAIN"
        done
        steadily show_json
    fi
    say ''
}

show_json() { pretty "$BODY" | sed 's/^/    /'; }

# Runs a `curl -i` and takes its answer apart.
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

# The value of header $1 of the last answer.
header() {
    printf '%s\n' "$HEAD" | awk -v name="$1" '
        tolower(substr($0, 1, length(name) + 1)) == tolower(name ":") {
            sub(/^[^:]*:[ \t]*/, ""); print; exit
        }'
}

# check <place> <what> <expected> <actual>: all four must be there to be told.
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

# Tells that something is left out, loudly, here and at the end.
skip() {
    SKIPPED="$SKIPPED    - step $STEP: $1"$'\n'
    say "    ${YELLOW}SKIPPED: $1$PLAIN"
}

# Ends the story where it makes no sense to go on.
cannot_go_on() {
    say ''
    say "    ${RED}The story cannot go on: $1$PLAIN"
    FAILURES="$FAILURES    ✗ step $STEP: the story ended here: $1"$'\n'
    FAILED=$((FAILED + 1))
    summary
    exit 1
}

summary() {
    say ''
    if [ "$FAILED" -eq 0 ]; then
        say "$GREEN${BOLD}All $PASSED checks passed$PLAIN in $STEP steps, $((SECONDS - BEGAN)) s."
    else
        say "$RED$BOLD$FAILED of $((PASSED + FAILED)) checks failed:$PLAIN"
        printf '%s' "$FAILURES"
        say "    The logs: $(log_hint)"
    fi
    if [ -n "$SKIPPED" ]; then
        say "${YELLOW}Not everything was shown:$PLAIN"
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

# What the second number is above the first; empty if either is none.
above() {
    case $1 in ('' | *[!0-9]*) return ;; esac
    case $2 in ('' | *[!0-9]*) return ;; esac
    printf '%s' "$(($2 - $1))"
}

# Whether the service at $1 was started by something else than these scripts.
is_foreign() {
    case " $ELSEWHERE " in (*" $1 "*) return 0 ;; (*) return 1 ;; esac
}

# ------------------------------------------------- what it starts, it stops

# Places that this demo started, and whether notification-service is out.
MINE='' OUT=''
STARTING=yes

tidy_up() {
    local status=$?
    trap : INT TERM HUP
    trap '' PIPE
    # A `read` may have been under way, with an IFS of its own.
    IFS=$' \t\n'
    trap - EXIT
    rm -f "${SCRATCH:?}"*
    if [ "$status" -gt 128 ]; then
        say ''
        say 'Interrupted.'
        KEEP=''
    fi
    # A start that was under way.
    [ -n "$STARTING" ] && [ -z "$COMPOSED" ] && stop_started
    if [ -n "$MINE" ] && [ -z "$KEEP" ]; then
        say ''
        close_shop
    fi
    if [ -n "$OUT" ]; then
        case " $MINE " in
            (*" $NOTIFICATION "*) [ -n "$KEEP" ] && bring_back ;;
            (*) bring_back ;;
        esac
    fi
    rm -f "${SCRATCH:?}"*
    # A clock that was running has nothing to say any more.
    TIMEFORMAT=''
    exit "$status"
}

# Starts the shop, unless it runs. Sets MINE to the places of what it started, and
# ELSEWHERE to those of what neither it nor the other scripts did.
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
}

close_shop() {
    # shellcheck disable=SC2086 # a list of places
    if [ -n "$COMPOSED" ]; then compose_all down --remove-orphans; else stop_services $MINE; fi
}

show_shop() {
    # shellcheck disable=SC2086 # a list of places
    if [ -n "$COMPOSED" ]; then lab_table; else print_table $ALL; fi
}

# What the service at $1 has logged, and how a person gets at all of it.
logged() {
    if [ -n "$COMPOSED" ]; then docker logs "${IDS[$1]}" 2>/dev/null; else cat "$(log_of "$1")"; fi
}
log_hint() {
    if [ -n "$COMPOSED" ]; then printf 'scripts/lab.sh logs'; else printf '%s/<service>.log' "$RUN_DIR"; fi
}

# Whether notification-service can be stopped and started again here.
can_take_out() {
    local pid
    if [ -n "$COMPOSED" ]; then
        look && [ "${STATES[NOTIFICATION]}" = running ]
        return
    fi
    pid=$(pid_of $NOTIFICATION) || return 1
    BIN_DIR=$(dirname -- "$(program_of "$pid")")
}

take_out() {
    if [ -n "$COMPOSED" ]; then
        docker stop --time 15 "${IDS[NOTIFICATION]}" >/dev/null && say 'Stopped its container.'
    else
        stop_services $NOTIFICATION
    fi
}

# Starts notification-service again.
bring_back() {
    if [ -n "$COMPOSED" ]; then
        docker start "${IDS[NOTIFICATION]}" >/dev/null && wait_until_healthy $NOTIFICATION || return 1
        OUT=''
        say '    Started its container again; it is healthy.'
        return 0
    fi
    STARTING=yes
    if start_shop "$NOTIFICATION"; then
        STARTING='' OUT=''
        say "    Started ${NAMES[NOTIFICATION]} again: ready in ${READY_MS[NOTIFICATION]:-0} ms."
        return 0
    fi
    STARTING=''
    complain "notification-service could not be started again; try $(by_hand scripts/start.sh notification-service)"
    return 1
}

need_curl
if [ -n "$COMPOSED" ]; then need_docker; else choose_ports; fi
BEGAN=$SECONDS
trap tidy_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
trap 'exit 129' HUP
trap 'exit 141' PIPE

mkdir -p "$RUN_DIR" || exit 1
say "${BOLD}The shop: five services, five frameworks, one story$PLAIN"
say ''

# The last step reads the logs: they have to hold every request.
unset RUST_LOG
export LOG_LEVEL=info LOG_FORMAT=json
open_shop || exit 1
STARTING=''
if [ -z "$MINE" ]; then
    say 'The shop is already running; it is used as it is and left running.'
fi
say ''
show_shop
command -v jq >/dev/null 2>&1 ||
    say "${DIM}With jq installed, the answers below would be easier to read.$PLAIN"
BEGAN=$SECONDS

# ------------------------------------------------------------------ the story

# New for each run, so that the demo can run again and again on the same shop.
RUN="$(date +%s)-$$"

step 'Is everyone there?' \
    'Each service answers GET /health by itself: alive, and who it is. Five frameworks,' \
    'one shape of answer.'
HEALTH=('' '' '' '' '')
for place in $ALL; do
    command_line "curl $(base_url "$place")/health"
    receive curl -sS -i -m 5 "$(base_url "$place")/health"
    HEALTH[place]=${BODY:-$STATUS}
    say "    $DIM${HEALTH[place]}$PLAIN"
done
say ''
for place in $ALL; do
    check "$place" 'the framework' "${FRAMEWORKS[place]}" \
        "$(field framework "${HEALTH[place]}" || printf '%s' "${HEALTH[place]}")"
    check "$place" 'the state' healthy \
        "$(field status "${HEALTH[place]}" || printf '%s' "${HEALTH[place]}")"
done

step 'A customer signs up' \
    'user-service keeps the users. 201 says that something was created, and the' \
    'Location header where.'
EMAIL="ada.$RUN@example.com"
ask $USER POST /api/users "{\"name\":\"Ada Lovelace\",\"email\":\"$EMAIL\"}"
USER_ID=$(field id "$BODY")
check $USER 'the status' 201 "$STATUS"
check $USER 'the email' "$EMAIL" "$(field email "$BODY")"
check $USER 'Location' "/api/users/$USER_ID" "$(header Location)"
[ -n "$USER_ID" ] || cannot_go_on 'without a user nobody can order.'

step 'A product goes on sale' \
    'product-service keeps the stock. It does not believe that the seller exists: it' \
    'asks user-service.'
ask $PRODUCT POST /api/products \
    "{\"name\":\"Mechanical keyboard\",\"price\":19.99,\"stock\":10,\"sellerId\":\"$USER_ID\"}"
PRODUCT_ID=$(field id "$BODY")
check $PRODUCT 'the status' 201 "$STATUS"
check $PRODUCT 'the stock' 10 "$(field stock "$BODY")"
check $PRODUCT 'the price' 19.99 "$(field price "$BODY")"
[ -n "$PRODUCT_ID" ] || cannot_go_on 'without a product there is nothing to order.'

step 'What analytics knows so far' \
    'analytics-service owns nothing; it asks the others. These are the totals before' \
    'the order, to compare with afterwards.'
ask $ANALYTICS GET /api/analytics/orders
check $ANALYTICS 'the status' 200 "$STATUS"
TOTAL_BEFORE=$(field total "$BODY")
REVENUE_BEFORE=$(cents "$(field revenue "$BODY")")

step 'The customer orders two' \
    'order-service asks user-service and product-service at once, takes the stock, saves' \
    'the order and tells notification-service. The request id that we choose here goes' \
    'along to each of them; the last step looks for it.'
REQUEST_ID="demo-$RUN"
ask $ORDER POST /api/orders \
    "{\"userId\":\"$USER_ID\",\"productId\":\"$PRODUCT_ID\",\"quantity\":2}" "X-Request-Id: $REQUEST_ID"
ORDER_ID=$(field id "$BODY")
check $ORDER 'the status' 201 "$STATUS"
check $ORDER 'the order' confirmed "$(field status "$BODY")"
check $ORDER 'the total price' 39.98 "$(field totalPrice "$BODY")"
check $ORDER 'the notification' sent "$(field notification "$BODY")"
check $ORDER 'X-Request-Id' "$REQUEST_ID" "$(header X-Request-Id)"
{ [ "$STATUS" = 201 ] && [ -n "$ORDER_ID" ]; } ||
    cannot_go_on 'without an order there is nothing to prove.'

step 'Proof: the stock is down' \
    'Ten less two. order-service told product-service to take them (PATCH .../stock), in' \
    'one step that no other order can come between.'
ask $PRODUCT GET "/api/products/$PRODUCT_ID"
check $PRODUCT 'the stock' 8 "$(field stock "$BODY")"
STOCK=8

step 'Proof: the customer was told' \
    'notification-service has the confirmation, and finds it by the user.'
ask $NOTIFICATION GET "/api/notifications/$USER_ID"
check $NOTIFICATION 'the status' 200 "$STATUS"
check_has $NOTIFICATION 'the list' "\"Your order #$ORDER_ID has been confirmed\"" "${BODY:-$STATUS}"
check $NOTIFICATION 'X-Total-Count' 1 "$(header X-Total-Count)"

step 'Proof: analytics counts it' \
    'A total asked for right after a write counts that write. Money is exact: 19.99 twice' \
    'is 39.98, to the cent.'
ask $ANALYTICS GET /api/analytics/orders
check $ANALYTICS 'the number of orders more than before' 1 \
    "$(above "$TOTAL_BEFORE" "$(field total "$BODY")")"
check $ANALYTICS 'the revenue more than before, in cents,' 3998 \
    "$(above "$REVENUE_BEFORE" "$(cents "$(field revenue "$BODY")")")"

step 'An order for nobody' \
    'No such user: the order is refused, and says why. Every error of every service has' \
    'this shape: a sentence for people, a code for programs, the request id for the logs.'
ask $ORDER POST /api/orders "{\"userId\":\"999999999\",\"productId\":\"$PRODUCT_ID\",\"quantity\":1}"
check $ORDER 'the status' 400 "$STATUS"
check $ORDER 'the code' validation_failed "$(field code "$BODY")"
check $ORDER 'the error' 'User not found' "$(field error "$BODY")"

step 'An order that makes no sense' \
    'Quantity 0, and no product at all. The answer names every fault at once, so that a' \
    'form can show them all.'
ask $ORDER POST /api/orders "{\"userId\":\"$USER_ID\",\"quantity\":0}"
check $ORDER 'the status' 400 "$STATUS"
check $ORDER 'the code' validation_failed "$(field code "$BODY")"
check_has $ORDER 'the error' '"field":"productId"' "$BODY"
check_has $ORDER 'the error' '"field":"quantity"' "$BODY"

step 'An order for more than there is' \
    'Eight are left, nine are asked for. The refusal says how many there are, and takes' \
    'none.'
ask $ORDER POST /api/orders \
    "{\"userId\":\"$USER_ID\",\"productId\":\"$PRODUCT_ID\",\"quantity\":$((STOCK + 1))}"
REFUSAL=$(field error "$BODY")
check $ORDER 'the status' 409 "$STATUS"
check $ORDER 'the code' insufficient_stock "$(field code "$BODY")"
check_has $ORDER 'the sentence' "$STOCK" "$REFUSAL"
say ''
ask $PRODUCT GET "/api/products/$PRODUCT_ID"
check $PRODUCT 'the stock' "$STOCK" "$(field stock "$BODY")"

step 'An order while notification-service is out' \
    'An order needs the user and the product; the confirmation is best effort. So with' \
    'notification-service stopped, the order goes through and says "failed" where the' \
    'confirmation stands.'
if can_take_out; then
    if [ -n "$COMPOSED" ]; then
        stopping='scripts/lab.sh break notification-service stop'
        starting='scripts/lab.sh mend'
    else
        stopping=$(by_hand scripts/stop.sh notification-service)
        starting=$(by_hand scripts/start.sh notification-service)
    fi
    command_line "$stopping"
    say ''
    OUT=yes
    take_out | sed 's/^/    /'
    say ''
    ask $ORDER POST /api/orders \
        "{\"userId\":\"$USER_ID\",\"productId\":\"$PRODUCT_ID\",\"quantity\":1}"
    check $ORDER 'the status' 201 "$STATUS"
    check $ORDER 'the order' confirmed "$(field status "$BODY")"
    check $ORDER 'the notification' failed "$(field notification "$BODY")"
    STOCK=$((STOCK - 1))
    say ''
    ask $PRODUCT GET "/api/products/$PRODUCT_ID"
    check $PRODUCT 'the stock' "$STOCK" "$(field stock "$BODY")"
    say ''
    say '    order-service says so about itself, too: degraded, but not unavailable.'
    say ''
    ask $ORDER GET /health/ready
    check $ORDER 'the status' 200 "$STATUS"
    check $ORDER 'its state' degraded "$(field status "$BODY")"
    say ''
    command_line "$starting"
    say ''
    bring_back || cannot_go_on 'notification-service does not come back.'
    say ''
    ask $ORDER GET /health/ready
    check $ORDER 'its state' ready "$(field status "$BODY")"
elif is_foreign $NOTIFICATION; then
    skip 'notification-service was not started by scripts/start.sh, so it is not stopped here'
else
    failed $NOTIFICATION "it should be running, but has ended; $(log_hint) may say why"
fi

step 'The customer thinks again' \
    'Cancelling gives the stock back, once: the second time is a conflict.'
ask $ORDER POST "/api/orders/$ORDER_ID/cancel"
check $ORDER 'the status' 200 "$STATUS"
check $ORDER 'the order' cancelled "$(field status "$BODY")"
say ''
ask $ORDER POST "/api/orders/$ORDER_ID/cancel"
check $ORDER 'the status' 409 "$STATUS"
check $ORDER 'the code' conflict "$(field code "$BODY")"
say ''
ask $PRODUCT GET "/api/products/$PRODUCT_ID"
check $PRODUCT 'the stock' "$((STOCK + 2))" "$(field stock "$BODY")"

# A line of a log in short; one that is not JSON as it is.
in_short() {
    local line time
    while IFS= read -r line; do
        if time=$(field timestamp "$line"); then
            time=${time#*T}
            printf '    %s%s  %-20s  %-5s  %-28s  %s  %6s ms%s\n' "$DIM" "${time%Z}" \
                "$(field service "$line")" "$(field method "$line")" "$(field path "$line")" \
                "$(field status "$line")" "$(field durationMs "$line")" "$PLAIN"
        else
            printf '    %s\n' "$line"
        fi
    done
}

step 'One request id through all the logs' \
    "The order above carried X-Request-Id: $REQUEST_ID." \
    'Every service that had a part in it logged that id; here are those lines in short.'
foreign=''
for place in $USER $PRODUCT $ORDER $NOTIFICATION; do
    is_foreign "$place" && foreign=yes
done
if [ -n "$foreign" ]; then
    skip "not all of the services log into $RUN_DIR/: scripts/start.sh did not start them"
elif ! logged $ORDER | grep '"message":"request"' >/dev/null; then
    skip 'this shop was started with a LOG_LEVEL or LOG_FORMAT that hides the request lines'
else
    if [ -n "$COMPOSED" ]; then
        command_line "scripts/lab.sh logs | grep $REQUEST_ID"
    else
        command_line "grep -h $REQUEST_ID $RUN_DIR/*.log | sort"
    fi
    say ''
    for place in $ALL; do logged "$place"; done | grep -- "$REQUEST_ID" | sort | in_short
    say ''
    for place in $USER $PRODUCT $ORDER $NOTIFICATION; do
        case $place in
            ("$USER") path="/api/users/$USER_ID" ;;
            ("$PRODUCT") path="/api/products/$PRODUCT_ID/stock" ;;
            ("$ORDER") path=/api/orders ;;
            (*) path=/api/notifications/send ;;
        esac
        check "$place" "the log's line for $path" there \
            "$(logged "$place" | grep -- "$REQUEST_ID" | grep -F "\"path\":\"$path\"" >/dev/null && printf there)"
    done
fi

summary
if [ -z "$MINE" ] || [ -n "$KEEP" ]; then
    say ''
    say 'The shop is still running:'
    for place in $ALL; do
        printf '    %-20s  %s/docs\n' "${NAMES[place]}" "$(base_url "$place")"
    done
    if [ -n "$COMPOSED" ]; then
        say '    scripts/lab.sh status looks after it, scripts/lab.sh down removes it.'
    else
        say "    $(by_hand scripts/health.sh) looks after it, $(by_hand scripts/stop.sh) stops it."
    fi
fi
[ "$FAILED" -eq 0 ]
