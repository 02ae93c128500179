#!/usr/bin/env bash
# Measures the figures of docs and README on this machine. `scripts/figures.sh --help`
# Where the raw numbers, the logs and the process ids of its own shops are.
RUN_DIR=run/figures
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
Measures the shop on this machine: prints tables, keeps the raw numbers in
run/figures/. It builds with cargo's dist profile, starts shops of its own on
free ports and ends them; a shop that runs already is not touched.

    scripts/figures.sh                    all sections, about half an hour
    scripts/figures.sh startup memory     only the ones named

Sections
    startup       from the start of the first service to the last one's first answer
    memory        resident memory, idle and after 10,000 requests
    throughput    requests a second, beside a bare server on the same framework
    order         processor time of an order over all five; orders a second
    page          a page and the summary at 1,000 and at 1,000,000 users
    telemetry     user-service with spans exported, without, and without a log
    slow-head     time until a request that does not arrive is cut off
    idle          resident memory with 1,500 idle connections
    hung          orders while notification- or product-service hangs
    recovery      from the return of a service to the first good answer of its caller
    lines         lines of code, number of tests

It needs cargo, curl and, for throughput, order, page, telemetry and hung, wrk. On a machine that
is busy with something else the numbers mean little.

Environment
    ROUNDS     how many times each measurement is made (7; startup 11)
    SECONDS_EACH    seconds of load each time (2)
    MANY       users of the big shop of `page` (1000000)
    IDLE       connections of `idle` (1500)
    PROFILE    cargo profile (dist)
USAGE
}

CONNECTIONS=32
SECONDS_EACH=${SECONDS_EACH:-2}
MANY=${MANY:-1000000}
FEW=1000
IDLE=${IDLE:-1500}

# ------------------------------------------------------------------ the processes

# Everything this script has started and not yet ended.
PIDS=''

# Starts a program with its output in the file $1; its process id is in PID.
begin() {
    local output=$1
    shift
    "$@" </dev/null >>"$output" 2>&1 &
    PID=$!
    disown "$PID"
    PIDS="$PIDS $PID"
}

# Ends what was started: politely at first.
end_all() {
    local pid began=$SECONDS
    # One that was stopped to show how it hangs has to go on to end.
    for pid in $PIDS; do kill -TERM "$pid" 2>/dev/null && kill -CONT "$pid" 2>/dev/null; done
    for pid in $PIDS; do
        while is_alive "$pid"; do
            [ $((SECONDS - began)) -gt "$STOP_WITHIN" ] && kill -KILL "$pid" 2>/dev/null
            sleep 0.02
        done
    done
    PIDS=''
}
trap end_all EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
trap 'exit 129' HUP

give_up() {
    complain "figures.sh: $1"
    exit 1
}

# Sets BASE_PORT so that five ports from it on are free. They are below those
# that systems hand out by themselves.
choose_free_ports() {
    local i taken=yes
    while [ -n "$taken" ]; do
        BASE_PORT=$((20000 + RANDOM % 10000)) taken=''
        for i in $ALL; do
            if port_in_use $((BASE_PORT + i)); then taken=yes; fi
        done
    done
}

# How the services of a shop call each other: on or off.
SHOP_RESILIENCE=on

# The environment of a service of the shop at BASE_PORT, and then the service:
# with the log of real life, in a file.
become() {
    unset SERVICE_NAME LOG_LEVEL RUST_LOG DEADLINE_MS CALL_TIMEOUT_MS NOTIFY_TIMEOUT_MS \
        RETRIES RETRY_BACKOFF_MS CIRCUIT_FAILURES CIRCUIT_OPEN_MS BULKHEAD POLL_INTERVAL_MS
    # shellcheck disable=SC2031 # it becomes the service: there is no going back
    export HOST=127.0.0.1 PORT=$((BASE_PORT + $1)) LOG_FORMAT=json RESILIENCE=$SHOP_RESILIENCE
    USER_SERVICE_URL=$(base_url "$USER")
    PRODUCT_SERVICE_URL=$(base_url "$PRODUCT")
    ORDER_SERVICE_URL=$(base_url "$ORDER")
    NOTIFICATION_SERVICE_URL=$(base_url "$NOTIFICATION")
    export USER_SERVICE_URL PRODUCT_SERVICE_URL ORDER_SERVICE_URL NOTIFICATION_SERVICE_URL
    exec "$BIN_DIR/${NAMES[$1]}"
}

# Starts a shop at BASE_PORT; the process ids of its services are in SHOP, by place.
begin_shop() {
    local i
    SHOP=()
    for i in $ALL; do
        begin "$(log_of "$i")" become "$i"
        SHOP[i]=$PID
    done
}

# Whether the service on port $1 answers GET /health with 200. Takes no process:
# starting a curl takes longer than starting a service.
answers() {
    local line=''
    {
        printf 'GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n' >&3
        IFS= read -r line <&3
    } 3<>"/dev/tcp/127.0.0.1/$1"
    case $line in ('HTTP/1.1 200'*) ;; (*) return 1 ;; esac
}

await_shop() {
    local i pid began=$SECONDS
    for i in $ALL; do
        until answers $((BASE_PORT + i)) 2>/dev/null; do
            for pid in "${SHOP[@]}"; do
                is_alive "$pid" || give_up "a service ended while it was starting; see $RUN_DIR/*.log"
            done
            [ $((SECONDS - began)) -gt "$READY_WITHIN" ] && give_up "${NAMES[i]} does not answer"
            sleep 0.001
        done
    done
}

begin_and_await_shop() {
    begin_shop
    await_shop
}

# A whole shop on free ports, with empty logs.
open_shop() {
    choose_free_ports
    empty_logs
    begin_and_await_shop
}

# The logs grow by some gigabytes otherwise. They are appended to: a service
# goes on at the beginning.
empty_logs() {
    local i
    for i in $ALL; do : >"$(log_of "$i")"; done
}

# The path $2 of the service at place $1 of the shop at BASE_PORT.
at() { printf '%s%s' "$(base_url "$1")" "$2"; }

# ------------------------------------------------------------------ the numbers

# From a column of numbers: the median, the least and the greatest.
spread() {
    sort -n | awk '{ v[NR] = $1 }
        END { if (NR) printf "%.4f %.4f %.4f\n", (v[int((NR + 1) / 2)] + v[int(NR / 2) + 1]) / 2, v[1], v[NR] }'
}

# Column $2 of the lines of file $1 that start with $3.
column() { awk -F '\t' -v key="$3" -v column="$2" '$1 == key { print $column }' "$1"; }

# The numbers of a section go to a file of its own, tab by tab.
raw_file() {
    RAW=$RUN_DIR/$1.tsv
    : >"$RAW"
    shift
    raw "$@"
}
raw() {
    local IFS=$'\t'
    printf '%s\n' "$*" >>"$RAW"
}

heading() { printf '\n%s%s%s\n%s\n\n' "$BOLD" "$1" "$PLAIN" "$2"; }

compute() { awk "BEGIN { printf \"$1\", $2 }"; }

# ------------------------------------------------------------------ the load

need_wrk() {
    command -v wrk >/dev/null 2>&1 && return
    give_up 'wrk was not found; install it with "apt install wrk" or "brew install wrk" (https://github.com/wg/wrk)'
}

# load <connections> <seconds> <url> [JSON to POST]
# Sets REQUESTS (how many), RATE (a second), FAILED (how many), and P50 and P99 in
# microseconds. With FAILURES_COUNT, that they fail is what is measured.
FAILURES_COUNT=''
load() {
    local connections=$1 seconds=$2 url=$3 micros=1
    shift 3
    REQUESTS=0 FAILED=-1 P50=0 P99=0
    wrk -t1 -c"$connections" -d"$seconds"s -s bench/wrk/load.lua "$url" ${1+-- "$1"} >"$RUN_DIR/wrk.out" 2>&1 ||
        give_up "wrk did not work out: $(tail -n 1 "$RUN_DIR/wrk.out")"
    read -r _ REQUESTS micros FAILED P50 P99 <<<"$(grep '^figures' "$RUN_DIR/wrk.out")"
    RATE=$(compute %.1f "$REQUESTS * 1000000 / $micros")
    [ "$FAILED" = 0 ] || [ -n "$FAILURES_COUNT" ] || complain "${RED}$FAILED of $REQUESTS requests to $url failed: this figure is not one.$PLAIN"
}

# The processor time that process $1 has used so far, in milliseconds.
cpu_of() {
    local stat
    if [ -r "/proc/$1/stat" ]; then
        read -r stat <"/proc/$1/stat"
        # What follows the name, which may have anything in it.
        # shellcheck disable=SC2086 # a list of fields
        set -- ${stat##*) }
        printf '%s' $(((${12} + ${13}) * 1000 / $(getconf CLK_TCK)))
    else
        ps -o time= -p "$1" | awk -F '[:-]' '{ for (i = 1; i <= NF; i++) s = s * (NF - i == 2 && NF == 4 ? 24 : 60) + $i; printf "%d", s * 1000 }'
    fi
}

# load, and the processor time that process $1 took for a request, in
# microseconds, in CPU. What wrk does is not in it.
load_on() {
    local pid=$1 before
    shift
    before=$(cpu_of "$pid")
    load "$@"
    CPU=$(compute %.2f "($(cpu_of "$pid") - $before) * 1000 / $REQUESTS")
}

# Creates a record, or ends the script.
post() {
    curl -sS -f -o /dev/null -H 'Content-Type: application/json' -d "$2" "$1" || give_up "POST $1 failed"
}

# The X-Total-Count of the list at $1.
count_of() {
    curl -sS -o /dev/null -D - "$1?limit=1" | tr -d '\r' | awk 'tolower($1) == "x-total-count:" { print $2 }'
}

ONE_PIECE='{"userId":"1","productId":"1","quantity":1}'

# What an order needs of the service at place $1: a user, or a product with stock
# for any number of orders.
stock_up() {
    case $1 in
        ("$USER") post "$(at "$USER" /api/users)" '{"name":"Ada Lovelace","email":"ada@example.com"}' ;;
        ("$PRODUCT") post "$(at "$PRODUCT" /api/products)" '{"name":"Desk lamp","price":19.99,"stock":1000000000}' ;;
    esac
}

# All that an order needs, and one order.
stock_shop() {
    stock_up "$USER"
    stock_up "$PRODUCT"
    post "$(at "$ORDER" /api/orders)" "$ONE_PIECE"
}

# ------------------------------------------------------------------ the sections

startup() {
    local rounds=${ROUNDS:-11} round middle least most
    heading 'Start to all five ready' \
        "From the start of the first process to the last one's 200 on GET /health, $rounds times."
    raw_file startup round milliseconds
    # The first one reads the programs from disk.
    for ((round = 0; round <= rounds; round++)); do
        choose_free_ports
        ELAPSED=0
        timed begin_and_await_shop
        [ "$round" = 0 ] || raw "$round" "$ELAPSED"
        end_all
    done
    read -r middle least most <<<"$(tail -n +2 "$RAW" | cut -f 2 | spread)"
    printf 'median %.0f ms (%.0f–%.0f); the aim is under 300 ms\n' "$middle" "$least" "$most"
}

memory() {
    local i pid idle used all_idle=0 all_used=0 row='%-22s %-10s %10s %24s\n'
    heading 'Resident memory' \
        'Of each process: a second after the start, and after 10,000 requests on 32 connections.'
    raw_file memory service idle_kib after_kib
    open_shop
    sleep 1
    idle=''
    for pid in "${SHOP[@]}"; do idle="$idle $(memory_of "$pid")"; done
    for i in $ALL; do
        curl -sS -f -Z --parallel-max "$CONNECTIONS" -o /dev/null "$(base_url "$i")/health?[1-10000]" 2>"$RUN_DIR/curl.out" ||
            give_up "10,000 requests to ${NAMES[i]} did not work out: $(tail -n 1 "$RUN_DIR/curl.out")"
    done
    used=''
    for pid in "${SHOP[@]}"; do used="$used $(memory_of "$pid")"; done
    # shellcheck disable=SC2059 # the row is the format
    {
        printf "$row" service framework idle 'after 10,000 requests'
        for i in $ALL; do
            read -r first idle <<<"$idle"
            read -r second used <<<"$used"
            raw "${NAMES[i]}" "$first" "$second"
            all_idle=$((all_idle + first)) all_used=$((all_used + second))
            printf "$row" "${NAMES[i]}" "${FRAMEWORKS[i]}" "$(megabytes "$first")" "$(megabytes "$second")"
        done
        printf "$row" together '' "$(megabytes $all_idle)" "$(megabytes $all_used)"
    }
    say 'The aim is under 40 MB idle.'
    end_all
}

# Starts the bare server on framework $1; its URL is in BARE, its process id in
# BARE_PID.
begin_bare() {
    local output=$RUN_DIR/bare.log
    : >"$output"
    begin "$output" "$BIN_DIR/bare" "$1"
    BARE='' BARE_PID=$PID
    while [ -z "$BARE" ]; do
        is_alive "$PID" || give_up "the bare server on $1 did not start; see $output"
        sleep 0.02
        BARE=$(sed -n 's/^listening on //p' "$output")
    done
}

# against_bare <place> <method> <path> <path of the bare server> [<JSON> <JSON of the bare server>]
# ROUND in the JSON is the number of the round.
against_bare() {
    local i=$1 key="${NAMES[$1]} $2 $3" ours bare round rate cpu fail column list
    ours=$(at "$i" "$3") bare=$BARE$4
    shift 4
    load "$CONNECTIONS" 1 "$ours" ${1+"${1/ROUND/0}"}
    load "$CONNECTIONS" 1 "$bare" ${2+"${2/ROUND/0}"}
    for ((round = 1; round <= ROUNDS; round++)); do
        load_on "${SHOP[i]}" "$CONNECTIONS" "$SECONDS_EACH" "$ours" ${1+"${1/ROUND/$round}"}
        rate=$RATE cpu=$CPU fail=$FAILED
        load_on "$BARE_PID" "$CONNECTIONS" "$SECONDS_EACH" "$bare" ${2+"${2/ROUND/$round}"}
        raw "$key" "$round" "$rate" "$RATE" "$(compute %.4f "$rate / $RATE")" "$cpu" "$CPU" $((fail + FAILED))
        empty_logs
    done
    list=''
    for column in 3 4 5 6 7; do
        list="$list $(column "$RAW" "$column" "$key" | spread)"
    done
    # shellcheck disable=SC2086 # a list of numbers, three a column
    print_against "${NAMES[i]}" "${FRAMEWORKS[i]}" "${key#* }" $list
}

# A row of the table: of each column the median, of the ratio the spread as well.
print_against() {
    # shellcheck disable=SC2059 # the row is the format
    printf "$ROW" "$1" "$2" "$3" "$(compute %.0f "$4")" "$(compute %.0f "$7")" \
        "$(compute %.1f "${13}")" "$(compute %.1f "${16}")" \
        "$(compute %.2f "${10}")" "$(compute %.2f "${11}")–$(compute %.2f "${12}")"
}

throughput() {
    local ROUNDS=${ROUNDS:-7} ROW='%-21s %-10s %-29s %8s %8s %9s %9s %6s   %s\n' i
    local item='{"name":"Ada Lovelace","email":"ada-ROUND-#@example.com"}'
    heading "Requests a second at $CONNECTIONS connections" \
        "Beside the same framework with nothing of ours, in $ROUNDS interleaved rounds of $SECONDS_EACH s each:
the median rates, the median of the ratios of each round, the least and the
greatest ratio; and the processor time of a request in microseconds, for where
wrk is what holds the rate up. The services write their log to a file, one JSON
line a request."
    raw_file throughput route round ours_per_s bare_per_s ratio ours_cpu_us bare_cpu_us failures
    open_shop
    stock_shop
    # shellcheck disable=SC2059 # the row is the format
    printf "$ROW" service framework route ours/s bare/s 'CPU ours' 'CPU bare' ratio spread
    for i in $ALL; do
        begin_bare "${FRAMEWORKS[i]}"
        post "$BARE/items" '{"name":"Ada Lovelace","email":"ada@example.com"}'
        against_bare "$i" GET /health /health
        case $i in
            ("$USER")
                against_bare "$i" GET /api/users/1 /items/1
                against_bare "$i" POST /api/users /items "$item" "$item"
                ;;
            ("$PRODUCT")
                against_bare "$i" GET /api/products/1 /items/1
                against_bare "$i" POST /api/products /items '{"name":"Desk lamp #","price":19.99,"stock":100}' "$item"
                ;;
            ("$ORDER") against_bare "$i" GET /api/orders/1 /items/1 ;;
            ("$NOTIFICATION")
                against_bare "$i" POST /api/notifications/send /items \
                    '{"userId":"1","message":"Your order # has been confirmed","type":"order_confirmation"}' "$item"
                ;;
        esac
    done
    say 'The aim is a ratio of 0.85.'
    end_all
}

order() {
    local rounds=${ROUNDS:-7} round i pid before after cpu orders placed total sent
    local middle least most row='%-22s %10s   %s\n'
    heading "Orders at $CONNECTIONS connections" \
        "POST /api/orders for $((SECONDS_EACH * 2)) s, $rounds times: the median, the least and the greatest. Processor time
is that of all five processes, in the kernel too; log lines go to files."
    raw_file order round orders cpu_ms_per_order orders_per_s p50_ms p99_ms failures \
        user_ms product_ms order_ms notification_ms analytics_ms
    open_shop
    stock_shop
    load "$CONNECTIONS" 1 "$(at "$ORDER" /api/orders)" "$ONE_PIECE"
    for ((round = 1; round <= rounds; round++)); do
        placed=$(count_of "$(at "$ORDER" /api/orders)")
        before=''
        for pid in "${SHOP[@]}"; do before="$before $(cpu_of "$pid")"; done
        load "$CONNECTIONS" $((SECONDS_EACH * 2)) "$(at "$ORDER" /api/orders)" "$ONE_PIECE"
        # What wrk left in flight at its end is an order too.
        sleep 0.1
        total=0 after=''
        for pid in "${SHOP[@]}"; do
            read -r cpu before <<<"$before"
            cpu=$(($(cpu_of "$pid") - cpu))
            total=$((total + cpu)) after="$after $cpu"
        done
        orders=$(($(count_of "$(at "$ORDER" /api/orders)") - placed))
        [ "$orders" -gt 0 ] || give_up 'no order was placed'
        # shellcheck disable=SC2046,SC2086 # lists of numbers
        raw "$round" "$orders" "$(compute %.4f "$total / $orders")" "$RATE" \
            "$(compute %.3f "$P50 / 1000")" "$(compute %.3f "$P99 / 1000")" "$FAILED" \
            $(for cpu in $after; do compute '%.4f ' "$cpu / $orders"; done)
        empty_logs
    done
    # shellcheck disable=SC2059 # the row is the format
    {
        printf "$row" '' median spread
        i=3
        for label in 'CPU ms an order' 'orders a second' 'p50, ms' 'p99, ms'; do
            read -r middle least most <<<"$(tail -n +2 "$RAW" | cut -f $i | spread)"
            printf "$row" "$label" "$(digits "$middle")" "$(digits "$least")–$(digits "$most")"
            i=$((i + 1))
        done
        for label in "${NAMES[@]}"; do
            i=$((i + 1))
            read -r middle least most <<<"$(tail -n +2 "$RAW" | cut -f $i | spread)"
            printf "$row" "  CPU ms, ${label%-service}" "$(digits "$middle")" "$(digits "$least")–$(digits "$most")"
        done
    }
    placed=$(count_of "$(at "$ORDER" /api/orders)")
    sent=$(count_of "$(at "$NOTIFICATION" /api/notifications)")
    say "$placed orders, $sent notifications. The aim is under 0.20 ms of CPU an order."
    end_all
}

# A number with three digits that mean something.
digits() { awk -v n="$1" 'BEGIN { printf (n < 1 ? "%.3f" : n < 100 ? "%.2f" : "%.0f"), n }'; }

# Creates users in the shop at BASE_PORT until there are $1.
seed_users() {
    local users there=0 pid
    users=$(at "$USER" /api/users)
    begin "$RUN_DIR/wrk.out" wrk -t1 -c"$CONNECTIONS" -d3600s -s bench/wrk/load.lua "$users" -- \
        '{"name":"Ada Lovelace","email":"ada-#@example.com"}' "$1"
    pid=$PID
    while [ "$there" -lt "$1" ]; do
        is_alive "$pid" || give_up "wrk ended before there were $1 users; see $RUN_DIR/wrk.out"
        sleep 0.1
        there=$(count_of "$users")
    done
    kill -INT "$pid"
    while is_alive "$pid"; do sleep 0.02; done
}

# small_and_big <label> <URL in the small shop> <URL in the big one>
small_and_big() {
    local round p50 small big middle least most
    load 1 1 "$2"
    load 1 1 "$3"
    for ((round = 1; round <= ROUNDS; round++)); do
        load 1 "$SECONDS_EACH" "$2"
        p50=$P50
        load 1 "$SECONDS_EACH" "$3"
        raw "$1" "$round" "$p50" "$P50" "$(compute %.4f "$P50 / $p50")"
        empty_logs
    done
    read -r small _ <<<"$(column "$RAW" 3 "$1" | spread)"
    read -r big _ <<<"$(column "$RAW" 4 "$1" | spread)"
    read -r middle least most <<<"$(column "$RAW" 5 "$1" | spread)"
    # shellcheck disable=SC2059 # the row is the format
    printf "$ROW" "$1" "$(digits "$small")" "$(digits "$big")" \
        "$(compute %.2f "$middle")" "$(compute %.2f "$least")–$(compute %.2f "$most")"
}

page() {
    local ROUNDS=${ROUNDS:-7} ROW='%-44s %12s %12s %6s   %s\n' small_users small_summary middle
    heading "A page and the summary at $FEW and at $MANY users" \
        "Two shops side by side, one connection, in turns of $SECONDS_EACH s, $ROUNDS rounds: the median latency in
microseconds, the median of the ratios of each round, the least and the greatest."
    raw_file page what round small_p50_us big_p50_us ratio
    open_shop
    seed_users "$FEW"
    small_users=$(at "$USER" /api/users) small_summary=$(at "$ANALYTICS" /api/analytics/summary)
    open_shop
    ELAPSED=0
    timed seed_users "$MANY"
    say "Creating $(count_of "$(at "$USER" /api/users)") users by POST took $(compute %.1f "$ELAPSED / 1000") s."
    # shellcheck disable=SC2059 # the row is the format
    printf "$ROW" '' "$FEW" "$MANY" ratio spread
    middle="limit=100&after="
    small_and_big 'GET /api/users?limit=100, from the middle' "$small_users?$middle$((FEW / 2))" \
        "$(at "$USER" /api/users)?$middle$((MANY / 2))"
    small_and_big 'GET /api/analytics/summary' "$small_summary" "$(at "$ANALYTICS" /api/analytics/summary)"
    end_all
}

# Starts user-service at BASE_PORT with the variables given; waits until it answers.
begin_users() {
    begin "$(log_of "$USER")" env "$@" PORT="$BASE_PORT" "$BIN_DIR/${NAMES[USER]}"
    until answers "$BASE_PORT" 2>/dev/null; do
        is_alive "$PID" || give_up "user-service did not start; see $(log_of "$USER")"
        sleep 0.001
    done
}

telemetry() {
    local ROUNDS=${ROUNDS:-7} ROW='%-12s %-12s %9s  %-13s %8s  %s\n' round i key
    local modes urls pids item='{"name":"Ada Lovelace","email":"ada-ROUND-#@example.com"}'
    local middle least most cpu low high
    heading "user-service with and without telemetry, at $CONNECTIONS connections" \
        "Three of it side by side, in $ROUNDS interleaved rounds of $SECONDS_EACH s each: with a span of every
request sent to a sink on this machine, with the log alone, and with neither. The
median, the least and the greatest of the requests a second, and of the processor
time of a request in microseconds."
    raw_file telemetry what round rate_per_s cpu_us failures
    : >"$RAW.lost"
    modes=('log, spans' 'log' 'neither') urls=() pids=()
    begin_bare sink
    for i in 0 1 2; do
        choose_free_ports
        case $i in
            (0) begin_users OTEL_EXPORTER_OTLP_ENDPOINT="$BARE" ;;
            (1) begin_users LOG_LEVEL=info ;;
            (2) begin_users RUST_LOG=off ;;
        esac
        urls[i]=$(at "$USER" /api/users) pids[i]=$PID
        post "${urls[i]}" '{"name":"Ada Lovelace","email":"ada@example.com"}'
        load "$CONNECTIONS" 1 "${urls[i]}/1"
    done
    for ((round = 1; round <= ROUNDS; round++)); do
        for i in 0 1 2; do
            load_on "${pids[i]}" "$CONNECTIONS" "$SECONDS_EACH" "${urls[i]}/1"
            raw "GET by id: ${modes[i]}" "$round" "$RATE" "$CPU" "$FAILED"
        done
        for i in 0 1 2; do
            load_on "${pids[i]}" "$CONNECTIONS" "$SECONDS_EACH" "${urls[i]}" "${item/ROUND/$round}"
            raw "POST: ${modes[i]}" "$round" "$RATE" "$CPU" "$FAILED"
        done
        # A request that is a span too many for the queue costs less than one that is not.
        grep -h 'spans do not reach' "$(log_of "$USER")" >>"$RAW.lost"
        empty_logs
    done
    # shellcheck disable=SC2059 # the row is the format
    {
        printf "$ROW" request with 'a second' '' 'CPU, µs' ''
        for key in 'GET by id' POST; do
            for i in 0 1 2; do
                read -r middle least most <<<"$(column "$RAW" 3 "$key: ${modes[i]}" | spread)"
                read -r cpu low high <<<"$(column "$RAW" 4 "$key: ${modes[i]}" | spread)"
                printf "$ROW" "$key" "${modes[i]}" "$(digits "$middle")" "$(digits "$least")–$(digits "$most")" \
                    "$(digits "$cpu")" "$(digits "$low")–$(digits "$high")"
            done
        done
    }
    [ -s "$RAW.lost" ] && say "${YELLOW}Spans were lost; see $RAW.lost.$PLAIN"
    end_all
}

# Sends $2 to port $1, then $3, and waits until the other side has closed; with
# $4, a byte of it each half second.
until_cut_off() {
    {
        printf '%b' "$2" >&3
        # Not together: what comes along with a request is not waited for yet.
        [ -z "$2" ] || sleep 0.1
        printf '%b' "$3" >&3
        if [ -n "$4" ]; then
            while printf x >&3 && sleep 0.5; do :; done 2>/dev/null &
            cat <&3 >/dev/null
            kill $! 2>/dev/null
        else
            cat <&3 >/dev/null
        fi
    } 3<>"/dev/tcp/127.0.0.1/$1"
}

# timed_cut_off <name of the case> <place> <what until_cut_off takes behind the port>
timed_cut_off() {
    # Many at once: each has a file of its own.
    SCRATCH=$RUN_DIR/slow-head.$1.$2 ELAPSED=0
    timed until_cut_off $((BASE_PORT + $2)) "$3" "$4" "$5" 2>/dev/null
    raw "${FRAMEWORKS[$2]}" "$1" "$ELAPSED"
}

slow-head() {
    local i case waited row='%-12s %10s %10s %10s %12s\n'
    local whole='GET /health HTTP/1.1\r\nHost: shop\r\n\r\n' half='GET /health HTTP/1.1\r\nX-Slow: '
    heading 'Time until a slow head is cut off' \
        'In seconds, on a connection that says nothing, that sends half a head, a byte of it
each half second, and half of its second head.'
    raw_file slow-head framework case milliseconds
    open_shop
    waited=''
    for i in $ALL; do
        timed_cut_off silent "$i" '' '' '' & waited="$waited $!"
        timed_cut_off half "$i" '' "$half" '' & waited="$waited $!"
        timed_cut_off drip "$i" '' "$half" yes & waited="$waited $!"
        timed_cut_off second "$i" "$whole" "$half" '' & waited="$waited $!"
    done
    # shellcheck disable=SC2086 # a list of processes
    wait $waited
    # shellcheck disable=SC2059 # the row is the format
    {
        printf "$row" framework silent 'half' drip 'second head'
        for i in $ALL; do
            waited=''
            for case in silent half drip second; do
                waited="$waited $(awk -F '\t' -v f="${FRAMEWORKS[i]}" -v c="$case" '$1 == f && $2 == c { printf "%.2f", $3 / 1000 }' "$RAW")"
            done
            # shellcheck disable=SC2086 # a list of numbers
            printf "$row" "${FRAMEWORKS[i]}" $waited
        done
    }
    say 'The limit is 10 s, HEAD_TIMEOUT_MS.'
    end_all
}

# The memory of process $2 while it holds idle connections on port $1.
memory_with_idle() (
    local n
    ulimit -Sn "$(ulimit -Hn)"
    # Numbers below ten are taken.
    for ((n = 10; n < IDLE + 10; n++)); do
        eval "exec $n<>/dev/tcp/127.0.0.1/$1" || exit 1
        printf 'GET /health HTTP/1.1\r\nHost: shop\r\n\r\n' >&$n
    done
    sleep 1
    memory_of "$2"
)

idle() {
    local i none held row='%-22s %-10s %10s %12s %16s\n'
    heading "Resident memory with $IDLE idle connections" \
        'Of each process: a second after the start, and while it holds connections that
have had one answer each.'
    raw_file idle service none_kib idle_kib
    open_shop
    sleep 1
    # shellcheck disable=SC2059 # the row is the format
    {
        printf "$row" service framework none "$IDLE" 'one connection'
        for i in $ALL; do
            none=$(memory_of "${SHOP[i]}")
            held=$(memory_with_idle $((BASE_PORT + i)) "${SHOP[i]}") ||
                give_up "${NAMES[i]} was not reached $IDLE times; is \`ulimit -Hn\` too low?"
            raw "${NAMES[i]}" "$none" "$held"
            printf "$row" "${NAMES[i]}" "${FRAMEWORKS[i]}" "$(megabytes "$none")" "$(megabytes "$held")" \
                "$(compute '%.1f kB' "($held - $none) / $IDLE")"
        done
    }
    end_all
}

# Whether the service at place $1 leaves the one at place $2 alone: its circuit is open.
leaves_alone() {
    curl -sS "$(at "$1" /metrics)" |
        grep "^upstream_circuit_state{.*dependency=\"${NAMES[$2]}\",state=\"open\".*} 1" >/dev/null
}

# load_in_need <what> <round> <seconds>: orders on one connection, and on many.
load_in_need() {
    local p50 p99
    load 1 "$3" "$(at "$ORDER" /api/orders)" "$ONE_PIECE"
    p50=$P50 p99=$P99
    load "$CONNECTIONS" "$3" "$(at "$ORDER" /api/orders)" "$ONE_PIECE"
    raw "$1" "$2" "$(compute %.3f "$p50 / 1000")" "$(compute %.3f "$p99 / 1000")" "$RATE"
    empty_logs
}

# One round of `hung` for the service at place $1, in the round $2.
hang_once() {
    local name=${NAMES[$1]} took
    open_shop
    stock_shop
    [ "$SHOP_RESILIENCE" = off ] || load_in_need "$name well" "$2" "$SECONDS_EACH"
    # What wrk left in flight at its end would meet a service that hangs.
    sleep 0.5
    FAILURES_COUNT=yes
    kill -STOP "${SHOP[$1]}"
    if [ "$SHOP_RESILIENCE" = off ]; then
        load_in_need "$name off" "$2" $((SECONDS_EACH * 2))
    else
        until leaves_alone "$ORDER" "$1"; do
            took=$(ask_with "$ONE_PIECE" -o /dev/null -w '%{time_total}' "$(at "$ORDER" /api/orders)")
            raw "$name before" "$2" "$(compute %.1f "$took * 1000")" "$(compute %.1f "$took * 1000")"
        done
        load_in_need "$name after" "$2" "$SECONDS_EACH"
    fi
    FAILURES_COUNT=''
    end_all
}

hung() {
    local ROUNDS=${ROUNDS:-7} round i when what p50 p99 rate row='%-22s %-32s %10s %10s %14s\n'
    heading 'Orders while a service hangs' \
        "It is stopped with SIGSTOP. $ROUNDS rounds, each with a new shop, with RESILIENCE=on and
off in turns. Latency in milliseconds of orders one after the other (until the
circuit opens: of all of them, in all rounds; else the median of the rounds), and
how many a second are answered at $CONNECTIONS connections."
    raw_file hung what round p50_ms p99_ms answers_per_s
    for ((round = 1; round <= ROUNDS; round++)); do
        for i in "$NOTIFICATION" "$PRODUCT"; do
            for SHOP_RESILIENCE in on off; do hang_once "$i" "$round"; done
        done
    done
    SHOP_RESILIENCE=on
    # shellcheck disable=SC2059 # the row is the format
    {
        printf "$row" hangs '' p50 p99 'answers/s'
        for i in "$NOTIFICATION" "$PRODUCT"; do
            for when in well before after off; do
                case $when in
                    (well) what='nothing yet' ;;
                    (before) what='until the circuit opens' ;;
                    (after) what='once it is open' ;;
                    (off) what='RESILIENCE=off' ;;
                esac
                if [ "$when" = before ]; then
                    read -r p50 _ p99 <<<"$(column "$RAW" 3 "${NAMES[i]} $when" | spread)"
                    rate=-
                else
                    read -r p50 _ <<<"$(column "$RAW" 3 "${NAMES[i]} $when" | spread)"
                    read -r p99 _ <<<"$(column "$RAW" 4 "${NAMES[i]} $when" | spread)"
                    read -r rate _ <<<"$(column "$RAW" 5 "${NAMES[i]} $when" | spread)"
                    rate=$(digits "$rate")
                fi
                printf "$row" "${NAMES[i]}" "$what" "$(digits "$p50")" "$(digits "$p99")" "$rate"
            done
        done
    }
    say 'Without product-service an answer is a 503; without notification-service it is an order.'
}

# Whether the service at place $1 gives an answer that it needs the one at $2 for.
is_well() {
    local answer
    case $1 in
        ("$ORDER")
            answer=$(ask_with "$ONE_PIECE" "$(at "$ORDER" /api/orders)")
            set -- '"notification":"sent"'
            ;;
        ("$PRODUCT")
            answer=$(ask_with '{"name":"Cup","price":1,"sellerId":"1"}' "$(at "$PRODUCT" /api/products)")
            set -- '"sellerId":"1"'
            ;;
        (*)
            answer=$(curl -s -m 10 "$(at "$ANALYTICS" /api/analytics/summary)")
            set -- "\"name\":\"${NAMES[$2]}\",\"status\":\"up\""
            ;;
    esac
    case $answer in (*"$1"*) ;; (*) return 1 ;; esac
}

# Posts the JSON $1; the rest is for curl.
ask_with() {
    local body=$1
    shift
    curl -s -m 10 -H 'Content-Type: application/json' -d "$body" "$@"
}

until_well() {
    until is_well "$1" "$2"; do sleep 0.05; done
}

# Starts the service at place $1 again, with what the others need of it.
return_of() {
    begin "$(log_of "$1")" become "$1"
    SHOP[$1]=$PID
    until answers $((BASE_PORT + $1)) 2>/dev/null; do sleep 0.001; done
    stock_up "$1"
}

# recover <caller> <place of the one that is away>: all rounds, in a shop of their own.
recover() {
    local round signal over
    # Many at once: each has files and processes of its own.
    PIDS='' SCRATCH=$RUN_DIR/recovery.$1.$2
    trap end_all EXIT
    trap 'exit 143' TERM
    for ((round = 1; round <= ROUNDS; round++)); do
        for signal in STOP KILL; do
            kill -"$signal" "${SHOP[$2]}"
            until leaves_alone "$1" "$2"; do is_well "$1" "$2"; done
            # It returns at any moment of the time that it is left alone.
            over=$((SECONDS + 1 + RANDOM % 5))
            while [ "$SECONDS" -lt "$over" ]; do
                is_well "$1" "$2"
                sleep 0.0$((RANDOM % 10))
            done
            if [ "$signal" = STOP ]; then kill -CONT "${SHOP[$2]}"; else return_of "$2"; fi
            ELAPSED=0
            timed until_well "$1" "$2"
            raw "$1 $2 $signal" "$round" "$ELAPSED"
        done
    done
}

recovery() {
    local ROUNDS=${ROUNDS:-7} i pair pairs workers='' cells signal middle least most
    local row='%-20s %-22s %-24s %s\n'
    heading 'Time to recover' \
        "From the moment that a service is back to the first good answer of its caller, in
seconds, while one client goes on asking. It had hung (SIGSTOP, SIGCONT), or had
been killed and started again. All settings are the defaults: a circuit stays open
for 5 s. The median, the least and the greatest of $ROUNDS times."
    raw_file recovery edge round milliseconds
    pairs="$ORDER,$USER $ORDER,$PRODUCT $ORDER,$NOTIFICATION $PRODUCT,$USER"
    for i in $ALL; do [ "$i" = "$ANALYTICS" ] || pairs="$pairs $ANALYTICS,$i"; done
    for pair in $pairs; do
        open_shop
        stock_shop
        recover "${pair%,*}" "${pair#*,}" &
        workers="$workers $!" PIDS="$PIDS $!"
    done
    # shellcheck disable=SC2086 # a list of processes
    wait $workers
    # shellcheck disable=SC2059 # the row is the format
    {
        printf "$row" caller 'waits for' 'after it hung' 'after it was killed'
        for pair in $pairs; do
            cells=()
            for signal in STOP KILL; do
                read -r middle least most <<<"$(column "$RAW" 3 "${pair/,/ } $signal" | spread)"
                cells+=("$(compute '%.2f (%.2f–%.2f)' "$middle / 1000, $least / 1000, $most / 1000")")
            done
            printf "$row" "${NAMES[${pair%,*}]}" "${NAMES[${pair#*,}]}" "${cells[@]}"
        done
    }
    end_all
}

# Lines of the files named that are neither blank nor comment, up to the tests.
code_in() {
    awk 'FNR == 1 { test = 0 }
        /^#\[cfg\(test\)\]/ { test = 1 }
        !test && NF && $1 !~ /^\/\// { lines++ }
        END { printf "%d", lines }' "$@"
}

lines() {
    local crate all=0 count
    heading 'Lines of code' 'Of src/, without tests, blank lines and comments.'
    raw_file lines crate lines
    for crate in "${NAMES[@]}" chassis; do
        count=$(code_in "$crate"/src/*.rs)
        all=$((all + count))
        raw "$crate" "$count"
        printf '%-22s %6d\n' "$crate" "$count"
    done
    printf '%-22s %6d\n' together "$all"
    need_cargo
    say "${DIM}Building the tests to count them.$PLAIN"
    cargo test --workspace --quiet -- --list >"$RUN_DIR/tests.out" 2>"$RUN_DIR/tests.err" ||
        give_up "the tests do not build; see $RUN_DIR/tests.err"
    count=$(grep -c ': test$' "$RUN_DIR/tests.out")
    raw tests "$count"
    printf '%-22s %6d\n' tests "$count"
}

# ------------------------------------------------------------------ the whole

SECTIONS='startup memory throughput order page slow-head idle hung recovery telemetry lines'
wanted=''
while [ $# -gt 0 ]; do
    case $1 in
        (-h | --help) usage && exit 0 ;;
        (startup | memory | throughput | order | page | slow-head | idle | hung | recovery | telemetry | lines) wanted="$wanted $1" ;;
        (*) misused "there is no section $1; there are $SECTIONS" ;;
    esac
    shift
done
wanted=${wanted:-$SECTIONS}

case " $wanted " in (*' throughput '* | *' order '* | *' page '* | *' hung '* | *' telemetry '*) need_wrk ;; esac
mkdir -p "$RUN_DIR" || exit 1
case " $wanted " in
    (*' startup '* | *' memory '* | *' throughput '* | *' order '* | *' page '* | *' slow-head '* | *' idle '* | *' hung '* | *' recovery '*)
        need_curl
        export PROFILE=${PROFILE:-dist}
        # shellcheck disable=SC2086 # a list of places
        build $ALL || exit 1
        ;;
    (*' telemetry '*)
        need_curl
        export PROFILE=${PROFILE:-dist}
        build "$USER" || exit 1
        ;;
esac
# By itself: built together with them, its features would be theirs too.
case " $wanted " in
    (*' throughput '* | *' telemetry '*) cargo build --profile "$PROFILE" -p bench || give_up 'the bare servers do not build' ;;
esac

say "$(date '+%Y-%m-%d %H:%M'), $(uname -sm), $(getconf _NPROCESSORS_ONLN) processors, $(rustc --version | cut -d ' ' -f 1,2), load$(uptime | sed 's/.*load average[s]*://')"
for section in $wanted; do "$section"; done
say ''
say "The raw numbers are in $RUN_DIR/."
