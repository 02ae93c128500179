# shellcheck shell=bash
# shellcheck disable=SC2034,SC2086 # demo.sh uses what is set here; a place is a number
#
# The steps of demo.sh. To add one, write a row here and a function below: the function of
# the step "too-many" is step_too_many. The rows stand in the order in which the steps run;
# a step comes after those it needs.

# name | steps it needs | title
STEPS=(
    'health||Do all services run?'
    'user||A customer signs up'
    'product|user|A product goes on sale'
    'totals||What analytics knows so far'
    'order|product|The customer orders two'
    'stock|order|Proof: the stock is down'
    'notification|order|Proof: the customer was told'
    'analytics|totals order|Proof: analytics counts it'
    'xray|order|The X-ray of the order'
    'unknown-user|product|An order for an unknown user'
    'invalid|user|An invalid order'
    'too-many|product|An order for more than there is'
    'outage|product|An order while notification-service is down'
    'degraded|outage|order-service says what it does without'
    'cancel|order|The customer cancels'
    'again|cancel|The customer cancels again'
    'gateway|order|One address for all services'
    'logs|order|One request id through all the logs'
)

step_health() {
    why 'Each service answers GET /health itself: it is alive, and this is its name. Five' \
        'frameworks, one format.'
    local place health
    health=('' '' '' '' '')
    for place in $FIVE; do
        command_line "curl $(base_url "$place")/health"
        [ "$place" != $USER ] || pause 'What will they answer? Press Enter.'
        receive curl -sS -i -m 5 "$(base_url "$place")/health"
        health[place]=${BODY:-$STATUS}
        say "    $DIM${health[place]:0:73}...$PLAIN"
    done
    say ''
    for place in $FIVE; do
        check "$place" 'its framework and state' "${FRAMEWORKS[place]}, healthy" \
            "$(field framework "${health[place]}" || printf '%s' "${health[place]}"), $(field status "${health[place]}")"
    done
}

step_user() {
    why 'user-service keeps the users. Status 201 means that something was created; the' \
        'Location header says where.'
    local email="ada-$RUN@example.com"
    ask $USER POST /api/users "{\"name\":\"Ada Lovelace\",\"email\":\"$email\"}"
    USER_ID=$(field id "$BODY")
    check $USER 'the status' 201 "$STATUS"
    check $USER 'the email' "$email" "$(field email "$BODY")"
    check $USER 'Location' "/api/users/$USER_ID" "$(header Location)"
    [ -n "$USER_ID" ] || cannot_continue 'no user can order.'
}

step_product() {
    why 'product-service keeps the stock. It asks user-service whether the seller exists.'
    STOCK=10
    ask $PRODUCT POST /api/products \
        "{\"name\":\"Keyboard\",\"price\":19.99,\"stock\":$STOCK,\"sellerId\":\"$USER_ID\"}"
    PRODUCT_ID=$(field id "$BODY")
    check $PRODUCT 'the status' 201 "$STATUS"
    check $PRODUCT 'the stock' "$STOCK" "$(field stock "$BODY")"
    check $PRODUCT 'the price' 19.99 "$(field price "$BODY")"
    [ -n "$PRODUCT_ID" ] || cannot_continue 'there is no product to order.'
}

step_totals() {
    why 'analytics-service keeps no records; it asks the other services. These are the totals' \
        'before the order, to compare with later.'
    ask $ANALYTICS GET /api/analytics/orders
    check $ANALYTICS 'the status' 200 "$STATUS"
    TOTAL_BEFORE=$(field total "$BODY")
    REVENUE_BEFORE=$(cents "$(field revenue "$BODY")")
}

step_order() {
    why 'order-service asks user- and product-service, takes the stock, saves the order and' \
        'calls notification-service. It passes our request id on, and each logs it.'
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
        cannot_continue 'there is no order to check.'
    STOCK=$((STOCK - 2))
}

step_stock() {
    why 'Two fewer. order-service asked product-service to take them (PATCH .../stock); this is' \
        'atomic, so concurrent orders cannot take the same item.'
    ask $PRODUCT GET "/api/products/$PRODUCT_ID"
    check $PRODUCT 'the stock' "$STOCK" "$(field stock "$BODY")"
}

step_notification() {
    why 'notification-service has the confirmation and lists it for the user.'
    ask $NOTIFICATION GET "/api/notifications/$USER_ID"
    check $NOTIFICATION 'the status' 200 "$STATUS"
    check_has $NOTIFICATION 'the list' "\"Your order #$ORDER_ID has been confirmed\"" "${BODY:-$STATUS}"
    check $NOTIFICATION 'X-Total-Count' 1 "$(header X-Total-Count)"
}

step_analytics() {
    why 'The total includes the order at once. Money is exact: two times 19.99 is 39.98, to the' \
        'cent.'
    ask $ANALYTICS GET /api/analytics/orders
    check $ANALYTICS 'the number of orders more than before' 1 \
        "$(above "$TOTAL_BEFORE" "$(field total "$BODY")")"
    check $ANALYTICS 'the revenue more than before, in cents,' 3998 \
        "$(above "$REVENUE_BEFORE" "$(cents "$(field revenue "$BODY")")")"
}

step_xray() {
    why 'Each service remembers its part of the order. Together: what ran at the same time, and' \
        'what waited for what.'
    local drawn base=${BASE_PORT:-}
    [ -z "$COMPOSED" ] || base=${PORTS[USER]}
    # In containers, nothing else needs cargo.
    if ! type -P cargo >/dev/null && [ ! -x "${BIN_DIR:-.}/xray" ]; then
        skip 'cargo builds the X-ray, and is not here'
        return
    fi
    command_line "$(by_hand "scripts/xray.sh --order $ORDER_ID")"
    pause 'What ran at the same time? Press Enter.'
    drawn=$(BIN_DIR=$BIN_DIR BASE_PORT=$base scripts/xray.sh --order "$ORDER_ID" 2>&1)
    say "$drawn"
    check_has $ORDER 'the X-ray' "created  /api/orders/$ORDER_ID" "$drawn"
    check_has $NOTIFICATION 'the X-ray' 'notification POST' "$drawn"
}

step_unknown_user() {
    why 'The user does not exist, so the order is refused. Every error of every service has this' \
        'format: a sentence for people, a code for programs, the request id for the logs.'
    ask $ORDER POST /api/orders "{\"userId\":\"999999999\",\"productId\":\"$PRODUCT_ID\",\"quantity\":1}"
    check $ORDER 'the status' 400 "$STATUS"
    check $ORDER 'the code' validation_failed "$(field code "$BODY")"
    check $ORDER 'the error' 'User not found' "$(field error "$BODY")"
}

step_invalid() {
    why 'Quantity 0 and no product. The response names every error at once, so that a form can' \
        'show them all.'
    ask $ORDER POST /api/orders "{\"userId\":\"$USER_ID\",\"quantity\":0}"
    check $ORDER 'the status' 400 "$STATUS"
    check $ORDER 'the code' validation_failed "$(field code "$BODY")"
    check_has $ORDER 'the error' '"field":"productId"' "$BODY"
    check_has $ORDER 'the error' '"field":"quantity"' "$BODY"
}

step_too_many() {
    why 'One more than are left. The error says how many are left; the stock stays the same.'
    local refusal
    ask $ORDER POST /api/orders \
        "{\"userId\":\"$USER_ID\",\"productId\":\"$PRODUCT_ID\",\"quantity\":$((STOCK + 1))}"
    refusal=$(field error "$BODY")
    check $ORDER 'the status' 409 "$STATUS"
    check $ORDER 'the code' insufficient_stock "$(field code "$BODY")"
    check_has $ORDER 'the sentence' "$STOCK" "$refusal"
    say ''
    ask $PRODUCT GET "/api/products/$PRODUCT_ID"
    check $PRODUCT 'the stock' "$STOCK" "$(field stock "$BODY")"
}

step_outage() {
    why 'An order needs the user and the product; the confirmation is optional. So while' \
        'notification-service is stopped, the order succeeds, with "notification": "failed".'
    must_take_out $NOTIFICATION || return
    command_line "$(stop_command $NOTIFICATION)"
    take_out $NOTIFICATION >"$SCRATCH.stopped"
    sed 's/^/    /' "$SCRATCH.stopped"
    say ''
    ask $ORDER POST /api/orders \
        "{\"userId\":\"$USER_ID\",\"productId\":\"$PRODUCT_ID\",\"quantity\":1}"
    check $ORDER 'the status' 201 "$STATUS"
    check $ORDER 'the order' confirmed "$(field status "$BODY")"
    check $ORDER 'the notification' failed "$(field notification "$BODY")"
    [ "$STATUS" != 201 ] || STOCK=$((STOCK - 1))
}

step_degraded() {
    why 'It is degraded, but not unavailable: it goes on without what is optional.'
    if [ "$OUT" != $NOTIFICATION ]; then
        skip 'notification-service was not stopped'
        return
    fi
    ask $ORDER GET /health/ready
    check $ORDER 'the status' 200 "$STATUS"
    check $ORDER 'its state' degraded "$(field status "$BODY")"
    say ''
    command_line "$(start_command $NOTIFICATION)"
    bring_back $NOTIFICATION || cannot_continue 'notification-service does not start again.'
    say ''
    receive curl -sS -i -m 5 "$(base_url $ORDER)/health/ready"
    check $ORDER 'its state now' ready "$(field status "$BODY")"
}

step_cancel() {
    why 'Cancelling returns the stock.'
    ask $ORDER POST "/api/orders/$ORDER_ID/cancel"
    check $ORDER 'the status' 200 "$STATUS"
    check $ORDER 'the order' cancelled "$(field status "$BODY")"
    say ''
    ask $PRODUCT GET "/api/products/$PRODUCT_ID"
    STOCK=$((STOCK + 2))
    check $PRODUCT 'the stock' "$STOCK" "$(field stock "$BODY")"
}

step_again() {
    why 'The order is cancelled already, so this is a conflict: the stock is not returned twice.'
    ask $ORDER POST "/api/orders/$ORDER_ID/cancel"
    check $ORDER 'the status' 409 "$STATUS"
    check $ORDER 'the code' conflict "$(field code "$BODY")"
    say ''
    ask $PRODUCT GET "/api/products/$PRODUCT_ID"
    check $PRODUCT 'the stock' "$STOCK" "$(field stock "$BODY")"
}

step_gateway() {
    why 'The gateway forwards each path to its service, and answers what needs several of' \
        'them: a dashboard has the user, the newest orders and the newest notifications.'
    ask $GATEWAY GET "/api/orders/$ORDER_ID"
    check $GATEWAY 'the status' 200 "$STATUS"
    check $GATEWAY 'the order' "$ORDER_ID" "$(field id "$BODY")"
    say ''
    command_line "curl $(base_url $GATEWAY)/api/users/$USER_ID/dashboard"
    receive curl -sS -i -m 5 "$(base_url $GATEWAY)/api/users/$USER_ID/dashboard"
    say "    $DIM${BODY:0:73}...$PLAIN"
    say ''
    check_has $GATEWAY 'the dashboard' '"unavailable":[]' "$BODY"
}

step_logs() {
    why "The order above carried X-Request-Id: $REQUEST_ID." \
        'Every service that took part logged that id; here are those lines, for people.'
    local place path foreign=''
    for place in $USER $PRODUCT $ORDER $NOTIFICATION; do
        is_foreign "$place" && foreign=yes
    done
    if [ -n "$foreign" ]; then
        skip "not all services log into $RUN_DIR/: scripts/start.sh did not start them"
    elif ! logged $ORDER | grep '"message":"request"' >/dev/null; then
        skip 'the LOG_LEVEL or LOG_FORMAT of this shop hides the request lines'
    else
        if [ -n "$COMPOSED" ]; then
            command_line "scripts/lab.sh logs | grep $REQUEST_ID"
        else
            command_line "$(by_hand "scripts/logs.sh --request $REQUEST_ID")"
        fi
        say ''
        for place in $ALL; do logged "$place"; done | grep -- "$REQUEST_ID" | sort | readable |
            sed -e "s/ [^ ]*$REQUEST_ID.*//" -e 's/^/    /'
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
}
