# shellcheck shell=bash
# shellcheck disable=SC2034 # what is set here is used by the scripts that read this file
#
# Shared by break.sh and lab.sh: how they break and mend a service, by its faults or its container.
# Read after lib.sh; what concerns containers also needs compose.sh.

# For the message about a word that is none of them.
VERBS='delay 250ms, errors 30%, hang, close, garbage'

# Sets MS to the milliseconds in $1.
milliseconds() {
    case $1 in
        (*ms) MS=${1%ms} ;;
        (*s) MS=${1%s}000 ;;
        (*) MS='' ;;
    esac
    case $MS in ('' | *[!0-9]* | ??????*) misused "\"$1\" is no delay; it is 0ms to 60000ms, or 0s to 60s" ;; esac
    [ "$((10#$MS))" -le 60000 ] || misused "\"$1\" is too long; the longest delay is 60s"
    MS=$((10#$MS))
}

# Sets SHARE to the percentage in $1, as a fraction.
percentage() {
    local number=${1%\%}
    case $number in ('' | *[!0-9]* | ????*) number=101 ;; esac
    [ "$number" != "$1" ] && [ "$((10#$number))" -le 100 ] ||
        misused "\"$1\" is no share of the requests; it is 0% to 100%"
    SHARE=$(printf '%d.%02d' "$((10#$number / 100))" "$((10#$number % 100))")
}

# Sets FAULT to the fields of the fault that the verb $1 with its value $2 stands for, and EFFECT to
# what the service does then. Fails if $1 is no such verb; exits if $2 is wrong.
read_fault() {
    case $1 in (hang | close | garbage) [ -z "${2:-}" ] || misused "$1 takes no amount, so $2 is too many" ;; esac
    case $1 in
        (delay)
            milliseconds "${2:-}"
            FAULT="\"kind\":\"latency\",\"ms\":$MS" EFFECT="answers $MS ms later"
            ;;
        (errors)
            percentage "${2:-}"
            FAULT="\"kind\":\"status\",\"status\":500,\"share\":$SHARE" EFFECT="answers $2 of its requests with 500"
            ;;
        (hang) FAULT='"kind":"hang"' EFFECT='accepts requests and never answers' ;;
        (close) FAULT='"kind":"close"' EFFECT='closes the connection instead of answering' ;;
        (garbage) FAULT='"kind":"garbage"' EFFECT='answers 200 with something that is not JSON' ;;
        (*) return 1 ;;
    esac
}

# Breaks all routes of the service at $1 as read_fault has read it, and says so.
set_fault() {
    lab_ask PUT "$1" /lab/faults "[{\"route\":\"*\",\"seconds\":3600,$FAULT}]" || return 1
    say "${NAMES[$1]} $EFFECT; health and metrics still answer."
}

# Removes the faults of the services at the places given. Sets MENDED to the places of those that
# answered, and FAULTY to those that had faults.
remove_faults() {
    local i
    MENDED='' FAULTY=''
    for i in "$@"; do
        lab_ask GET "$i" /lab/faults 2>/dev/null || continue
        [ "$BODY" = '[]' ] || FAULTY="$FAULTY $i"
        lab_ask DELETE "$i" /lab/faults && MENDED="$MENDED $i"
    done
}

# ------------------------------------------------------------------ containers

# Exits unless the container of the service at $1 runs.
need_running() {
    local state
    state=$(state_of "$1")
    [ "$state" = running ] && return
    complain "${NAMES[$1]} does not run: it is $state; $(mend_hint) repairs it."
    exit 1
}

stop_container() {
    docker stop --time 15 "${IDS[$1]}" >/dev/null || return 1
    say "${NAMES[$1]} is stopped: its name and its port are gone, and so are its records."
}

# Repairs all that is broken in the containers of the services at the places given, and waits until
# they are healthy.
mend_containers() {
    local i broken=''
    for i in "$@"; do is_slow "$i" && broken="$broken $i"; done
    speed_up "$@"
    for i in "$@"; do
        case ${STATES[i]} in
            (paused)
                docker unpause "${IDS[i]}" >/dev/null || return 1
                say "Resumed: ${NAMES[i]}."
                ;;
            (exited | created)
                docker start "${IDS[i]}" >/dev/null || return 1
                say "Started: ${NAMES[i]}; what it had in memory is gone."
                ;;
            (running)
                [ "${HEALTHS[i]}" = healthy ] && continue
                ;;
            (*)
                complain "${NAMES[i]} is $(state_of "$i"); scripts/lab.sh up starts it."
                return 1
                ;;
        esac
        broken="$broken $i"
    done
    [ -z "$broken" ] || wait_until_healthy "$@" || return 1
    remove_faults "$@"
    if [ -z "$broken$FAULTY" ]; then
        say 'Nothing is broken.'
        return
    fi
    # shellcheck disable=SC2086 # a list of places
    [ -z "$FAULTY" ] || say "No faults any more: $(names $FAULTY)."
    # Of a part of the services nobody knows what the others lack.
    if [ $# -lt ${#IDS[@]} ]; then
        say 'Healthy again.'
        return
    fi
    wait_until_lab_ready || return 1
    say 'All six are healthy, and ready.'
}

# Waits until all six are ready: open circuits have to close first.
wait_until_lab_ready() {
    local i ready began=$SECONDS
    while :; do
        ready=$(for i in $ALL; do curl -s -m 3 "$(base_url "$i")/health/ready"; done | grep -o '"status":"ready"')
        [ "$(grep -c . <<<"$ready")" -eq 6 ] && return 0
        if [ $((SECONDS - began)) -ge "$HEALTHY_WITHIN" ]; then
            complain "Not all six are ready after $HEALTHY_WITHIN s; scripts/lab.sh status shows which."
            return 1
        fi
        sleep 0.2
    done
}
