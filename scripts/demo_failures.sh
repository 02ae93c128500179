# shellcheck shell=bash
# shellcheck disable=SC2034,SC2086,SC2153 # demo.sh uses and sets these; a place is a number
#
# The steps of demo.sh --failures, as in demo_steps.sh.

# name | steps it needs | title
STEPS=(
    'shop||A customer and a product'
    'required|shop|A required service is down'
    'opens|required|The circuit opens'
    'closes|opens|The circuit closes'
    'retry|shop|A retry hides a short fault'
    'last|shop|Two buyers, one item'
    'lost|shop|A lost response'
    'repeated|lost|The same order again'
    'swap|shop|The other framework'
)

step_shop() {
    why 'All steps of this act use them. Ada is the customer; the product has five pieces.'
    USER_ID=$(field id "$(curl -s -m 5 "$(base_url $USER)/api/users" \
        -H 'Content-Type: application/json' \
        -d "{\"name\":\"Ada Lovelace\",\"email\":\"ada-$RUN@example.com\"}")")
    check $USER 'there is a customer, with an id; that' yes "$([ -n "$USER_ID" ] && printf yes)"
    say ''
    offer 5
    { [ -n "$USER_ID" ] && [ -n "$PRODUCT_ID" ]; } || cannot_continue 'no order is possible.'
}

# Puts a product on sale of which there are $1.
offer() {
    ask $PRODUCT POST /api/products "{\"name\":\"Keyboard\",\"price\":19.99,\"stock\":$1}"
    check $PRODUCT 'the status' 201 "$STATUS"
    PRODUCT_ID=$(field id "$BODY")
}

# The body of an order of one piece.
an_order() { printf '{"userId":"%s","productId":"%s","quantity":1}' "$USER_ID" "$PRODUCT_ID"; }

# The stock of the product.
stock() { field stock "$(curl -s -m 5 "$(base_url $PRODUCT)/api/products/$PRODUCT_ID")"; }

# Sends an order and prints its status, without showing more.
status_of_order() {
    curl -s -m 5 -o /dev/null -w '%{http_code}' "$(base_url $ORDER)/api/orders" \
        -H 'Content-Type: application/json' -d "$(an_order)"
}

step_required() {
    why 'No order without a price and stock. The answer names the service that is down, and says' \
        'that nothing was changed, so a client may try again.'
    must_take_out $PRODUCT || return
    command_line "$(stop_command $PRODUCT)"
    take_out $PRODUCT >"$SCRATCH.stopped"
    sed 's/^/    /' "$SCRATCH.stopped"
    say ''
    ask $ORDER POST /api/orders "$(an_order)"
    check $ORDER 'the status' 503 "$STATUS"
    check $ORDER 'the code' dependency_unavailable "$(field code "$BODY")"
    check_has $ORDER 'the error' product-service "$(field error "$BODY")"
    check $ORDER 'Retry-After' there "$([ -n "$(header Retry-After)" ] && printf there)"
}

step_opens() {
    why 'After five failures in a row, order-service stops calling product-service for five' \
        'seconds: its circuit is open. Its readiness shows that.'
    if [ "$OUT" != $PRODUCT ]; then
        skip 'product-service was not stopped'
        return
    fi
    local statuses='' n
    command_line "for n in 1 2 3 4 5; do curl -d '...' $(base_url $ORDER)/api/orders; done"
    for n in 1 2 3 4 5; do statuses="$statuses $(status_of_order)"; done
    say "   $DIM$statuses$PLAIN"
    say ''
    check $ORDER 'the statuses' ' 503 503 503 503 503' "$statuses"
    say ''
    ask $ORDER GET /health/ready
    check $ORDER 'the status' 503 "$STATUS"
    check $ORDER 'the circuit to product-service' open \
        "$(field circuit "${BODY#*\"name\":\"product-service\"}")"
}

step_closes() {
    why 'product-service is back, without its records. Its circuit admits one call after five' \
        'seconds; that succeeds, and so all calls go through again.'
    if [ "$OUT" != $PRODUCT ]; then
        skip 'product-service was not stopped'
        return
    fi
    command_line "$(start_command $PRODUCT)"
    bring_back $PRODUCT || cannot_continue 'product-service does not start again.'
    PRODUCT_ID=$(field id "$(curl -s -m 5 "$(base_url $PRODUCT)/api/products" \
        -H 'Content-Type: application/json' -d '{"name":"Keyboard","price":19.99,"stock":5}')")
    command_line "until curl -f -d '...' $(base_url $ORDER)/api/orders; do sleep 0.5; done"
    local began=$SECONDS status=''
    while status=$(status_of_order) && [ "$status" != 201 ] && [ $((SECONDS - began)) -lt 15 ]; do
        sleep 0.5
    done
    say "    $DIM$status after $((SECONDS - began)) s$PLAIN"
    say ''
    check $ORDER 'the status in the end' 201 "$status"
    say ''
    ask $ORDER GET /health/ready
    check $ORDER 'the circuit to product-service' closed \
        "$(field circuit "${BODY#*\"name\":\"product-service\"}")"
}

# The number of retries of order-service to product-service.
retries() {
    curl -s -m 5 "$(base_url $ORDER)/metrics" |
        awk '/^upstream_retries_total\{.*dependency="product-service"/ { print $NF }'
}

# Freezes the service at $1 and thaws it after $2 s, in the background.
freeze_for() {
    freeze "$1"
    (
        trap '' HUP
        sleep "$2"
        thaw
    ) </dev/null >/dev/null 2>&1 &
    THAWING=$!
}

# Waits until it runs again.
thawed() {
    wait "$THAWING"
    FROZEN='' MEANWHILE=''
}

step_retry() {
    why 'product-service is frozen for one second. The first call gets no answer within 0.8 s;' \
        'the second one does. The client only sees that it took longer.'
    must_take_out $PRODUCT || return
    local before after
    before=$(retries)
    say "    ${DIM}product-service is frozen for a second, with SIGSTOP.$PLAIN"
    MEANWHILE="freeze_for $PRODUCT 1"
    ask $ORDER POST /api/orders "$(an_order)"
    thawed
    after=$(retries)
    check $ORDER 'the status' 201 "$STATUS"
    say ''
    command_line "curl -s $(base_url $ORDER)/metrics | grep upstream_retries_total"
    say "    $DIM$before before, $after after$PLAIN"
    say ''
    if [ "${after:-0}" -gt "${before:-0}" ]; then
        passed $ORDER 'it retried'
    else
        failed $ORDER "it should have retried, but upstream_retries_total is $after, before $before"
    fi
}

step_last() {
    why 'One piece is left, and two customers order it at the same moment. Taking stock is' \
        'atomic, so one of them gets it.'
    offer 1
    say ''
    local statuses
    command_line "for n in 1 2; do curl -d '...' $(base_url $ORDER)/api/orders & done"
    pause 'What will they answer? Press Enter.'
    statuses=$(say "$(status_of_order)" & say "$(status_of_order)" & wait)
    statuses=$(sort <<<"$statuses" | tr '\n' ' ')
    say "    $DIM$statuses$PLAIN"
    say ''
    check $ORDER 'the statuses, sorted,' '201 409 ' "$statuses"
    check $PRODUCT 'the stock' 0 "$(stock)"
}

step_lost() {
    why 'product-service is slow, and the client gives up after 0.3 s. It cannot know whether' \
        'there is an order. It did send a key, so it can find out.'
    must_take_out $PRODUCT || return
    offer 5
    say ''
    LOST_KEY="demo-$RUN"
    MEANWHILE="freeze_for $PRODUCT 0.6" ASK_WITHIN=0.3
    ask $ORDER POST /api/orders "$(an_order)" "Idempotency-Key: $LOST_KEY"
    ASK_WITHIN=5
    thawed
    check_has $ORDER 'the client' 'no answer' "$STATUS"
}

step_repeated() {
    why 'The same request with the same key: there was an order, so the client gets the first' \
        'response, and no second order is placed.'
    if [ -z "${LOST_KEY:-}" ]; then
        skip 'there was no lost response'
        return
    fi
    # The first one may still be waiting for its notification.
    sleep 1
    ask $ORDER POST /api/orders "$(an_order)" "Idempotency-Key: $LOST_KEY"
    check $ORDER 'the status' 201 "$STATUS"
    check $ORDER 'Idempotency-Replayed' true "$(header Idempotency-Replayed)"
    check $PRODUCT 'the stock, after two requests,' 4 "$(stock)"
}

step_swap() {
    why 'product-service is replaced by the same API on another framework. Its records are gone;' \
        'apart from that, only /health tells.'
    local before=${FRAMEWORKS[PRODUCT]} other=poem old new
    if [ -n "$COMPOSED" ]; then
        skip 'the images have one framework each; without --compose this step runs'
        return
    elif is_own $PRODUCT; then
        skip 'product-service is a program of your own; scripts/swap.sh product rocket ends that'
        return
    fi
    must_take_out $PRODUCT || return
    [ "$before" != poem ] || other=axum
    old=$(unknown_product)
    command_line "$(by_hand "scripts/swap.sh product $other")"
    swap_to "$other" || cannot_continue "the swap failed: $(tail -n 1 "$SCRATCH.swap")"
    say ''
    ask $PRODUCT GET /api/products/999999999
    check $PRODUCT 'the status' 404 "$STATUS"
    new=$(unknown_product)
    if [ "$new" = "$old" ]; then
        passed $PRODUCT "the same answer as on $before"
    else
        failed $PRODUCT "on $before it was $old, and on $other $new"
    fi
    check $PRODUCT 'framework in /health' "$other" \
        "$(field framework "$(curl -s -m 5 "$(base_url $PRODUCT)/health")")"
    say ''
    command_line "$(by_hand "scripts/swap.sh product $before")"
    swap_to "$before" || cannot_continue "the swap back failed: $(tail -n 1 "$SCRATCH.swap")"
}

swap_to() {
    steadily env RUN_DIR="$RUN_DIR" BASE_PORT="$BASE_PORT" BIN_DIR="$BIN_DIR" scripts/swap.sh product "$1" \
        >"$SCRATCH.swap" 2>&1 || return 1
    FRAMEWORKS[PRODUCT]=$1
    say "    $(tail -n 1 "$SCRATCH.swap")"
}

# The answer for a product that does not exist, without what differs in each answer.
unknown_product() {
    curl -s -m 5 "$(base_url $PRODUCT)/api/products/999999999" -H 'X-Request-Id: demo' -w ' %{http_code}'
}
