#!/usr/bin/env bash
# The exercises of the workshop. `scripts/exercise.sh --help`
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

usage() {
    cat <<'USAGE'
Starts an exercise, checks your work, and gives hints.

    scripts/exercise.sh list          the exercises, your state in each, and the next one
    scripts/exercise.sh start 1       creates a file for you to edit in exercises/src/bin/
    scripts/exercise.sh check 1       builds and runs your file, and tests it
    scripts/exercise.sh hint 1        shows a hint, and one more each time
    scripts/exercise.sh solution 1    shows the differences between your file and a solution
    scripts/exercise.sh put-away 1    moves your file to exercises/put-away/, for example
                                      because it does not compile; start brings it back

It changes nothing outside exercises/, and git ignores the files that you write there.
The exit status of check is 0 if all tests pass, else 1.

Options
    --again    start: discards your file and begins again
    --help     this text
USAGE
}

verb='' number='' again=''
while [ $# -gt 0 ]; do
    case $1 in
        (-h | --help) usage && exit 0 ;;
        (--again) again=yes ;;
        (-*) misused "unknown option $1; there are --again and --help" ;;
        (*)
            if [ -z "$verb" ]; then verb=$1
            elif [ -z "$number" ]; then number=$1
            else misused "\"$1\" is unexpected; there is --help"
            fi
            ;;
    esac
    shift
done

# An exercise is a folder whose name begins with its number.
folder_of() {
    local folder
    for folder in exercises/"$1"-*/; do
        [ -d "$folder" ] && printf '%s' "${folder%/}" && return
    done
    return 1
}

case $verb in
    (list)
        [ -z "$number" ] || misused "list takes no \"$number\""
        [ -z "$again" ] || misused '--again is for start'
        ;;
    (start | check | hint | solution | put-away)
        case $number in ('') misused "say which exercise, such as: $verb 1" ;; esac
        [ "$verb" = start ] || [ -z "$again" ] || misused '--again is for start'
        case $number in
            (*[!0-9]*) folder='' ;;
            (*) folder=$(folder_of "$number") || folder='' ;;
        esac
        [ -n "$folder" ] || misused "there is no exercise \"$number\"; scripts/exercise.sh list shows them"
        yours=exercises/src/bin/exercise-$number.rs
        away=exercises/put-away/exercise-$number.rs
        # The number of hints shown, and your file as it was when it passed.
        told=exercises/.hint-$number
        passed=exercises/.passed-$number
        ;;
    ('') misused 'say what to do: list, start, check, hint, solution or put-away; there is --help' ;;
    (*) misused "there is no command \"$verb\"; there are list, start, check, hint, solution and put-away" ;;
esac

# What you have done of exercise $1.
state_of() {
    local yours=exercises/src/bin/exercise-$1.rs away=exercises/put-away/exercise-$1.rs
    if [ -e "$yours" ]; then
        if cmp -s "$yours" "exercises/.passed-$1"; then printf 'passed'; else printf 'started'; fi
    elif [ -e "$away" ]; then
        if cmp -s "$away" "exercises/.passed-$1"; then printf 'passed, put away'; else printf 'put away'; fi
    else
        printf -- -
    fi
}

# The rows of the table in exercises/README.md, the state of each, and what to do next.
list() {
    local number title framework minutes level state begun='' next='' row='%s  %-25s %-9s %7s  %-6s  %s\n'
    # shellcheck disable=SC2059 # the row is the format
    {
        printf "$BOLD$row$PLAIN" ' ' exercise framework minutes level yours
        while IFS='|' read -r _ number title framework minutes level _; do
            number=${number// /}
            case $number in ('' | *[!0-9]*) continue ;; esac
            title=${title#*[} title=${title%%]*}
            state=$(state_of "$number")
            case $state in
                (passed*) ;;
                (started) begun=${begun:-$number} ;;
                (*) next=${next:-$number} ;;
            esac
            printf "$row" "$number" "$title" "${framework// /}" "${minutes// /}" "${level// /}" "$state"
        done <exercises/README.md
    }
    say ''
    if [ -n "$begun" ]; then
        say "Next:  scripts/exercise.sh check $begun"
    elif [ -n "$next" ]; then
        say "Next:  scripts/exercise.sh start $next"
    else
        say 'You have passed all exercises.'
    fi
}

# The text of file $1 for a terminal: lines of at most 80 columns, and links as paths from
# here.
readable_text() {
    awk -v folder="$folder" '
        # folder/../../x as x
        function from_root(path) {
            if (path ~ /^[a-z]+:/) return path
            path = folder "/" path
            while (match(path, /[^\/]+\/\.\.\//)) path = substr(path, 1, RSTART - 1) substr(path, RSTART + RLENGTH)
            return path
        }
        function print_paragraph(    link, at, rest, path) {
            while (at = match(paragraph, /\[[^]]*\]\([^)]*\)/)) {
                link = substr(paragraph, at, RLENGTH)
                rest = substr(paragraph, at + RLENGTH)
                path = link
                sub(/^.*\]\(/, "", path)
                sub(/(#.*)?\)$/, "", path)
                sub(/^\[/, "", link)
                sub(/\]\(.*$/, "", link)
                paragraph = substr(paragraph, 1, at - 1) link " (" from_root(path) ")" rest
            }
            if (paragraph != "") print paragraph
            paragraph = ""
        }
        /^```/ { print_paragraph(); in_code = !in_code; print; next }
        in_code { print; next }
        /^$/ { print_paragraph(); print; next }
        /^([0-9]+\.|[-|#]) ?/ { print_paragraph(); paragraph = $0; next }
        { sub(/^ +/, ""); paragraph = paragraph (paragraph == "" ? "" : " ") $0 }
        END { print_paragraph() }' "$1" | fold -s -w 80 | sed 's/ *$//'
}

start() {
    if [ -e "$yours" ] && [ -z "$again" ]; then
        complain "$yours exists already and was not changed; --again discards it and begins again."
        exit 1
    fi
    mkdir -p exercises/src/bin || exit 1
    if [ -e "$away" ] && [ -z "$again" ]; then
        mv "$away" "$yours" || exit 1
        say "${DIM}This is your file, which you had put away.$PLAIN"
        say ''
    else
        cp "$folder/start.rs" "$yours" || exit 1
        rm -f "${told:?}" "${passed:?}" "${away:?}"
    fi
    readable_text "$folder/README.md"
    say ''
    say "Work on   $BOLD$yours$PLAIN"
    say "Check it  scripts/exercise.sh check $number"
}

put_away() {
    need_yours
    mkdir -p exercises/put-away && mv "$yours" "$away" || exit 1
    say "Your file is now $away; scripts/exercise.sh start $number brings it back."
}

need_yours() {
    [ -e "$yours" ] && return
    complain "You have not started exercise $number; scripts/exercise.sh start $number starts it."
    exit 1
}

check() {
    need_yours
    local programs status
    programs=(exercises "exercise-$number")
    # Exercise 5 runs in the whole shop, exercise 8 behind the gateway.
    case $number in
        (5) programs+=("${PROGRAMS[@]}") ;;
        (8) programs+=(gateway) ;;
    esac
    build "${programs[@]}" || exit 1
    say "${DIM}Testing it; this takes at most a minute.$PLAIN"
    say ''
    "$BIN_DIR/exercises" "$number" "exercise-$number" |
        sed -e "s/^  ok  /  ${GREEN}ok$PLAIN  /" -e "s/^  FAIL/  ${RED}FAIL$PLAIN/"
    status=${PIPESTATUS[0]}
    if [ "$status" = 0 ]; then
        cp "$yours" "$passed"
        say ''
        say 'What is next: scripts/exercise.sh list'
    fi
    [ "$status" = 1 ] && say "Stuck? scripts/exercise.sh hint $number"
    exit "$status"
}

hint() {
    local shown=0 all
    [ -r "$told" ] && read -r shown <"$told"
    case $shown in ('' | *[!0-9]*) shown=0 ;; esac
    all=$(grep -c '^## ' "$folder/hints.md")
    [ "$shown" -lt "$all" ] && shown=$((shown + 1))
    say "$shown" >"$told" || exit 1
    readable_text "$folder/hints.md" | awk -v last="$shown" '/^## / { n++ } n > 0 && n <= last'
    if [ "$shown" -lt "$all" ]; then
        say "${DIM}Hint $shown of $all; run the command again for the next.$PLAIN"
    else
        say "${DIM}These are all hints; scripts/exercise.sh solution $number shows a solution.$PLAIN"
    fi
}

solution() {
    local mine=$yours
    [ -e "$yours" ] || mine=$folder/start.rs
    if cmp -s "$mine" "$folder/solution.rs"; then
        say "$mine is identical to the solution."
        return
    fi
    diff -u "$mine" "$folder/solution.rs" |
        sed -e "s/^-.*/$RED&$PLAIN/" -e "s/^+.*/$GREEN&$PLAIN/" -e "s/^@@.*/$CYAN&$PLAIN/"
}

"${verb//-/_}"
