#!/usr/bin/env python3
"""The queries of the Grafana dashboard, for Prometheus.

`rules` prints them as a file of rules, so that `promtool check rules` parses them. `ask` sends them to
a Prometheus that reads a shop with some traffic, and fails unless each has a result.
"""

import argparse
import json
import pathlib
import sys
import time
import urllib.parse
import urllib.request

DASHBOARD = pathlib.Path(__file__).parent.parent / "deploy/grafana/dashboards/shop.json"
WITHIN = 60


def queries():
    """Title and expression of each query, with Grafana's variable replaced."""
    for panel in json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], target["expr"].replace("$__rate_interval", "1m")


def rules():
    recorded = [{"record": f"query:{n}", "expr": query} for n, (_, query) in enumerate(queries())]
    # JSON is YAML.
    print(json.dumps({"groups": [{"name": "dashboard", "rules": recorded}]}))


def ask(prometheus):
    began = time.monotonic()
    left = list(queries())
    asked = len(left)
    while left and time.monotonic() - began < WITHIN:
        waiting = []
        for title, query in left:
            url = f"{prometheus}/api/v1/query?{urllib.parse.urlencode({'query': query})}"
            with urllib.request.urlopen(url, timeout=10) as answer:
                if not json.load(answer)["data"]["result"]:
                    waiting.append((title, query))
        left = waiting
        time.sleep(1)
    for title, query in left:
        print(f"{title}: no result for {query}", file=sys.stderr)
    print(f"{asked - len(left)} of the {asked} queries of the dashboard have a result")
    sys.exit(1 if left or not asked else 0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["rules", "ask"])
    parser.add_argument("prometheus", nargs="?", help="for ask: its address", default="http://127.0.0.1:9090")
    given = parser.parse_args()
    if given.what == "rules":
        rules()
    else:
        ask(given.prometheus)
