# shellcheck shell=bash
# shellcheck disable=SC2034 # the scripts that read this file use what it sets
#
# What the scripts share: the five services and the gateway, how to build, start and stop them, and
# how to print. Each script reads this file in the root of the repository. Works with
# bash 3.2 and BSD tools (macOS) as well as on Linux.

set -u

ROOT=$PWD

# A decimal point in every locale; the character set stays.
if [ -n "${LC_ALL:-}" ]; then
    export LANG=$LC_ALL
    unset LC_ALL
fi
export LC_NUMERIC=C

# The shop is on this machine: do not use a proxy.
export no_proxy='*' NO_PROXY='*'

# ---------------------------------------------------------------- the services

# The place of a service is its index in these lists.
NAMES=(user-service product-service order-service notification-service analytics-service gateway)
FRAMEWORKS=(axum rocket poem warp actix-web hyper)
USER=0 PRODUCT=1 ORDER=2 NOTIFICATION=3 ANALYTICS=4 GATEWAY=5
FIVE='0 1 2 3 4'
ALL="$FIVE $GATEWAY"

# Further instances of a service have the places after these, and names such as
# analytics-service.2. FIRST_OF has the place of the first instance, NUMBER_OF is 2 and so on.
FIRST_OF=(0 1 2 3 4 5)
NUMBER_OF=(1 1 1 1 1 1)
MOST_INSTANCES=5

# By place: the process id during the start, the milliseconds until it was ready, and
# what kept it from being ready.
LAUNCHED=('' '' '' '' '' '')
READY_MS=('' '' '' '' '' '')
NOTES=('' '' '' '' '' '')

# The directory for logs and process ids. A shop with another RUN_DIR and BASE_PORT can
# run at the same time.
RUN_DIR=${RUN_DIR:-run}

# The prefix of temporary files.
SCRATCH=$RUN_DIR/.scratch.$$

# Seconds until a service must be ready, and until it must have stopped. A service waits
# ten seconds for its requests in flight.
READY_WITHIN=${START_TIMEOUT:-10}
STOP_WITHIN=12

# product-service runs on any of the five frameworks, or as a program of the user. This
# file holds the framework of its last start, and the path of the user's program.
CHOICE='axum rocket poem warp actix-web'
OWN_PROGRAM=''
PRODUCT_NOTE=$RUN_DIR/product-service.framework

# The places of the services that `scripts/break.sh <service> down` has stopped, one a line.
DOWN_NOTE=$RUN_DIR/down

# The service of the instance at $1.
service_of() { printf '%s' "${NAMES[${FIRST_OF[$1]}]}"; }

# The program of the service at $1; its package has the same name.
program_for() {
    if [ "$1" = $PRODUCT ] && [ "${FRAMEWORKS[PRODUCT]}" != rocket ]; then
        printf framework-comparison
    else
        service_of "$1"
    fi
}

# Whether the service at $1 is a program of the user.
is_own() { [ "$1" = $PRODUCT ] && [ -n "$OWN_PROGRAM" ]; }

# The port of the service at $1. The gateway has the one before those of the five, and each further
# instance one that is higher by ten.
port_of() {
    local offset=${FIRST_OF[$1]}
    [ "$offset" != $GATEWAY ] || offset=-1
    printf '%s' "$((BASE_PORT + offset + 10 * (${NUMBER_OF[$1]} - 1)))"
}
# The port for TLS of a gateway at port $1: 8443 beside 8000.
tls_port() { printf '%s' "${TLS_PORT:-$(($1 + 443))}"; }
base_url() { printf 'http://127.0.0.1:%s' "$(port_of "$1")"; }
log_of() { printf '%s/%s.log' "${RUN_DIR:?}" "${NAMES[$1]}"; }

# The place of the service called $1; fails if there is none.
place_of() {
    local i
    for i in $ALL; do
        if [ "${NAMES[i]}" = "$1" ]; then
            printf '%s' "$i"
            return 0
        fi
    done
    return 1
}

# The places of all instances of the service at $1; of an instance that has a number, only its own.
instances_of() {
    local i
    for i in $ALL; do
        if [ "$i" = "$1" ] || [ "${FIRST_OF[i]}" = "$1" ]; then printf '%s ' "$i"; fi
    done
}

# Adds a place for instance number $2 of the service at $1, unless it has one.
add_instance() {
    local i=${#NAMES[@]} name=${NAMES[$1]}.$2
    place_of "$name" >/dev/null && return
    NAMES[i]=$name FRAMEWORKS[i]=${FRAMEWORKS[$1]} FIRST_OF[i]=$1 NUMBER_OF[i]=$2
    LAUNCHED[i]='' READY_MS[i]='' NOTES[i]=''
    ALL="$ALL $i"
}

# Adds a place for each further instance that has a file in RUN_DIR which ends with .$1.
find_instances() {
    local i number
    for i in $ANALYTICS $GATEWAY; do
        for ((number = 2; number <= MOST_INSTANCES; number++)); do
            [ -e "$RUN_DIR/${NAMES[i]}.$number.$1" ] && add_instance "$i" "$number"
        done
    done
    return 0
}

# Why the service at $1 has one instance only; nothing if it can have more.
why_one_instance() {
    local of
    case $1 in
        ("$USER") of=users ;;
        ("$PRODUCT") of='products and their stock' ;;
        ("$ORDER") of=orders ;;
        ("$NOTIFICATION") of=notifications ;;
        (*) return ;;
    esac
    printf '%s has one instance only: it keeps its %s in memory, so each instance would have different ones. Several need a shared database.' \
        "${NAMES[$1]}" "$of"
}

# The names of the services at the places given, separated by commas.
names() {
    local i list=''
    for i in "$@"; do list="$list${list:+, }${NAMES[i]}"; done
    printf '%s' "$list"
}

# ------------------------------------------------------------------ output

# Colour only on a terminal, and not with NO_COLOR.
ON_TERMINAL=''
[ -t 1 ] && ON_TERMINAL=yes
if [ -n "$ON_TERMINAL" ] && [ -z "${NO_COLOR:-}" ] && [ "${TERM:-dumb}" != dumb ]; then
    BOLD=$'\033[1m' DIM=$'\033[2m' RED=$'\033[31m' GREEN=$'\033[32m'
    YELLOW=$'\033[33m' CYAN=$'\033[36m' PLAIN=$'\033[0m'
else
    BOLD='' DIM='' RED='' GREEN='' YELLOW='' CYAN='' PLAIN=''
fi

# A closed pipe (| head) is no reason to complain.
say() { printf '%s\n' "$*" 2>/dev/null; }
complain() { printf '%s\n' "$*" >&2; }

# The command line that runs a script on this shop.
by_hand() {
    if [ "$RUN_DIR" = run ]; then printf '%s' "$*"; else printf 'RUN_DIR=%q %s' "$RUN_DIR" "$*"; fi
}

# Exits because of a wrong argument.
misused() {
    complain "${SCRIPT##*/}: $1"
    exit 2
}

case $READY_WITHIN in
    ([1-9] | [1-9][0-9] | [1-9][0-9][0-9]) ;;
    (*) misused "START_TIMEOUT is \"$READY_WITHIN\", expected whole seconds, 1 to 999" ;;
esac

# curl without the user's ~/.curlrc, which can change what it prints and where to.
curl() { command curl -q "$@"; }

need_curl() {
    type -P curl >/dev/null && return
    complain 'curl was not found; install it with "apt install curl", "dnf install curl" or "brew install curl" (https://curl.se)'
    exit 1
}

need_cargo() {
    command -v cargo >/dev/null 2>&1 && return
    complain 'cargo was not found; install Rust from https://rustup.rs and open a new terminal'
    exit 1
}

# The value of the first field called $1 in the JSON text $2, strings without quotes.
# Enough for flat objects, and needs no jq.
field() {
    local pattern="\"$1\"[[:space:]]*:[[:space:]]*(\"(([^\"\\\\]|\\\\.)*)\"|[^],}[:space:]]+)"
    [[ $2 =~ $pattern ]] || return 1
    case ${BASH_REMATCH[1]} in
        (\"*) printf '%s' "${BASH_REMATCH[2]}" ;;
        (*) printf '%s' "${BASH_REMATCH[1]}" ;;
    esac
}

# Prints JSON from standard input, which is on one line, in lines of at most 76 columns, with
# bold keys: a colour would be hard to read on some projectors.
fold_json() {
    awk -v bold="$BOLD" -v plain="$PLAIN" '
    # The place of the last space of the text that is not behind this one.
    function last_space(text, at) {
        while (at > 0 && substr(text, at, 1) != " ") at--
        return at
    }
    {
        line = piece = ""
        used = width = 0
        for (i = 1; i <= length($0); i++) {
            c = substr($0, i, 1)
            if (c == "\"") {
                for (j = i + 1; j <= length($0) && (d = substr($0, j, 1)) != "\""; j++) if (d == "\\") j++
                text = substr($0, i, j - i + 1)
                is_key = substr($0, j + 1, 1) == ":"
                i = j
                # A long sentence continues on the next line.
                while (!is_key && width + length(text) > 74 && (at = last_space(text, 74 - width)) > 1) {
                    if (used > 1) {
                        print line
                        line = " "
                    }
                    used = used > 0
                    piece = piece substr(text, 1, at - 1) "\n   "
                    text = substr(text, at)
                    width = 3
                }
                piece = piece (is_key ? bold text plain : text)
                width += length(text)
            } else if (c == ":") {
                piece = piece ": "
                width += 2
            } else {
                piece = piece c
                width++
            }
            if (c != "," && i < length($0)) continue
            if (used > 0 && used + 1 + width > 76) {
                print line
                line = " "
                used = 1
            }
            line = line (used > 0 ? " " : "") piece
            used += width + 1
            piece = ""
            width = 0
        }
        print line
    }'
}

# Prints lines of logs from standard input for people: JSON becomes one short line, in the
# colour of its service; other lines stay.
readable() {
    awk -v red="$RED" -v yellow="$YELLOW" -v plain="$PLAIN" -v dim="$DIM" '
        BEGIN {
            if (plain) {
                colour["user-service"] = "\033[36m"
                colour["product-service"] = "\033[32m"
                colour["order-service"] = "\033[35m"
                colour["notification-service"] = "\033[33m"
                colour["analytics-service"] = "\033[34m"
            }
        }
        # The fields of a flat JSON object, in order.
        function parse(json,    at, to, c, key) {
            count = 0
            split("", value)
            at = 2
            while (substr(json, at, 1) == "\"") {
                to = at + index(substr(json, at + 1), "\"")
                key = substr(json, at + 1, to - at - 1)
                at = to + 2
                if (substr(json, at, 1) == "\"") {
                    for (to = at + 1; (c = substr(json, to, 1)) != "\"" && c != ""; to++) if (c == "\\") to++
                    value[key] = substr(json, at + 1, to - at - 1)
                    at = to + 2
                } else {
                    match(substr(json, at), /^[^,}]*/)
                    value[key] = substr(json, at, RLENGTH)
                    at += RLENGTH + 1
                }
                keys[++count] = key
            }
        }
        # tail writes the name of a file above its lines.
        /^$/ || /^==> .* <==$/ { next }
        !/^\{"timestamp":"/ { print; fflush(); next }
        {
            parse($0)
            id = value["requestId"]
            if (length(id) == 36) id = substr(id, 1, 8)
            mark = value["level"] == "ERROR" ? red : value["level"] == "WARN" ? yellow : ""
            if (value["message"] == "request") {
                text = value["method"] " " value["path"] " " value["status"]
                text = text sprintf(" %.1f ms", value["durationMs"])
                if (value["cause"] != "") text = text ", " value["cause"]
            } else {
                text = value["level"] " " value["message"]
                for (i = 1; i <= count; i++) {
                    if (keys[i] ~ /^(timestamp|level|service|requestId|traceId|message)$/) continue
                    text = text " " keys[i] "=" value[keys[i]]
                }
            }
            name = value["service"]
            short = name
            sub(/-service$/, "", short)
            printf "%s%s%s %s%-12s%s %s%s%s", dim, substr(value["timestamp"], 12, 12), plain,
                colour[name], short, plain, mark, text, mark ? plain : ""
            print id == "" ? "" : " " dim id plain
            fflush()
        }'
}

# Reads one response of `curl -w "$MEASURED"` from standard input. Sets BODY, STATUS (000
# without a response) and TOOK, in seconds.
MEASURED='\n%{http_code} %{time_total}\n'
read_answer() {
    local line measured='^([0-9]{3}) ([0-9.]+)$'
    BODY='' STATUS=000 TOOK=0.000000
    while IFS= read -r line; do
        if [[ $line =~ $measured ]]; then
            STATUS=${BASH_REMATCH[1]}
            TOOK=${BASH_REMATCH[2]}
            return
        fi
        BODY=$BODY$line
    done
}

# Sends method $1 to the lab of the service at $2: to path $3, with the JSON $4 if it is not
# empty. If that fails, says why in one sentence.
lab_ask() {
    local service=${NAMES[$2]} request
    request=(-s -m 8 -w "$MEASURED" -X "$1")
    [ -z "${4:-}" ] || request+=(-H 'Content-Type: application/json' -d "$4")
    read_answer < <(curl "${request[@]}" "$(base_url "$2")$3")
    case $STATUS in
        (2??) return 0 ;;
        (000) complain "$service does not answer at $(base_url "$2"); $(by_hand scripts/start.sh) starts the shop." ;;
        (404) complain "$service has no lab; start it with LAB_MODE=on, as scripts/start.sh does." ;;
        (*) complain "$service: $(field error "$BODY" || printf 'it answered %s' "$STATUS")." ;;
    esac
    return 1
}

# Runs a command so that no Ctrl-C is lost: bash loses one that arrives just as a
# foreground program ends, but not while it waits for a background program.
steadily() {
    "$@" &
    wait $!
}

# Runs a command and adds its milliseconds to ELAPSED. The `time` of bash is the only
# clock with milliseconds on every system.
TIMEFORMAT=%3R
ELAPSED=0
timed() {
    local took=0
    { time "$@" 2>&9; } 9>&2 2>"$SCRATCH"
    read -r took <"$SCRATCH" || true
    took=${took/./}
    case $took in ('' | *[!0-9]*) took=0 ;; esac
    ELAPSED=$((ELAPSED + 10#$took))
}

# -------------------------------------------------------------------- processes

# The program that process $1 runs; empty if there is no such process.
program_of() {
    local program=''
    if [ -r /proc/self/cmdline ]; then
        { IFS= read -r -d '' program <"/proc/$1/cmdline"; } 2>/dev/null
    else
        program=$(ps -ww -o command= -p "$1" 2>/dev/null)
    fi
    printf '%s' "${program%"${program##*[![:space:]]}"}"
}

# Whether process $1 runs. One that has ended but that nobody has asked about
# yet (a zombie) does not.
is_alive() {
    local state=''
    kill -0 "$1" 2>/dev/null || return 1
    if [ -r /proc/self/stat ]; then
        # Its command line is empty for a moment when a program begins; its state never is.
        { read -r state <"/proc/$1/stat"; } 2>/dev/null
        state=${state##*) }
    else
        state=$(ps -o stat= -p "$1" 2>/dev/null)
    fi
    case $state in ('' | Z*) return 1 ;; esac
}

# The process id of the service at $1, if it was started by these scripts and
# still runs. The number in the file may by now be some other program's.
pid_of() {
    local pid='' file="$RUN_DIR/${NAMES[$1]}.pid"
    [ -r "$file" ] && read -r pid <"$file"
    case $pid in ('' | *[!0-9]*) return 1 ;; esac
    case $(program_of "$pid") in
        (*/"$(service_of "$1")" | */framework-comparison | */'framework-comparison serve '* | "${OWN_PROGRAM:-/}")
            printf '%s' "$pid" ;;
        (*) return 1 ;;
    esac
}

# Whether any service that these scripts started runs.
anything_runs() {
    local i
    for i in $ALL; do pid_of "$i" >/dev/null && return 0; done
    return 1
}

# A crashed shop leaves files behind, but a new shop starts with one instance of each, and with
# Rocket. So its further instances are known only while a service runs, and the note is used only
# then, even if it is only the program in the note.
ALONE=$ALL
find_instances pid
anything_runs || ALL=$ALONE
if [ -r "$PRODUCT_NOTE" ]; then
    { read -r noted; read -r OWN_PROGRAM; } <"$PRODUCT_NOTE"
    if anything_runs; then
        case " $CHOICE " in (*" $noted "*) FRAMEWORKS[PRODUCT]=$noted ;; esac
    else
        OWN_PROGRAM=''
    fi
fi

# Resident memory of process $1 in KiB.
memory_of() {
    local kib='' key value
    if [ -r "/proc/$1/status" ]; then
        while read -r key value _; do
            [ "$key" = VmRSS: ] && kib=$value
        done <"/proc/$1/status"
    else
        kib=$(ps -o rss= -p "$1" 2>/dev/null)
    fi
    kib=${kib//[!0-9]/}
    printf '%s' "${kib:-0}"
}

# KiB as MB with one decimal.
megabytes() { printf '%s.%s MB' "$(($1 / 1024))" "$(($1 % 1024 * 10 / 1024))"; }

port_in_use() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# The program that listens on port $1, if lsof is installed: " (python3, pid 123)".
listener_on() {
    command -v lsof >/dev/null 2>&1 || return 0
    lsof -nP -iTCP:"$1" -sTCP:LISTEN -Fpc 2>/dev/null |
        awk '/^p/ { pid = substr($0, 2) } /^c/ { printf " (%s, pid %s)", substr($0, 2), pid; exit }'
}

# ------------------------------------------------------------------ ports

# Sets BASE_PORT: the requested one, else that of the running shop, else 8001.
choose_ports() {
    local running='' asked=${BASE_PORT:-}
    [ -r "$RUN_DIR/base-port" ] && anything_runs && read -r running <"$RUN_DIR/base-port"
    case $running in (*[!0-9]*) running='' ;; esac
    BASE_PORT=${asked:-${running:-8001}}
    case $BASE_PORT in
        (*[!0-9]* | 0* | ??????*) BASE_PORT=0 ;;
    esac
    if [ "$BASE_PORT" -lt 2 ] || [ "$BASE_PORT" -gt 65531 ]; then
        misused "BASE_PORT is \"$asked\", expected the first of five ports, 2 to 65531; the gateway has the one before"
    fi
    RUNNING_BASE_PORT=$running
    # The services find each other through these.
    USER_SERVICE_URL=$(base_url $USER)
    PRODUCT_SERVICE_URL=$(base_url $PRODUCT)
    ORDER_SERVICE_URL=$(base_url $ORDER)
    NOTIFICATION_SERVICE_URL=$(base_url $NOTIFICATION)
    ANALYTICS_SERVICE_URL=$(base_url $ANALYTICS)
    export USER_SERVICE_URL PRODUCT_SERVICE_URL ORDER_SERVICE_URL NOTIFICATION_SERVICE_URL ANALYTICS_SERVICE_URL
}

# ------------------------------------------------------------------ building

# The name of the directory of cargo's profile.
profile_dir() {
    case ${PROFILE:-dev} in
        (dev | debug) printf 'debug' ;;
        (*) printf '%s' "$PROFILE" ;;
    esac
}

# What every start builds: the services, the gateway, and product-service on the other frameworks.
PROGRAMS=("${NAMES[@]:0:6}" framework-comparison)

# Builds the programs with the names given, and sets BIN_DIR. Every script builds with this
# function. cargo unifies the features of the packages that it selects, so with another
# selection it would compile the libraries again: `--workspace` always selects all of them,
# and `--bin` limits what is built of them.
BIN_DIR=${BIN_DIR:-}
build() {
    local name target command
    need_cargo
    command=(cargo build --workspace)
    case ${PROFILE:-dev} in
        (dev | debug) ;;
        (*) command+=(--profile "$PROFILE") ;;
    esac
    for name in "$@"; do command+=(--bin "$name"); done
    target=${CARGO_TARGET_DIR:-target}
    case $target in (/*) ;; (*) target=$ROOT/$target ;; esac
    BIN_DIR=$target/$(profile_dir)
    if [ ! -x "$BIN_DIR/$1" ]; then
        say "${DIM}Building. The first build also fetches and builds the libraries: some minutes.$PLAIN"
    fi
    if ! "${command[@]}"; then
        complain 'The build failed; see the output of cargo above.'
        return 1
    fi
    if [ ! -x "$BIN_DIR/$1" ]; then
        # A target directory set in cargo's own configuration.
        target=$(field target_directory "$(cargo metadata --format-version 1 --no-deps 2>/dev/null)") &&
            BIN_DIR=$target/$(profile_dir)
    fi
    for name in "$@"; do
        [ -x "$BIN_DIR/$name" ] && continue
        complain "cargo built $name, but not in $BIN_DIR; set CARGO_TARGET_DIR to the directory it builds into."
        return 1
    done
}

# Builds the tool called $1, whose output is all that counts: cargo says only what is wrong. Builds
# nothing if BIN_DIR is already set and has it.
build_tool() {
    [ -n "$BIN_DIR" ] && [ -x "$BIN_DIR/$1" ] || CARGO_TERM_QUIET=true build "$1" >&2
}

# Builds what a start of the services at the places given needs. Builds nothing if BIN_DIR is
# already set and has their programs.
build_services() {
    local i missing=''
    for i in "$@"; do
        is_own "$i" && continue
        [ -n "$BIN_DIR" ] && [ -x "$BIN_DIR/$(program_for "$i")" ] || missing=yes
    done
    [ -z "$missing" ] || build "${PROGRAMS[@]}"
}

# ------------------------------------------------------------------ starting

# Places: started by the last start_shop; started by something else; not running.
STARTED='' FOREIGN='' MISSING=''

# Starts the program of the service at $1 in its own process group, so that Ctrl-C in
# this terminal does not reach it, and without SIGHUP when the terminal closes.
launch() {
    local name=${NAMES[$1]} log program
    log=$(log_of "$1")
    program=("$BIN_DIR/$(program_for "$1")")
    [ "${program[0]##*/}" = framework-comparison ] && program+=(serve --framework "${FRAMEWORKS[$1]}")
    is_own "$1" && program=("$OWN_PROGRAM")
    set -m
    (
        trap '' HUP
        exec 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&-
        unset SERVICE_NAME REGISTRY_URL REGISTRY_TOKEN GATEWAY_URL
        PORT=$(port_of "$1")
        [ "${NUMBER_OF[$1]}" = 1 ] || unset TLS_PORT
        TLS_PORT=$(tls_port "$PORT")
        # Without TLS, it may be beyond the last port.
        [ -n "${TLS:-}${TLS_CERT:-}" ] || unset TLS_PORT
        export HOST=127.0.0.1 PORT TLS_PORT RUN_DIR LAB_MODE=${LAB_MODE:-on}
        # A service that can have several instances registers, and the gateway finds it there. A
        # second gateway finds it at the first.
        case ${FIRST_OF[$1]}:${NUMBER_OF[$1]} in
            ("$GATEWAY":1) ;;
            ("$GATEWAY":* | "$ANALYTICS":*)
                REGISTRY_URL=$(base_url $GATEWAY)
                export REGISTRY_URL
                ;;
        esac
        [ "${FIRST_OF[$1]}" != $GATEWAY ] || export ANALYTICS_SERVICE_URL=registry
        # No service needs the gateway; analytics asks it for its spans.
        if [ "${FIRST_OF[$1]}" = $ANALYTICS ] && any_here gateway; then
            GATEWAY_URL=$(base_url $GATEWAY)
            export GATEWAY_URL
        fi
        exec "${program[@]}"
    ) </dev/null >>"$log" 2>&1 &
    LAUNCHED[$1]=$!
    set +m
    disown "${LAUNCHED[$1]}" 2>/dev/null
    say "${LAUNCHED[$1]}" >"$RUN_DIR/$name.pid"
    [ "$1" != $PRODUCT ] || printf '%s\n%s\n' "${FRAMEWORKS[$1]}" "$OWN_PROGRAM" >"$PRODUCT_NOTE"
}

launch_all() {
    local i
    for i in "$@"; do launch "$i"; done
}

# Waits a moment, then asks the services at the places given whether they are ready;
# leaves the input of `read_answer` in the scratch file.
ask_ready() {
    local i urls
    urls=()
    for i in "$@"; do urls+=("$(base_url "$i")/health/ready"); done
    steadily sleep 0.02
    steadily curl -s -m 2 -w "$MEASURED" "${urls[@]}" >"$SCRATCH.answers"
}

# The dependencies that are down in the body $1 of a `/health/ready`: all, or only the
# required (true) or the optional ones (false).
missing_in() {
    local rest=$1 list='' pattern="\"name\":\"([a-z-]+)\",\"required\":(${2:-true|false}),\"status\":\"down\""
    while [[ $rest =~ $pattern ]]; do
        list="$list${list:+, }${BASH_REMATCH[1]}"
        rest=${rest#*"${BASH_REMATCH[0]}"}
    done
    printf '%s' "$list"
}

# Whether any of the services named in $1 ("a, b") runs here or is being started.
any_here() {
    local name i
    for name in ${1//,/ }; do
        i=$(place_of "$name") || continue
        case " $STARTED $FOREIGN " in (*" $i "*) return 0 ;; esac
        pid_of "$i" >/dev/null && return 0
    done
    return 1
}

# Waits until the launched services at the places given are ready, or as ready as they
# can be without dependencies that were not started.
wait_until_ready() {
    local pending=" $* " i took status missing told='' now later
    while [ "$pending" != ' ' ]; do
        for i in $pending; do
            kill -0 "${LAUNCHED[i]}" 2>/dev/null && continue
            complain "${RED}${NAMES[i]} ended while it was starting.$PLAIN The end of $(log_of "$i"):"
            tail -n 5 "$(log_of "$i")" | sed 's/^/    /' >&2
            return 1
        done
        # shellcheck disable=SC2086 # a list of places
        timed ask_ready $pending
        now='' later=0
        {
            for i in $pending; do
                read_answer
                took=${TOOK/./}
                later=$((later + 10#${took:0:4}))
                NOTES[i]=''
                [ "$STATUS" = 000 ] && continue
                status=$(field status "$BODY")
                case $status in
                    (ready) ;;
                    (degraded | unavailable)
                        missing=$(missing_in "$BODY")
                        NOTES[i]="$status without $missing"
                        if [ -z "$missing" ] || any_here "$missing"; then continue; fi
                        ;;
                    (*)
                        NOTES[i]="answered $STATUS to GET /health/ready"
                        continue
                        ;;
                esac
                READY_MS[i]=$later
                now="$now $i"
                pending=${pending/ $i / }
            done
        } <"$SCRATCH.answers"
        # curl asks one after the other: subtract the time of the later responses.
        for i in $now; do READY_MS[i]=$((ELAPSED - later + READY_MS[i])); done
        if [ "$pending" != ' ' ] && [ "$ELAPSED" -gt 2000 ] && [ -z "$told" ]; then
            told=yes
            # shellcheck disable=SC2086
            say "${DIM}Still waiting for $(names $pending); at most $READY_WITHIN s.$PLAIN"
        fi
        if [ "$pending" != ' ' ] && [ "$ELAPSED" -gt "${READY_WITHIN}000" ]; then
            for i in $pending; do
                complain "${RED}${NAMES[i]} was not ready within $READY_WITHIN s${NOTES[i]:+: ${NOTES[i]}}.$PLAIN The end of $(log_of "$i"):"
                tail -n 5 "$(log_of "$i")" | sed 's/^/    /' >&2
            done
            return 1
        fi
    done
}

# Waits until the gateway knows the launched instances of analytics-service at the places given, if
# a gateway runs here.
wait_until_registered() {
    local i listing unknown began=$SECONDS
    pid_of $GATEWAY >/dev/null || return 0
    while :; do
        unknown=''
        listing=$(curl -s -m 1 "$(base_url $GATEWAY)/registry")
        for i in "$@"; do
            [ "${FIRST_OF[i]}" = $ANALYTICS ] || continue
            case $listing in (*"\"127.0.0.1:$(port_of "$i")\""*) ;; (*) unknown=$i ;; esac
        done
        [ -n "$unknown" ] || return 0
        if [ $((SECONDS - began)) -gt "$READY_WITHIN" ]; then
            complain "${RED}${NAMES[unknown]} is not registered at the gateway after $READY_WITHIN s.$PLAIN The end of $(log_of "$unknown"):"
            tail -n 5 "$(log_of "$unknown")" | sed 's/^/    /' >&2
            return 1
        fi
        steadily sleep 0.05
    done
}

# Sets FOREIGN to the places of services that something else started, and MISSING to
# those that do not run; fails if another program uses a port.
sort_out() {
    local i port
    FOREIGN='' MISSING=''
    for i in "$@"; do
        port=$(port_of "$i")
        pid_of "$i" >/dev/null && continue
        if ! port_in_use "$port"; then
            MISSING="$MISSING$i "
        elif [ "$(field service "$(curl -s -m 1 "$(base_url "$i")/health")")" = "$(service_of "$i")" ]; then
            FOREIGN="$FOREIGN$i "
        else
            complain "Port $port is in use by another program$(listener_on "$port"), and ${NAMES[i]} needs it."
            complain "Stop that program, or move the shop: $(by_hand "BASE_PORT=$((port > 40000 ? 18001 : BASE_PORT + 10000)) scripts/${SCRIPT##*/}")"
            return 1
        fi
    done
}

# Starts the services at the places given that do not run, all at once, and waits until
# they are ready. Sets STARTED to their places; if one fails, stops them again.
start_shop() {
    local i
    STARTED=''
    if [ -n "$RUNNING_BASE_PORT" ] && [ "$RUNNING_BASE_PORT" != "$BASE_PORT" ]; then
        complain "The shop in $RUN_DIR/ already runs on the ports from $RUNNING_BASE_PORT, not $BASE_PORT."
        complain "Stop it with $(by_hand scripts/stop.sh), or start another shop: RUN_DIR=run-$BASE_PORT BASE_PORT=$BASE_PORT scripts/${SCRIPT##*/}"
        return 1
    fi
    sort_out "$@" || return 1
    [ -z "$MISSING" ] && return 0
    build_services "$@" || return 1
    # The build may have taken minutes.
    sort_out "$@" || return 1
    [ -z "$MISSING" ] && return 0
    mkdir -p "$RUN_DIR" || return 1
    # A new shop starts new logs; a service that returns to a running shop appends.
    if ! anything_runs; then
        for i in $ALL; do rm -f "$(log_of "$i")" "${RUN_DIR:?}/${NAMES[i]}.pid"; done
        rm -f "${PRODUCT_NOTE:?}" "${DOWN_NOTE:?}" "${RUN_DIR:?}"/*-service.[2-5].* "${RUN_DIR:?}"/gateway.[2-5].*
    fi
    say "$BASE_PORT" >"$RUN_DIR/base-port"
    RUNNING_BASE_PORT=$BASE_PORT
    STARTED=$MISSING
    ELAPSED=0
    # shellcheck disable=SC2086 # a list of places
    {
        timed launch_all $STARTED
        if ! wait_until_ready $STARTED || ! wait_until_registered $STARTED; then
            stop_started
            return 1
        fi
    }
    for i in $STARTED; do LAUNCHED[i]=''; done
}

# Stops the services that this script started, ready or not.
stop_started() {
    # shellcheck disable=SC2086 # a list of places
    [ -n "$STARTED" ] && stop_services $STARTED
    STARTED=''
}

# Prints a table of the services at the places given.
print_table() {
    local i pid ready memory all=0 row='%-20s %-9s %-22s %7s %10s %7s'
    # shellcheck disable=SC2059 # the row is the format
    {
        printf "$BOLD$row$PLAIN\n" service framework URL pid 'ready in' memory
        for i in "$@"; do
            pid=$(pid_of "$i") || pid=''
            memory=-
            if [ -n "$pid" ]; then
                memory=$(memory_of "$pid")
                all=$((all + memory))
                memory=$(megabytes "$memory")
            fi
            ready=${READY_MS[i]:+${READY_MS[i]} ms}
            printf "$row\n" "${NAMES[i]}" "${FRAMEWORKS[i]}" "$(base_url "$i")" \
                "${pid:--}" "${ready:-already up}" "$memory"
        done
    }
    TOTAL_MEMORY=$all
    for i in "$@"; do
        [ -n "${NOTES[i]}" ] && say "${YELLOW}${NAMES[i]} is ${NOTES[i]}.$PLAIN"
    done
    for i in $FOREIGN; do
        say "${YELLOW}${NAMES[i]} was started by something else; this script uses it and does not stop it.$PLAIN"
    done
    return 0
}

# ------------------------------------------------------------------ stopping

# Once no service runs, keeps only the logs.
forget_shop() {
    anything_runs || rm -f "${RUN_DIR:?}/base-port" "${PRODUCT_NOTE:?}" "${DOWN_NOTE:?}"
    return 0
}

# Stops the services at the places given, all at once, and prints which; fails if none
# runs.
stop_services() {
    local i pid waiting='' pids told='' began
    pids=('' '' '' '' '' '')
    for i in "$@"; do
        pid=${LAUNCHED[i]}
        [ -n "$pid" ] || pid=$(pid_of "$i") || pid=''
        LAUNCHED[i]=''
        if [ -n "$pid" ] && kill -TERM "$pid" 2>/dev/null; then
            pids[i]=$pid
            waiting="$waiting $i"
        else
            rm -f "${RUN_DIR:?}/${NAMES[i]}.pid"
        fi
    done
    if [ -z "$waiting" ]; then
        forget_shop
        return 1
    fi
    began=$SECONDS
    while [ -n "$waiting" ]; do
        set -- "$waiting"
        waiting=''
        for i in $1; do
            pid=${pids[i]}
            if ! is_alive "$pid"; then
                say "Stopped ${NAMES[i]} (pid $pid)."
            elif [ $((SECONDS - began)) -gt "$STOP_WITHIN" ]; then
                kill -KILL "$pid" 2>/dev/null
                say "${YELLOW}Killed ${NAMES[i]} (pid $pid): it had not stopped within $STOP_WITHIN s.$PLAIN"
            else
                waiting="$waiting $i"
                continue
            fi
            rm -f "${RUN_DIR:?}/${NAMES[i]}.pid"
        done
        [ -z "$waiting" ] && break
        if [ $((SECONDS - began)) -gt 2 ] && [ -z "$told" ]; then
            told=yes
            # shellcheck disable=SC2086
            say "${DIM}Waiting for $(names $waiting) to finish what is in flight; at most $STOP_WITHIN s.$PLAIN"
        fi
        sleep 0.02
    done
    forget_shop
}
