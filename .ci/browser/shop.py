"""The running shop that the console shows: asked, broken, killed and started again."""

import json
import os
import pathlib
import signal
import subprocess
import threading
import time
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).parent.parent.parent
SERVICES = ["user-service", "product-service", "order-service", "notification-service", "analytics-service", "gateway"]

STREAM = "/api/analytics/stream"


class Fault(Exception):
    """What is not as it should be, as a sentence."""


def need(holds, sentence):
    """Ends a check unless `holds`."""
    if not holds:
        raise Fault(sentence)


def until(holds, within, sentence, sleep=time.sleep):
    """Waits until `holds()` returns something true, and returns it with the seconds it took."""
    began = time.monotonic()
    while True:
        found = holds()
        took = time.monotonic() - began
        if found:
            return found, took
        if took >= within:
            raise Fault(f"{sentence() if callable(sentence) else sentence} within {within} s")
        sleep(0.05)


class Shop:
    """The shop at BASE_PORT whose processes are noted in RUN_DIR."""

    def __init__(self):
        self.base_port = int(os.environ.get("BASE_PORT", "8001"))
        self.run_dir = pathlib.Path(os.environ.get("RUN_DIR", ROOT / "run"))
        self.url = f"http://127.0.0.1:{self.base_port - 1}"
        # Whether the load pauses, so that what a check does is not pushed out of a short list.
        self.quiet = False

    def ask(self, method, path, body=None, headers=(), within=10):
        """Status, headers and JSON of a response of the gateway; status 0 if there is none."""
        data = None if body is None else json.dumps(body).encode()
        sent = {"Content-Type": "application/json", **dict(headers)}
        request = urllib.request.Request(self.url + path, data, sent, method=method)
        try:
            with urllib.request.urlopen(request, timeout=within) as answer:
                status, got, text = answer.status, answer.headers, answer.read()
        except urllib.error.HTTPError as error:
            status, got, text = error.code, error.headers, error.read()
        except OSError:
            return 0, {}, None
        try:
            return status, got, json.loads(text)
        except ValueError:
            return status, got, text.decode(errors="replace")

    def order(self):
        """The response to an order."""
        return self.ask("POST", "/api/orders", {"userId": "1", "productId": "1", "quantity": 1})

    def tick(self):
        """One of the stream."""
        with urllib.request.urlopen(self.url + STREAM, timeout=10) as stream:
            for line in stream:
                if line.startswith(b"data: ") and b'"recent"' in line:
                    return json.loads(line[6:])

    def faults(self):
        """The active faults of all services."""
        paths = ["/lab/faults"] + [f"/lab/{service}/faults" for service in SERVICES if service != "gateway"]
        return [fault for path in paths for fault in self.ask("GET", path)[2]]

    def scenarios(self):
        """Those that the page can run, the shortest first."""
        known = self.ask("GET", "/lab/scenarios")[2]
        return sorted((one for one in known if not one["needs"]), key=lambda one: one["seconds"])

    def script(self, name, *words):
        """Runs one of the scripts on this shop."""
        command = [str(ROOT / "scripts" / name), *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        need(done.returncode == 0, f"scripts/{name} {' '.join(words)}: {done.stderr or done.stdout}")

    def pid(self, service):
        """The process of a service."""
        return int((self.run_dir / f"{service}.pid").read_text())

    def kill(self, service):
        """Ends a service as a crash does."""
        os.kill(self.pid(service), signal.SIGKILL)

    def start(self, *services):
        """Starts what does not run, and waits until it is ready."""
        self.script("start.sh", *services)

    def empty(self):
        """The data of the demo and no faults."""
        self.script("reset.sh")
        self.script("seed.sh")
        # Enough for all orders of a run.
        for product in range(1, 4):
            _, _, record = self.ask("GET", f"/api/products/{product}")
            wanted = {name: record[name] for name in ("name", "price", "sellerId") if record[name] is not None}
            status, _, said = self.ask("PUT", f"/api/products/{product}", {**wanted, "stock": 100_000})
            need(status == 200, f"the stock of product {product} cannot be raised: {said}")


class Load:
    """Requests in the background while the block runs, so that there is something to see."""

    def __init__(self, shop, rate=12):
        self.shop, self.pause = shop, 1 / rate
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)

    def run(self):
        turn = 0
        while not self.over.wait(self.pause):
            if self.shop.quiet:
                continue
            turn += 1
            if turn % 3 == 0:
                self.shop.ask("POST", "/api/orders", {"userId": "1", "productId": "2", "quantity": 1}, within=3)
            elif turn % 3 == 1:
                self.shop.ask("GET", f"/api/products/{turn % 5 + 1}", within=3)
            else:
                self.shop.ask("GET", "/api/users/1/dashboard", within=3)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join(5)
