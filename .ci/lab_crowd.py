#!/usr/bin/env python3
"""Tries the limits of a lab that has just started.

First, 200 orders at once: all must succeed. Then each service gets a crowd of slow clients, with
its store full of the longest records: 500 that ask for its largest responses and read them a byte
at a time, and 500 that send half a body. Meanwhile it asks as another client: each answer must
arrive within a second, and none may be a refusal. A crowd that meets a slow answer comes
again, three times in all, in case the machine has stalled. Afterwards no container may have been
killed or restarted.

BASE_PORT shifts the ports, as it does in the scripts. Without COMPOSE_PROJECT_NAME the services
need not be in containers.
"""

import asyncio
import json
import multiprocessing
import os
import resource
import subprocess
import sys
import time

ORDERS = 200
CROWD = 500
CROWDS = 3
PROMPT = 1.0
SECONDS = 5.0
BUNDLE = "/docs/swagger-ui-bundle.js"
FACE = "\N{GRINNING FACE}"
ORDER = {"userId": "1", "productId": "1", "quantity": 1}

# The service, where it takes a body, the longest body that it accepts, and its list.
SERVICES = [
    ("user-service", "/api/users", {"name": FACE * 100, "email": "ada{}@example.com"}, "/api/users"),
    ("product-service", "/api/products", {"name": FACE * 200, "price": 1, "stock": 1000}, "/api/products"),
    ("order-service", "/api/orders", ORDER, "/api/orders"),
    ("notification-service", "/api/notifications/send", {"userId": "1", "message": FACE * 1000}, "/api/notifications"),
    ("analytics-service", "/api/analytics/summary", {}, "/api/analytics/summary"),
]


def request(method, path, body=None, length=None):
    """A request as bytes. `length` is what it says of its body, if that is not its length."""
    payload = b"" if body is None else json.dumps(body).encode()
    head = f"{method} {path} HTTP/1.1\r\nhost: localhost\r\n"
    if body is not None or length is not None:
        head += f"content-type: application/json\r\ncontent-length: {length or len(payload)}\r\n"
    return head.encode() + b"\r\n" + payload


async def answer(reader):
    """The status and the body of a response with a length."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    length = head.partition("content-length: ")[2].partition("\r\n")[0]
    return int(head.split()[1]), await reader.readexactly(int(length or 0))


async def ask(port, asking):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(asking)
        await writer.drain()
        return await answer(reader)
    finally:
        writer.close()


async def read_slowly(port, path):
    try:
        # With a small buffer, so that the client does not read ahead.
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
        writer.write(request("GET", path))
        while await reader.read(1):
            await asyncio.sleep(0.2)
    except OSError:
        pass


async def send_half_a_body(port, path):
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request("POST", path, length=65_000) + b" " * 60_000)
        while await reader.read(1024):
            pass
    except OSError:
        pass


def numbered(body, number):
    """The body, other than those with other numbers."""
    return {name: value.format(number) if isinstance(value, str) else value for name, value in body.items()}


async def order_at_once(base):
    """A burst of orders, as the first that the lab has to do."""
    for port, (name, path, body, _) in zip((base, base + 1), SERVICES):
        status, text = await ask(port, request("POST", path, numbered(body, 0)))
        if status != 201:
            sys.exit(f"{name}: {status} {text.decode()}")
    started = time.monotonic()
    ordering = request("POST", "/api/orders", ORDER)
    for status, text in await asyncio.gather(*[ask(base + 2, ordering) for _ in range(ORDERS)]):
        if status != 201:
            sys.exit(f"one of {ORDERS} orders at once: {status} {text.decode()}")
    print(f"ok   {ORDERS} orders at once: all succeed within {time.monotonic() - started:.2f} s", flush=True)


async def fill(port, path, body):
    """Creates records until the store is full."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    status, number = 201, 0
    while status == 201:
        number += 1
        writer.write(request("POST", path, numbered(body, number)))
        status, text = await answer(reader)
    writer.close()
    if status != 507:
        sys.exit(f"filling the store: {status} {text.decode()}")


async def be_a_crowd(port, path, pages):
    readers = [read_slowly(port, pages[number % len(pages)]) for number in range(CROWD)]
    await asyncio.gather(*readers, *[send_half_a_body(port, path) for _ in range(CROWD)])


def crowd_process(port, path, pages):
    asyncio.run(be_a_crowd(port, path, pages))


async def stand(name, port, path, body, page):
    # An order takes as long as three services need, and the totals have no store.
    if name not in ("order-service", "analytics-service"):
        await fill(port, path, body)
    # A shared machine may stall for a second. What the service itself causes is in every crowd.
    for _ in range(CROWDS):
        slowest = await slowest_answer(name, port, path, page)
        if slowest <= PROMPT:
            return
    sys.exit(f"{name}: the slowest answer took over {PROMPT} s in each of {CROWDS} crowds, {slowest:.2f} s in the last")


async def slowest_answer(name, port, path, page):
    """Sends a crowd, and asks meanwhile: how long the slowest answer took, in seconds."""
    # A process of its own, so that it does not delay what is measured here.
    pages = [BUNDLE, f"{page}?limit=1000"]
    crowd = multiprocessing.Process(target=crowd_process, args=(port, path, pages), daemon=True)
    crowd.start()
    slowest, asked, until = 0.0, 0, time.monotonic() + SECONDS
    while time.monotonic() < until:
        for asking in request("GET", "/health"), request("GET", f"{page}?limit=1"), request("POST", path, {}):
            started = time.monotonic()
            status, text = await asyncio.wait_for(ask(port, asking), 20)
            took = time.monotonic() - started
            slowest, asked = max(slowest, took), asked + 1
            line = asking.decode().partition("\r\n")[0]
            if took > PROMPT:
                print(f"     {name}: {line} took {took:.2f} s", flush=True)
            if status >= 500:
                sys.exit(f"{name}: {line} got {status} {text.decode()}")
        await asyncio.sleep(0.02)
    crowd.kill()
    crowd.join()
    status, text = await ask(port, request("GET", "/metrics"))
    memory = [line for line in text.decode().splitlines() if line.startswith("process_resident_memory_bytes")]
    memory = f"{float(memory[0].split()[-1]) / 2**20:.0f} MiB" if memory else "unknown"
    mark = "ok  " if slowest <= PROMPT else "slow"
    print(f"{mark} {name}: {asked} answers, the slowest after {slowest:.2f} s; memory {memory}", flush=True)
    return slowest


def survived(project, name):
    labels = [f"label=com.docker.compose.project={project}", f"label=com.docker.compose.service={name}"]
    filters = [word for label in labels for word in ("--filter", label)]
    found = subprocess.run(["docker", "ps", "-q", *filters], capture_output=True, text=True, check=True)
    if not found.stdout.split():
        sys.exit(f"{name}: its container does not run")
    form = "{{.State.OOMKilled}} {{.RestartCount}}"
    for container in found.stdout.split():
        state = subprocess.run(
            ["docker", "inspect", "--format", form, container], capture_output=True, text=True, check=True
        )
        if state.stdout.split() != ["false", "0"]:
            sys.exit(f"{name}: killed for its memory, and restarts: {state.stdout.strip()}")


async def main():
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    base = int(os.environ.get("BASE_PORT", "8001"))
    project = os.environ.get("COMPOSE_PROJECT_NAME")
    await order_at_once(base)
    for number, service in enumerate(SERVICES):
        await stand(service[0], base + number, *service[1:])
        if project:
            survived(project, service[0])


if sys.argv[1:] in (["-h"], ["--help"]):
    sys.exit(print(__doc__))
try:
    asyncio.run(main())
except OSError as error:
    sys.exit(f"{error}; start the lab with scripts/lab.sh up")
