#!/usr/bin/env python3
"""Runs every `$ curl` of a document's console blocks against a fresh shop and
compares the response with the one printed below it.

Values that differ between runs count as equal: times, request ids, uptimes and
latencies. BASE_PORT shifts the ports, as it does in the scripts.
"""

import argparse
import json
import os
import re
import subprocess
import sys

BASE_PORT = int(os.environ.get("BASE_PORT", "8001"))
TIME = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")
UUID = re.compile(r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")
VARYING = {"uptimeSeconds", "latencyMs"}


def examples(text):
    """Each command with the line of output printed below it."""
    for block in re.findall(r"^```console\n(.*?)^```", text, re.S | re.M):
        lines = iter(block.replace("\\\n", " ").splitlines())
        for line in lines:
            if line.startswith("$ curl"):
                yield line[2:], next(lines)


def settled(value, key=None):
    """A value with the parts that differ between runs replaced by their kind."""
    if isinstance(value, dict):
        return {k: settled(v, k) for k, v in value.items()}
    if isinstance(value, list):
        return [settled(v) for v in value]
    if key in VARYING:
        return "number" if isinstance(value, (int, float)) else value
    if isinstance(value, str) and TIME.match(value):
        return "time"
    if isinstance(value, str) and UUID.match(value):
        return "uuid"
    return value


def shifted(command):
    return re.sub(r"localhost:800([0-5])", lambda m: f"127.0.0.1:{BASE_PORT + int(m[1]) - 1}", command)


# A ~/.curlrc must not change what a command prints.
PLAIN_CURL = 'curl() { command curl -q "$@"; }\n'


def document():
    """The text of the document that the command line names."""
    parser = argparse.ArgumentParser(description=sys.modules["__main__"].__doc__)
    parser.add_argument("document", help="a Markdown file")
    with open(parser.parse_args().document, encoding="utf-8") as file:
        return file.read()


def main():
    ran = failed = 0
    for command, expected in examples(document()):
        done = subprocess.run(["bash", "-c", PLAIN_CURL + shifted(command)], capture_output=True, text=True, timeout=30)
        ran += 1
        try:
            same = settled(json.loads(done.stdout)) == settled(json.loads(expected))
        except ValueError:
            same = done.stdout.strip() == expected.strip()
        print("ok  " if same else "FAIL", command)
        if not same:
            failed += 1
            print(f"     expected {expected}\n     got      {done.stdout or done.stderr}")
    print(f"{ran - failed} passed, {failed} failed")
    sys.exit(1 if failed or not ran else 0)


if __name__ == "__main__":
    main()
