#!/usr/bin/env bash
# The exercises of the workshop. `scripts/exercise.sh --help`
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

    scripts/exercise.sh list          the exercises, and which you have started
    scripts/exercise.sh start 1       creates a file for you to edit in exercises/src/bin/
    scripts/exercise.sh check 1       builds and runs your file, and tests it
    scripts/exercise.sh hint 1        shows a hint, and one more each time
    scripts/exercise.sh solution 1    shows the differences between your file and a solution

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
    (start | check | hint | solution)
        case $number in ('') misused "say which exercise, such as: $verb 1" ;; esac
        [ "$verb" = start ] || [ -z "$again" ] || misused '--again is for start'
        case $number in
            (*[!0-9]*) folder='' ;;
            (*) folder=$(folder_of "$number") || folder='' ;;
        esac
        [ -n "$folder" ] || misused "there is no exercise \"$number\"; scripts/exercise.sh list shows them"
        yours=exercises/src/bin/exercise-$number.rs
        told=exercises/.hint-$number
        ;;
    ('') misused 'say what to do: list, start, check, hint or solution; there is --help' ;;
    (*) misused "there is no command \"$verb\"; there are list, start, check, hint and solution" ;;
esac

# The rows of the table in exercises/README.md, and which have been started.
list() {
    local number title framework minutes level state row='%-2s  %-28s  %-9s  %7s  %-8s  %s\n'
    # shellcheck disable=SC2059 # the row is the format
    {
        printf "$BOLD$row$PLAIN" '' exercise framework minutes level yours
        while IFS='|' read -r _ number title framework minutes level _; do
            number=${number// /}
            case $number in ('' | *[!0-9]*) continue ;; esac
            title=${title#*[} title=${title%%]*}
            state=-
            [ -e "exercises/src/bin/exercise-$number.rs" ] && state=started
            printf "$row" "$number" "$title" "${framework// /}" "${minutes// /}" "${level// /}" "$state"
        done <exercises/README.md
    }
}

start() {
    if [ -e "$yours" ] && [ -z "$again" ]; then
        complain "$yours exists already and was not changed; --again discards it and begins again."
        exit 1
    fi
    mkdir -p exercises/src/bin && cp "$folder/start.rs" "$yours" || exit 1
    rm -f "${told:?}"
    cat "$folder/README.md"
    say ''
    say "Work on   $BOLD$yours$PLAIN"
    say "Check it  scripts/exercise.sh check $number"
}

need_yours() {
    [ -e "$yours" ] && return
    complain "You have not started exercise $number; scripts/exercise.sh start $number starts it."
    exit 1
}

check() {
    need_yours
    need_cargo
    local command name status
    command=(cargo build --package exercises --bin exercises --bin "exercise-$number")
    # Exercise 5 runs in the whole shop.
    if [ "$number" = 5 ]; then
        for name in "${NAMES[@]}"; do command+=(--package "$name" --bin "$name"); done
    fi
    say "${DIM}Building. The first build also builds the tests and takes some minutes.$PLAIN"
    if ! "${command[@]}"; then
        complain "It does not compile; see the output of the compiler above."
        exit 1
    fi
    say "${DIM}Testing it; this takes at most a minute.$PLAIN"
    say ''
    # `cargo run` finds the program in any target directory.
    cargo run --quiet --package exercises --bin exercises -- "$number" "exercise-$number" |
        sed -e "s/^  ok  /  ${GREEN}ok$PLAIN  /" -e "s/^  FAIL/  ${RED}FAIL$PLAIN/"
    status=${PIPESTATUS[0]}
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
    awk -v last="$shown" '/^## / { n++ } n > 0 && n <= last' "$folder/hints.md"
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

"$verb"
