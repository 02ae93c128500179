#!/usr/bin/env python3
"""Runs scripts/demo.sh in a terminal and makes an animated SVG of what it printed.

    .ci/recording.py docs/images/demo.svg

The pauses are longer than in the real run, so that one can read. The SVG needs nothing but itself;
where no motion is wanted, it shows the end.
"""

import argparse
import os
import pathlib
import pty
import re
import subprocess
import sys
from xml.etree import ElementTree
from xml.sax.saxutils import escape

ROOT = pathlib.Path(__file__).parent.parent
COLUMNS, ROWS = 80, 24
MOST_BYTES = 150_000

# The size of a character, and the space around the text.
WIDE, HIGH, EDGE = 8.4, 18, 16

# Seconds that a line stays alone, that a command waits for its response, that one reads a step, and
# that the end stays.
LINE, COMMAND, STEP, END = 0.06, 0.5, 2.0, 6.0

ESCAPE = re.compile(r"\x1b\[([0-9;]*)m")
STEP_TITLE = re.compile(r"^\d+/\d+ ")
CLASSES = {"0": None, "1": "b", "2": "d", "31": "r", "32": "g", "92": "g", "33": "y", "34": "u", "35": "m", "36": "c"}

STYLE = """
.paper{fill:#14181f}.dot{fill:#4a5260}
text{font:14px ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;fill:#d5dae3;white-space:pre}
.b{font-weight:700;fill:#fff}.d{fill:#98a2b3}.r{fill:#ff8b82}.g{fill:#6fd08c}.y{fill:#e6c15c}.c{fill:#6cc7e0}.u{fill:#8fb2ff}.m{fill:#d9a0e8}
"""


def run(words):
    """What the demo prints into a terminal of 80 columns. Ends this program if it fails."""
    terminal, end = pty.openpty()
    # The commands that it shows are those of a reader, who has not set RUN_DIR.
    others = ("NO_COLOR", "COLORTERM", "RUN_DIR")
    environment = {name: value for name, value in os.environ.items() if name not in others}
    environment.update(TERM="xterm-256color", COLUMNS=str(COLUMNS), LINES=str(ROWS))
    command = [str(ROOT / "scripts/demo.sh"), *words]
    demo = subprocess.Popen(command, stdin=end, stdout=end, stderr=end, env=environment, start_new_session=True)
    os.close(end)
    printed = []
    while True:
        try:
            data = os.read(terminal, 65536)
        except OSError:  # its last writer has closed it
            data = b""
        if not data:
            break
        printed.append(data)
    os.close(terminal)
    text = b"".join(printed).decode()
    if demo.wait(10) != 0:
        sys.exit(f"scripts/demo.sh failed:\n{text}")
    return text


def spans(line):
    """The pieces of a line, each with its class."""
    look, place = None, 0
    for found in ESCAPE.finditer(line):
        if found.start() > place:
            yield line[place : found.start()], look
        look, place = CLASSES[found[1] or "0"], found.end()
    if place < len(line):
        yield line[place:], look


def timed(lines):
    """The moment at which each line is there, and that of the end."""
    moment = 0.0
    for number, line in enumerate(lines):
        plain = ESCAPE.sub("", line)
        before = ESCAPE.sub("", lines[number - 1]).strip() if number else ""
        # A response comes after its command, which may have several lines.
        if "\x1b[36m" in (lines[number - 1] if number else "") and not before.endswith("\\"):
            moment += COMMAND
        if STEP_TITLE.match(plain) or number == 1:
            moment += STEP
        yield moment
        moment += LINE
    yield moment + END


def picture(lines):
    moments = list(timed(lines))
    whole = moments.pop()
    # Each line scrolls up by one; lines of the same moment do so together.
    stops = {}
    for number, moment in enumerate(moments):
        stops[f"{moment / whole * 100:.2f}"] = (ROWS - number - 1) * HIGH
    frames = "".join(f"{at}%{{transform:translateY({y}px)}}" for at, y in stops.items())
    last = (ROWS - len(lines)) * HIGH
    width, height = COLUMNS * WIDE + 2 * EDGE, ROWS * HIGH + 3 * EDGE
    rows = []
    for number, line in enumerate(lines):
        plain = ESCAPE.sub("", line)
        if not plain.strip():
            continue
        indent = len(plain) - len(plain.lstrip())
        pieces = list(spans(line))
        inside = "".join(f'<tspan class="{look}">{escape(text)}</tspan>' if look else escape(text) for text, look in pieces)
        # The width is said, since a font of another machine may be wider. Spaces at the start become a place.
        inside = re.sub(r"^((?:<[^>]*>)?) +", r"\1", inside)
        length = f"{(len(plain.strip())) * WIDE:.0f}"
        rows.append(f'<text x="{indent * WIDE:.0f}" y="{number * HIGH + 13}" textLength="{length}">{inside.rstrip()}</text>')
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height}" role="img" aria-labelledby="title">
<title id="title">scripts/demo.sh: an order goes through all services, and each step is checked</title>
<style>{STYLE}
.film{{transform:translateY({last}px);animation:film {whole:.1f}s step-end infinite}}
@keyframes film{{{frames}}}
@media (prefers-reduced-motion:reduce){{.film{{animation:none}}}}
</style>
<rect class="paper" width="{width:.0f}" height="{height}" rx="8"/>
<circle class="dot" cx="20" cy="15" r="5"/><circle class="dot" cx="38" cy="15" r="5"/><circle class="dot" cx="56" cy="15" r="5"/>
<svg x="{EDGE}" y="{2 * EDGE}" width="{COLUMNS * WIDE:.0f}" height="{ROWS * HIGH}"><g class="film">
{chr(10).join(rows)}
</g></svg>
</svg>
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=pathlib.Path, help="where the SVG goes")
    parser.add_argument("words", nargs=argparse.REMAINDER, help="arguments for the demo")
    given = parser.parse_args()
    text = run(given.words).replace("\r\n", "\n")
    left = re.search(r"[^\n\x1b -~·→←✓✕↻…├└│┃┆┄╌━─—×▶◀]|\x1b(?!\[(?:%s)?m)" % "|".join(CLASSES), text)
    if left:
        sys.exit(f"the demo prints {left[0]!r}, which .ci/recording.py cannot draw")
    lines = [f"\x1b[32m$\x1b[0m {' '.join(['scripts/demo.sh', *given.words])}", *text.rstrip().split("\n")]
    long = [line for line in lines if len(ESCAPE.sub("", line)) > COLUMNS]
    if long:
        sys.exit(f"wider than {COLUMNS} columns: {long[0]}")
    drawn = picture(lines)
    ElementTree.fromstring(drawn)
    size = len(drawn.encode())
    if size > MOST_BYTES or "checks passed" not in drawn:
        sys.exit(f"the recording has {size} bytes, and at most {MOST_BYTES} are allowed; or the demo did not end")
    given.file.parent.mkdir(parents=True, exist_ok=True)
    given.file.write_text(drawn, encoding="utf-8")
    print(f"{given.file}: {len(lines)} lines, {size} bytes")


if __name__ == "__main__":
    main()
