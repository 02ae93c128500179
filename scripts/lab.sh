#!/usr/bin/env bash
# Runs the shop in containers, for experiments. `scripts/lab.sh --help`
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
# shellcheck source-path=SCRIPTDIR source=compose.sh
. scripts/compose.sh || exit 1
# shellcheck source-path=SCRIPTDIR source=breaking.sh
. scripts/breaking.sh || exit 1

usage() {
    cat <<'USAGE'
Runs the shop in containers: five services and the gateway on one network, each in its own.
docs/lab.md has exercises for it.

    scripts/lab.sh up                       builds and starts it, and waits until it is healthy
    scripts/lab.sh up --observability       with Prometheus, Grafana, and Jaeger for the spans
    scripts/lab.sh up --no-build            with the images of the last build; needs no internet
    scripts/lab.sh status                   each container, its health, and whether it is ready
    scripts/lab.sh logs [service]           the last log lines; --follow continues until Ctrl-C
    scripts/lab.sh break <service> stop     stops it: its name, its port and its records are gone;
                                            "down" is the same
    scripts/lab.sh break <service> pause    freezes it: it accepts connections and never answers
    scripts/lab.sh break <service> slow     freezes it for 1 s, lets it run for 0.2 s, and repeats
    scripts/lab.sh break <service> <how>    its container stays as it is; <how> is delay 250ms,
                                            errors 30%, hang, close or garbage, as in break.sh
    scripts/lab.sh mend                     repairs all that is broken
    scripts/lab.sh restart <service>        stops it gracefully and starts it, as an update would;
                                            several containers one after the other
    scripts/lab.sh scale <service>=<n>      runs n containers of it, 1 to 5; analytics-service only
    scripts/lab.sh shell [command]          a temporary container on the network, with curl
    scripts/lab.sh id <service>             the id of its container, for docker inspect
    scripts/lab.sh down                     removes the lab, and nothing else

It uses "docker compose", else "docker-compose". .env.example lists the settings.

Environment
    BASE_PORT    port of user-service; the others follow, the gateway is before (8001)
    RUN_DIR      the directory for the list of slow services (run)
    START_TIMEOUT    seconds until all containers must be healthy (60)
USAGE
}

# Sets PLACE to the place of the service named $1, else exits.
set_place() {
    [ -n "${1:-}" ] || misused "which service? There are ${NAMES[*]}"
    place_of "$1" >/dev/null || misused "there is no service called $1; there are ${NAMES[*]}"
    PLACE=$(place_of "$1")
}

no_more_arguments() { [ $# -eq 0 ] || misused "unknown argument $1; there is --help"; }

# Exits unless the lab is up.
need_lab() {
    lab_exists && return
    complain 'The lab is not up; scripts/lab.sh up starts it.'
    exit 1
}

# ------------------------------------------------------------------- the commands

up() {
    local began build=yes
    while [ $# -gt 0 ]; do
        case $1 in
            (--no-build) build='' ;;
            (--observability)
                [ -n "$(setting OTEL_EXPORTER_OTLP_ENDPOINT)" ] ||
                    export OTEL_EXPORTER_OTLP_ENDPOINT=http://jaeger:4318
                export COMPOSE_PROFILES=observability
                ;;
            (*) misused "unknown argument $1; up has --observability and --no-build" ;;
        esac
        shift
    done
    # shellcheck disable=SC2086 # a list of places
    read_containers && speed_up $ALL
    if [ -n "$build" ] && ! build_images; then
        complain 'scripts/lab.sh up --no-build starts the images of the last build, if there was one.'
        exit 1
    fi
    began=$SECONDS
    start_lab || exit 1
    say ''
    lab_table
    say ''
    say "All six healthy in $BOLD$((SECONDS - began)) s$PLAIN."
    if [ -n "${COMPOSE_PROFILES:-}" ]; then
        say "Prometheus:  http://127.0.0.1:$(port_of PROMETHEUS_PORT 9090)/alerts"
        say "Grafana:     http://127.0.0.1:$(port_of GRAFANA_PORT 3000)"
        say "Jaeger:      http://127.0.0.1:$(port_of JAEGER_PORT 16686)"
    fi
    say 'Exercises:   docs/lab.md'
    say 'Remove it:   scripts/lab.sh down'
}

port_of() {
    local port
    port=$(setting "$1")
    printf '%s' "${port:-$2}"
}

logs() {
    local follow=() services=()
    while [ $# -gt 0 ]; do
        case $1 in
            (-f | --follow) follow=(--follow) ;;
            (-*) misused "unknown option $1; logs has --follow" ;;
            (*) set_place "$1" && services+=("$1") ;;
        esac
        shift
    done
    need_lab
    compose logs --tail 50 ${follow[@]+"${follow[@]}"} ${services[@]+"${services[@]}"}
}

break_it() {
    local how=${2:-}
    set_place "${1:-}"
    case $how in
        (stop | down | pause | slow) shift 2 ;;
        (*)
            read_fault "$how" "${3:-}" ||
                misused "how? scripts/lab.sh break $1 stop, pause, slow, $VERBS"
            case $how in (delay | errors) shift ;; esac
            shift 2
            ;;
    esac
    no_more_arguments "$@"
    need_lab
    need_running "$PLACE"
    case $how in
        (stop | down) stop_container "$PLACE" || exit 1 ;;
        (pause)
            docker pause "${IDS[PLACE]}" >/dev/null || exit 1
            say "${NAMES[PLACE]} is frozen: the system accepts connections for it, but nothing answers."
            ;;
        (slow)
            slow_down "$PLACE" || exit 1
            say "${NAMES[PLACE]} is slow: frozen for $SLOW_STOPPED s, running for $SLOW_RUNNING s, repeatedly."
            ;;
        (*) set_fault "$PLACE" || exit 1 ;;
    esac
    say "$(mend_hint) repairs it."
}

mend_hint() { printf 'scripts/lab.sh mend'; }

mend() {
    no_more_arguments "$@"
    need_lab
    # shellcheck disable=SC2086 # a list of places
    mend_containers $ALL || exit 1
}

restart() {
    local id ids
    set_place "${1:-}"
    shift
    no_more_arguments "$@"
    need_lab
    # shellcheck disable=SC2086 # a place
    speed_up $PLACE
    ids=${IDS[PLACE]}
    [ "$PLACE" = "$ANALYTICS" ] && ids="$ids $(replicas)"
    for id in $ids; do
        docker restart --time 15 "$id" >/dev/null && wait_until_container_healthy "$id" || exit 1
    done
    say "${NAMES[PLACE]} is running again and healthy."
}

# Waits until the container is healthy.
wait_until_container_healthy() {
    local began=$SECONDS
    while [ "$(docker inspect --format '{{.State.Health.Status}}' "$1")" != healthy ]; do
        if [ $((SECONDS - began)) -ge "$HEALTHY_WITHIN" ]; then
            complain "Container $1 is not healthy after $HEALTHY_WITHIN s; \"docker logs $1\" may say why."
            return 1
        fi
        sleep 0.2
    done
}

scale() {
    local asked=${1:-} of n reason id
    of=${asked%=*}
    set_place "$of"
    reason=$(why_one_instance "$PLACE")
    [ "$PLACE" != $GATEWAY ] ||
        reason="${NAMES[PLACE]} has one container in the lab: its clients use one port of this machine, which leads to one."
    if [ -n "$reason" ]; then
        complain "$reason"
        exit 1
    fi
    case $asked in
        (*=[1-"$MOST_INSTANCES"]) n=${asked##*=} ;;
        (*) misused "how many containers? scripts/lab.sh scale $of=<1 to $MOST_INSTANCES>, not \"$asked\"" ;;
    esac
    shift
    no_more_arguments "$@"
    need_lab
    if [ "$n" -eq 1 ]; then
        compose_all rm --stop --force analytics-replica >&2 || exit 1
    else
        compose --profile scaled up --detach --no-build --no-deps --no-recreate \
            --scale "analytics-replica=$((n - 1))" analytics-replica >&2 || exit 1
    fi
    if [ "$(replicas | wc -l)" -ne $((n - 1)) ]; then
        complain "analytics-service does not have $n containers; see the output of compose above."
        exit 1
    fi
    for id in $(replicas); do wait_until_container_healthy "$id" || exit 1; done
    wait_until_gateway_knows "$n" || exit 1
    if [ "$n" -eq 1 ]; then
        say 'analytics-service has one container.'
    else
        say "analytics-service has $n containers. On the network its name resolves to each of them,"
        say "and the gateway knows them; port ${PORTS[ANALYTICS]} of this machine leads to the first."
    fi
}

# Waits until $1 instances of analytics-service get requests from the gateway, if it runs.
wait_until_gateway_knows() {
    local status began=$SECONDS
    [ "${STATES[GATEWAY]}" = running ] || return 0
    while :; do
        status=$(curl -s -m 3 "$(base_url $GATEWAY)/status")
        # analytics-service is the last one in it.
        status=${status#*'"name":"analytics-service"'}
        [ "$(grep -o '"state":"up"' <<<"$status" | wc -l)" -eq "$1" ] && return 0
        if [ $((SECONDS - began)) -ge "$HEALTHY_WITHIN" ]; then
            complain "The gateway does not know $1 instances of analytics-service after $HEALTHY_WITHIN s; $(base_url $GATEWAY)/status shows those that it knows."
            return 1
        fi
        sleep 0.2
    done
}

shell() {
    local terminal=()
    need_lab
    { [ -t 0 ] && [ -t 1 ]; } || terminal=(-T)
    docker image inspect microservices-lab/shell:0.1.0 >/dev/null 2>&1 || {
        say "${DIM}Building its image; this happens once.$PLAIN" >&2
        compose_all build shell >&2 || exit 1
    }
    if [ $# -eq 0 ] && [ ${#terminal[@]} -eq 0 ]; then
        say "${DIM}On the lab's network. Try: curl -s user-service:8001/health; exit leaves.$PLAIN"
    fi
    compose_all run --rm --no-deps ${terminal[@]+"${terminal[@]}"} shell "$@"
}

id() {
    set_place "${1:-}"
    shift
    no_more_arguments "$@"
    need_lab
    if [ -z "${IDS[PLACE]}" ]; then
        complain "${NAMES[PLACE]} has no container; scripts/lab.sh up creates one."
        exit 1
    fi
    say "${IDS[PLACE]:0:12}"
}

down() {
    local i
    no_more_arguments "$@"
    for i in $ALL; do rm -f "$(slow_file "$i")"; done
    read_containers || exit 1
    for i in $ALL; do
        # A frozen process does not see the signal to stop.
        case ${STATES[i]} in
            (paused) docker unpause "${IDS[i]}" >/dev/null ;;
            (running) docker kill --signal CONT "${IDS[i]}" >/dev/null ;;
        esac
    done
    compose_all down --remove-orphans || exit 1
    say 'The lab is removed. Its images are kept for the next time.'
}

asked=${1:-}
case $asked in
    ('' | -h | --help) usage && exit 0 ;;
    (up | status | logs | break | mend | restart | scale | shell | id | down) shift ;;
    (*) misused "unknown command $asked; there are up, status, logs, break, mend, restart, scale, shell, id and down" ;;
esac
case " $* " in (*' --help '* | *' -h '*) [ "$asked" = shell ] || { usage && exit 0; } ;; esac
need_curl
need_docker
case $asked in
    (break) break_it "$@" ;;
    (status)
        no_more_arguments "$@"
        need_lab
        lab_table
        ;;
    (*) "$asked" "$@" ;;
esac
