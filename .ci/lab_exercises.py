#!/usr/bin/env python3
"""Runs the `sh` blocks of a document in one shell, top to bottom, as a reader would
in one terminal. Compares the standard output of each with the `text` block that
follows it, if there is one before the next `sh` block.

A line of `...` stands for any lines. Values that differ between runs count as equal:
those of readme_tour.py in JSON, and addresses, ids and seconds. BASE_PORT shifts the
ports, as it does in the scripts.
"""

import json
import re
import subprocess
import sys
import time

try:
    from readme_tour import BASE_PORT, PLAIN_CURL, document, settled, shifted
except ModuleNotFoundError:
    sys.exit("lab_exercises.py needs readme_tour.py beside it: run it in its repository")

END = "----- end of the block -----"
VARYING = [
    (re.compile(r"(127\.0\.0\.1:|\bport )800([0-5])\b"), lambda m: f"{m[1]}{BASE_PORT + int(m[2]) - 1}"),
    (re.compile(r"\b(?!127\.0\.0\.1)\d+\.\d+\.\d+\.\d+\b"), "address"),
    (re.compile(r"\b\d+ s\b|\b\d+\.\d{6}\b"), "seconds"),
    (re.compile(r"\s+"), " "),
]


def exercises(text):
    """Each `sh` block with the lines expected of it, or None."""
    blocks = re.findall(r"^```(\w+)\n(.*?)^```", text, re.S | re.M)
    for (language, body), (after, expected) in zip(blocks, [*blocks[1:], ("", "")]):
        if language == "sh":
            yield body, expected.splitlines() if after == "text" else None


def plain(line):
    """A line with the values that differ between runs replaced by their kind."""
    try:
        return json.dumps(settled(json.loads(line)), sort_keys=True)
    except ValueError:
        pass
    for pattern, what in VARYING:
        line = pattern.sub(what, line)
    return line.strip()


def matches(expected, got):
    """Whether the lines match those expected, where `...` is any lines."""
    if not expected:
        return not got
    if expected[0] == "...":
        return any(matches(expected[1:], got[skipped:]) for skipped in range(len(got) + 1))
    return bool(got) and expected[0] == got[0] and matches(expected[1:], got[1:])


def main():
    wanted = list(exercises(document()))
    script = PLAIN_CURL + "".join(f"{shifted(commands)}\necho; echo '{END}'\n" for commands, _ in wanted)
    shell = subprocess.Popen(
        ["bash", "-c", script], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
    )
    compared = 0
    for commands, expected in wanted:
        began = time.monotonic()
        got = []
        for line in shell.stdout:
            if line.strip() == END:
                break
            got.append(line.rstrip("\n"))
        else:
            got.append("(the shell ended here)")
        # The `echo` before the mark adds an empty line.
        if got and not got[-1]:
            got.pop()
        fits = expected is None or matches([plain(line) for line in expected], [plain(line) for line in got])
        first = commands.strip().splitlines()[-1]
        print(f"{'ok  ' if fits else 'FAIL'} {first} ({time.monotonic() - began:.0f}s)", flush=True)
        if not fits:
            # The exercises build on each other.
            shell.kill()
            print("--- the commands", commands, "--- expected", *expected, "--- got", *got, sep="\n")
            sys.exit(1)
        compared += expected is not None
    print(f"{compared} answers, each as the document says")
    sys.exit(0 if compared else 1)


main()
