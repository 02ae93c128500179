#!/usr/bin/env bash
# The health-check tour. `scripts/health.sh --help`
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
Asks each service for GET /health (is it alive?) and GET /health/ready (can it do
its work?), and shows the answers as a table.

    scripts/health.sh                 once
    scripts/health.sh --watch         again every 2 seconds, until Ctrl-C
    scripts/health.sh --watch 10      again every 10 seconds

The exit status is the number of services that are not well: that do not answer,
or that are unavailable. A degraded service is well: it does its work without
something it can do without, and the table says what.

Environment
    BASE_PORT    port of user-service; the others follow (that of the shop that
                 scripts/start.sh started, else 8001)
    RUN_DIR      where logs and process ids are kept (run)
USAGE
}

watch=''
while [ $# -gt 0 ]; do
    case $1 in
        (--watch)
            watch=2
            case ${2:-} in
                ('' | -*) ;;
                (*[!0-9]* | 0* | ?????*) misused "--watch takes whole seconds, 1 to 9999, not \"$2\"" ;;
                (*) watch=$2 && shift ;;
            esac
            ;;
        (-h | --help) usage && exit 0 ;;
        (*) misused "unknown argument $1; there are --watch and --help" ;;
    esac
    shift
done

need_curl
choose_ports

# On a terminal, a round that repeats is written over the one before.
LINE_END=''
[ -n "$watch" ] && [ -n "$ON_TERMINAL" ] && LINE_END=$'\033[K'
line() { printf "%s$LINE_END\n" "$*"; }


# Seconds as a person says them.
lasting() {
    if [ "$1" -lt 60 ]; then
        printf '%s s' "$1"
    elif [ "$1" -lt 3600 ]; then
        printf '%s min %s s' "$(($1 / 60))" "$(($1 % 60))"
    else
        printf '%s h %s min' "$(($1 / 3600))" "$(($1 / 60 % 60))"
    fi
}

# One row of the table; sets WELL, and NOTE where there is something to say.
row() {
    local name=${NAMES[$1]} url health live_status took
    local live=no state=- framework=- version=- uptime=- latency=- colour=$RED missing
    url=$(base_url "$1")
    WELL='' NOTE=''
    [ -n "$ON_TERMINAL" ] && printf '%s\r' "$DIM$name ...$PLAIN"
    {
        read_answer
        health=$BODY live_status=$STATUS took=$TOOK
        read_answer
    } <<<"$(curl -s -m 2 -w "$MEASURED" "$url/health" "$url/health/ready")"
    case $live_status in
        (200)
            if [ "$(field service "$health")" != "$name" ]; then
                NOTE="the answer at $url/health is not from $name"
            else
                live=yes
                framework=$(field framework "$health")
                version=$(field version "$health")
                uptime=$(lasting "$(field uptimeSeconds "$health")")
                latency=$(awk -v s="$took" 'BEGIN { printf "%.1f ms", s * 1000 }')
                state=$(field status "$BODY")
            fi
            ;;
        (000)
            NOTE="nothing answers at $url"
            case $took in ([2-9]*) NOTE="no answer at $url within 2 s" ;; esac
            ;;
        (*) NOTE="$url/health answers $live_status" ;;
    esac
    if [ "$live" = yes ]; then
        case $state in
            (ready)
                WELL=yes
                colour=$GREEN
                ;;
            (degraded)
                WELL=yes
                colour=$YELLOW
                missing=$(missing_in "$BODY")
                NOTE="degraded: it does without ${missing:-something}"
                ;;
            (unavailable)
                missing=$(missing_in "$BODY" true)
                NOTE='unavailable: it is shutting down'
                [ -n "$missing" ] && NOTE="unavailable: it cannot work without $missing"
                ;;
            (*)
                state='?'
                NOTE="/health/ready answers $STATUS"
                ;;
        esac
    fi
    line "$(printf "%-20s  $colour%-4s  %-11s$PLAIN  %-9s  %-7s  %12s  %8s" \
        "$name" "$live" "$state" "$framework" "$version" "$uptime" "$latency")"
}

# The whole tour; sets NOT_WELL.
tour() {
    local i notes=''
    NOT_WELL=0
    line "$BOLD$(printf '%-20s  %-4s  %-11s  %-9s  %-7s  %12s  %8s' service live ready framework version uptime latency)$PLAIN"
    for i in $ALL; do
        row "$i"
        [ -z "$WELL" ] && NOT_WELL=$((NOT_WELL + 1))
        [ -n "$NOTE" ] && notes="$notes${NAMES[i]}: $NOTE"$'\n'
    done
    line ''
    if [ "$NOT_WELL" -eq 0 ]; then
        line "${GREEN}All five are well.$PLAIN"
    else
        line "$RED$NOT_WELL of 5 not well.$PLAIN"
    fi
    while IFS= read -r i; do
        [ -n "$i" ] && line "    $i"
    done <<<"$notes"
    [ "$NOT_WELL" -eq 5 ] && line "    $(by_hand scripts/start.sh) starts the shop."
    line ''
    line 'The same by hand; the last line of each answer is its status and how many seconds it took:'
    for i in $ALL; do
        line "    ${CYAN}curl -s -m 2 -w '$MEASURED' $(base_url "$i")/health $(base_url "$i")/health/ready$PLAIN"
    done
}

if [ -z "$watch" ]; then
    tour
    exit "$NOT_WELL"
fi

NOT_WELL=0
trap 'printf "\n"; exit "$NOT_WELL"' INT TERM
[ -n "$ON_TERMINAL" ] && printf '\033[2J'
while :; do
    [ -n "$ON_TERMINAL" ] && printf '\033[H'
    line "$DIM$(date '+%H:%M:%S'), every $watch s; Ctrl-C ends it.$PLAIN"
    line ''
    tour
    if [ -n "$ON_TERMINAL" ]; then printf '\033[J'; else line ''; fi
    sleep "$watch"
done
