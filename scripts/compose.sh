# shellcheck shell=bash
# shellcheck disable=SC2034 # what is set here is used by the scripts that read this file
#
# Shared by lab.sh and demo.sh --compose: the shop in containers. Read after lib.sh.

# Only the first instances: the lab finds the containers of the others by itself.
ALL=$ALONE

# Seconds until all services must be healthy.
HEALTHY_WITHIN=${START_TIMEOUT:-60}

# `break slow` alternates: seconds paused, then seconds running.
SLOW_STOPPED=1
SLOW_RUNNING=0.2

# By place: the container id, its state (running, paused, exited, ...), its exit status,
# its health (starting, healthy, unhealthy, -) and its port on the host.
IDS=('' '' '' '' '' '') STATES=('' '' '' '' '' '') EXITS=('' '' '' '' '' '')
HEALTHS=('' '' '' '' '' '') PORTS=('' '' '' '' '' '')

base_url() { printf 'http://127.0.0.1:%s' "${PORTS[$1]}"; }
start_hint() { printf 'scripts/lab.sh mend'; }

# The value of variable $1 in compose: from the environment, even if it is empty, else from
# .env. As compose reads it: the last line with the name counts, `export` and spaces around
# the name and the value do not, quotes are removed, and ` #` begins a comment outside of them.
setting() {
    if [ -n "${!1+set}" ]; then
        printf '%s' "${!1}"
    elif [ -r .env ]; then
        awk -v name="$1" '
            {
                line = $0
                sub(/\r$/, "", line)
                sub(/^[ \t]*(export[ \t]+)?/, "", line)
                if (index(line, name) != 1) next
                line = substr(line, length(name) + 1)
                if (!sub(/^[ \t]*[=:][ \t]*/, "", line)) next
                quote = substr(line, 1, 1)
                if (quote == "\"" || quote == "\047") {
                    line = substr(line, 2)
                    if (end = index(line, quote)) line = substr(line, 1, end - 1)
                } else {
                    sub(/(^|[ \t])#.*/, "", line)
                    sub(/[ \t]+$/, "", line)
                }
                value = line
            }
            END { printf "%s", value }' .env
    fi
}

# Checks that Docker works, else exits with the reason. Sets PROJECT and the ports.
need_docker() {
    local cause
    if ! command -v docker >/dev/null 2>&1; then
        complain 'docker was not found; install it from https://docs.docker.com/get-docker, or start the shop without it: scripts/start.sh'
        exit 1
    fi
    if ! cause=$(docker version --format '{{.Server.Version}}' 2>&1); then
        complain "The Docker engine does not answer; start Docker Desktop or the docker service, and check that \"docker ps\" works. The error: $(tail -n 1 <<<"$cause")"
        exit 1
    fi
    # The project name that compose derives from this directory.
    PROJECT=$(setting COMPOSE_PROJECT_NAME)
    if [ -z "$PROJECT" ]; then
        PROJECT=$(basename -- "$ROOT" | tr '[:upper:]' '[:lower:]' | tr -cd 'a-z0-9_-' | sed 's/^[_-]*//')
    fi
    choose_lab_ports
}

# BASE_PORT shifts all ports; a variable of its own overrides each.
choose_lab_ports() {
    local i name
    if [ -n "${BASE_PORT:-}" ]; then
        choose_ports
        for i in $ALL; do
            name=$(port_variable "$i")
            [ -n "${!name:-}" ] || export "$name=$(default_port "$i" "$BASE_PORT")"
        done
        export GATEWAY_TLS_PORT=${GATEWAY_TLS_PORT:-$((BASE_PORT + 442))}
    fi
    for i in $ALL; do
        name=$(port_variable "$i")
        PORTS[i]=$(setting "$name")
        [ -n "${PORTS[i]}" ] || PORTS[i]=$(default_port "$i" 8001)
    done
}

# The port of the service at $1, if that of user-service is $2.
default_port() { if [ "$1" = "$GATEWAY" ]; then printf '%s' "$(($2 - 1))"; else printf '%s' "$(($2 + $1))"; fi; }

# USER_SERVICE_PORT and so on.
port_variable() { printf '%s_PORT' "$(tr 'a-z-' 'A-Z_' <<<"${NAMES[$1]}")"; }

# Finds "docker compose" or "docker-compose", else exits with the reason.
COMPOSE=()
find_compose() {
    if docker compose version >/dev/null 2>&1; then
        COMPOSE=(docker compose)
    elif docker-compose version >/dev/null 2>&1; then
        COMPOSE=(docker-compose)
    else
        complain 'Neither "docker compose" nor "docker-compose" answers; install the compose plugin: https://docs.docker.com/compose/install'
        exit 1
    fi
    # docker-compose needs these to build with BuildKit.
    export DOCKER_BUILDKIT=1 COMPOSE_DOCKER_CLI_BUILD=1
}

compose() {
    [ ${#COMPOSE[@]} -gt 0 ] || find_compose
    "${COMPOSE[@]}" --project-name "$PROJECT" --project-directory "$ROOT" "$@"
}

# The same with all profiles, to find every container of the lab.
compose_all() { compose --profile scaled --profile observability --profile shell "$@"; }

# Reads the state of the containers into the lists above.
read_containers() {
    local i ids id service state code health port
    IDS=('' '' '' '' '' '') STATES=('' '' '' '' '' '') EXITS=('' '' '' '' '' '') HEALTHS=('' '' '' '' '' '')
    ids=$(docker ps --all --quiet --filter "label=com.docker.compose.project=$PROJECT") || return 1
    [ -n "$ids" ] || return 0
    while read -r service id state code health port; do
        i=$(place_of "$service") || continue
        # Docker keeps the last known health of a container that does not run.
        [ "$state" = running ] || health=-
        IDS[i]=$id STATES[i]=$state EXITS[i]=$code HEALTHS[i]=$health
        [ -n "$port" ] && PORTS[i]=$port
    done <<<"$(
        # 8443 is the gateway's second port, the one for TLS.
        # shellcheck disable=SC2086,SC2016 # a list of ids; the variables are those of docker
        docker inspect --format '{{index .Config.Labels "com.docker.compose.service"}} {{.Id}} {{.State.Status}} {{.State.ExitCode}} {{if .State.Health}}{{.State.Health.Status}}{{else}}-{{end}} {{range $inside, $here := .HostConfig.PortBindings}}{{if ne $inside "8443/tcp"}}{{range $here}}{{.HostPort}}{{end}}{{end}}{{end}}' $ids 2>/dev/null
    )"
}

# Whether a container of the shop exists.
lab_exists() {
    read_containers || return 1
    case ${IDS[*]} in (*[![:space:]]*) ;; (*) return 1 ;; esac
}

# Builds the images.
build_images() {
    local version
    version=$(docker version --format '{{.Client.Version}}')
    if [ "${version%%.*}" -ge 23 ] 2>/dev/null && ! docker buildx version >/dev/null 2>&1; then
        complain 'docker cannot build images here: its buildx plugin is missing; install it: https://docs.docker.com/go/buildx'
        return 1
    fi
    say "${DIM}Building the images. The first build takes some minutes.$PLAIN"
    if ! compose build; then
        complain 'The images could not be built; see the output above.'
        return 1
    fi
}

# Starts the services that do not run, and waits until they are healthy.
start_lab() {
    local i
    read_containers || return 1
    for i in $ALL; do
        [ "${STATES[i]}" = running ] && continue
        if port_in_use "${PORTS[i]}"; then
            complain "Port ${PORTS[i]} is in use by another program$(listener_on "${PORTS[i]}"), and ${NAMES[i]} needs it."
            complain "Stop that program, or move the lab: BASE_PORT=18001 scripts/${SCRIPT##*/} ..."
            return 1
        fi
    done
    # When a container replaces another, a busy engine may still hold the old port:
    # try once more.
    compose up --detach --no-build || { sleep 2 && compose up --detach --no-build; } || return 1
    # shellcheck disable=SC2086 # a list of places
    wait_until_healthy $ALL
}

# Waits until the services at the places given are healthy.
wait_until_healthy() {
    local pending i began=$SECONDS told=''
    while :; do
        read_containers || return 1
        pending=''
        for i in "$@"; do
            [ "${HEALTHS[i]}" = healthy ] && [ "${STATES[i]}" = running ] || pending="$pending $i"
        done
        [ -z "$pending" ] && return 0
        if [ -z "$told" ] && [ $((SECONDS - began)) -ge 2 ]; then
            told=yes
            # shellcheck disable=SC2086
            say "${DIM}Waiting for $(names $pending) to be healthy; at most $HEALTHY_WITHIN s.$PLAIN"
        fi
        if [ $((SECONDS - began)) -ge "$HEALTHY_WITHIN" ]; then
            for i in $pending; do
                complain "${RED}${NAMES[i]} is not healthy after $HEALTHY_WITHIN s: ${STATES[i]:-no container}.$PLAIN The end of its log:"
                [ -n "${IDS[i]}" ] && docker logs --tail 5 "${IDS[i]}" 2>&1 | sed 's/^/    /' >&2
            done
            return 1
        fi
        sleep 0.2
    done
}

# ------------------------------------------------------------------ slow services

# This file exists while the service at $1 is slowed down.
slow_file() { printf '%s/slow-%s-%s' "${RUN_DIR:?}" "${PROJECT:?}" "${NAMES[$1]}"; }
is_slow() { [ -e "$(slow_file "$1")" ]; }

# Pauses and resumes the process of the service at $1 until its file is gone. The last
# signal is always CONT.
slow_down() {
    local file token=$$-$RANDOM id=${IDS[$1]}
    file=$(slow_file "$1")
    mkdir -p "$RUN_DIR" && say "$token" >"$file" || return 1
    (
        trap '' HUP INT
        while [ "$(cat "$file" 2>/dev/null)" = "$token" ] && docker kill --signal STOP "$id"; do
            sleep "$SLOW_STOPPED"
            docker kill --signal CONT "$id" || break
            sleep "$SLOW_RUNNING"
        done
    ) </dev/null >/dev/null 2>&1 &
    disown $! 2>/dev/null
}

# Ends the slowdown of the services at the places given; prints which were slow.
speed_up() {
    local i slow=''
    for i in "$@"; do
        is_slow "$i" || continue
        rm -f "$(slow_file "$i")"
        slow="$slow $i"
    done
    [ -z "$slow" ] && return 0
    sleep "$SLOW_STOPPED"
    sleep "$SLOW_RUNNING"
    read_containers
    for i in $slow; do
        [ "${STATES[i]}" = running ] && docker kill --signal CONT "${IDS[i]}" >/dev/null 2>&1
    done
    # shellcheck disable=SC2086 # a list of places
    say "No longer slow: $(names $slow)."
}

# ------------------------------------------------------------------ output

# The state of the container of the service at $1.
state_of() {
    case ${STATES[$1]} in
        ('') printf 'missing' ;;
        (exited) printf 'exited (%s)' "${EXITS[$1]}" ;;
        (running) if is_slow "$1"; then printf 'slow'; else printf 'running'; fi ;;
        (*) printf '%s' "${STATES[$1]}" ;;
    esac
}

# Prints a table of the containers.
lab_table() {
    local i state ready missing notes='' colour
    read_containers || return 1
    say "$BOLD$(printf '%-20s %-9s %-12s %-9s %-11s %s' service framework container health ready address)$PLAIN"
    for i in $ALL; do
        state=$(state_of "$i")
        ready=- colour=$RED
        if [ "$state" = running ] || [ "$state" = slow ]; then
            read_answer <<<"$(curl -s -m 3 -w "$MEASURED" "$(base_url "$i")/health/ready")"
            ready=$(field status "$BODY") || ready='?'
            case $ready in (ready) colour=$GREEN ;; (degraded) colour=$YELLOW ;; esac
            missing=$(missing_in "$BODY")
            [ -n "$missing" ] && notes="$notes${NAMES[i]} is $ready without $missing."$'\n'
        fi
        printf "%-20s %-9s $colour%-12s %-9s %-11s$PLAIN %s\n" "${NAMES[i]}" "${FRAMEWORKS[i]}" \
            "$state" "${HEALTHS[i]:--}" "$ready" "127.0.0.1:${PORTS[i]}"
    done
    for i in $(replicas); do notes="${notes}Another container of ${NAMES[ANALYTICS]}: $i."$'\n'; done
    [ -n "$notes" ] && printf '%s' "$notes"
    return 0
}

# The ids of the containers of analytics-service after the first.
replicas() {
    docker ps --quiet --filter "label=com.docker.compose.project=$PROJECT" \
        --filter label=com.docker.compose.service=analytics-replica
}
