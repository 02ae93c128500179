#!/usr/bin/env python3
"""Runs the commands of a document's console blocks, in order, and compares what
each writes to standard output with what is printed below it.

A line of `...` stands for any lines. What cannot be the same twice counts as the
same: what readme_tour.py says of JSON, addresses, ids of containers and seconds.
BASE_PORT shifts the ports, as it does in the scripts.
"""

import json
import re
import subprocess
import sys

from readme_tour import BASE_PORT, settled, shifted

# Longer than any exercise takes: `up` may build the images.
PATIENCE = 3600
VARYING = [
    (re.compile(r"\b\d+\.\d+\.\d+\.\d+\b(?<!127\.0\.0\.1)"), "address"),
    (re.compile(r"\b[0-9a-f]{12}\b"), "container"),
    (re.compile(r"\b\d+ s\b"), "seconds"),
    (re.compile(r"\s+"), " "),
]


def examples(text):
    """Each command with the lines of output printed below it."""
    for block in re.findall(r"^```console\n(.*?)^```", text, re.S | re.M):
        for example in re.split(r"^\$ ", block, flags=re.M)[1:]:
            # A command goes on after a backslash.
            command = re.match(r"(?:.*\\\n)*.*\n", example)[0]
            yield command.rstrip("\n"), example[len(command) :].splitlines()


def plain(line):
    """A line with all that varies replaced by what it is."""
    try:
        return json.dumps(settled(json.loads(line)), sort_keys=True)
    except ValueError:
        pass
    line = re.sub(r"127\.0\.0\.1:800([1-5])", lambda m: f"127.0.0.1:{BASE_PORT + int(m[1]) - 1}", line)
    for pattern, what in VARYING:
        line = pattern.sub(what, line)
    return line.strip()


def matches(expected, got):
    """Whether the lines got are those expected, where `...` is any lines."""
    if not expected:
        return not got
    if expected[0] == "...":
        return any(matches(expected[1:], got[skipped:]) for skipped in range(len(got) + 1))
    return bool(got) and expected[0] == got[0] and matches(expected[1:], got[1:])


def main():
    ran = 0
    with open(sys.argv[1], encoding="utf-8") as document:
        pairs = list(examples(document.read()))
    for command, expected in pairs:
        # What it starts in the background may outlive it: no pipe is waited for.
        done = subprocess.run(
            ["bash", "-c", shifted(command)], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE
        )
        ran += 1
        if not matches([plain(line) for line in expected], [plain(line) for line in done.stdout.splitlines()]):
            print(f"FAIL {command}\n--- expected\n" + "\n".join(expected))
            print(f"--- got\n{done.stdout}--- on standard error\n{done.stderr}")
            # The exercises build on each other.
            sys.exit(1)
        print("ok  ", command, flush=True)
    print(f"{ran} commands, and each answered as the document says")
    sys.exit(0 if ran else 1)


main()
