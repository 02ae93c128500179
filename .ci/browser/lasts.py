"""What happens to a console that is watched: services die and return, the stream is cut, thirty
look at once, and somebody looks for hours."""

import json
import time

from browser.shop import STREAM, need
from browser.viewer import Viewer

# The hours of the fake stream, which has a tick each five seconds, and the most bytes and nodes by
# which a page may grow after the first hour.
HOURS = 5
TICKS = 720
GROWTH = 1_000_000
NODES = 400


def a_dead_service_looks_dead(browser, shop):
    with Viewer(browser, shop, lenient=True) as viewer:
        viewer.open("map")
        viewer.until(lambda: viewer.state("notification-service") == "up", 5, "notification-service is not up")
        shop.kill("notification-service")
        _, died = viewer.until(lambda: viewer.state("notification-service") == "down", 2, "it does not look dead")
        need("down" in viewer.service("notification-service").text_content(), "nobody sees that it is down")
        shop.start("notification-service")
        _, returned = viewer.until(lambda: viewer.state("notification-service") == "up", 2, "it does not look alive again")
        return f"dead after {died:.1f} s, alive {returned:.1f} s after it was ready"


def a_cut_stream_resumes(browser, shop):
    with Viewer(browser, shop, lenient=True) as viewer:
        viewer.open("charts")
        viewer.page.get_by_text("Table", exact=True).first.click()
        rows = viewer.page.locator("section.subject").first.locator("tbody tr")
        viewer.until(lambda: rows.count() > 0, 8, "there is no sample")
        before = rows.count()
        shop.kill("analytics-service")
        # A gateway with another instance would go on.
        _, noticed = viewer.until(lambda: not viewer.is_live(), 5, "the page says that it is live, and it is not")
        said = viewer.pill()
        need("not live" in said, f"it says {said!r}")
        began, streams = time.monotonic(), viewer.streams
        viewer.page.wait_for_timeout(3000)
        tries = (viewer.streams - streams) / (time.monotonic() - began)
        need(0 < tries <= 1.35, f"{tries:.1f} attempts a second to open the stream")
        shop.start("analytics-service")
        _, resumed = viewer.until(viewer.is_live, 5, "the stream does not resume")
        viewer.page.wait_for_timeout(500)
        need(rows.count() >= before, f"{rows.count()} samples are left of {before}")
        return f"noticed after {noticed:.1f} s ({said}), live {resumed:.1f} s after the return, {tries:.1f} attempts a second"


def thirty_look_at_once(browser, shop):
    viewers = [Viewer(browser, shop) for _ in range(30)]
    try:
        began = time.monotonic()
        for viewer in viewers:
            viewer.page.set_default_timeout(30_000)
            viewer.page.goto(f"{shop.url}/#/map", wait_until="commit")
        for viewer in viewers:
            viewer.until(viewer.is_live, 30, lambda: f"a viewer is not live: {viewer.pill()}")
        took = time.monotonic() - began
        # All of them see the same a moment later.
        shop.script("break.sh", "product-service", "delay", "1ms")
        for viewer in viewers:
            viewer.page.get_by_role("complementary", name="Active faults").wait_for()
        for viewer in viewers:
            need(viewer.is_live() and viewer.streams == 1, f"a viewer opened {viewer.streams} streams: {viewer.pill()}")
            viewer.check()
    finally:
        shop.script("break.sh", "mend")
        for viewer in viewers:
            viewer.context.close()
    return f"all live after {took:.1f} s"


class Hours:
    """A stream that is faster than time: an answer has an hour of ticks. Then it is away until the
    next hour is asked for."""

    def __init__(self, tick):
        self.tick, self.moment, self.wanted = tick, 1_800_000_000, True

    def over(self):
        """What the page says once it has shown all of the hour."""
        return f"hour until {self.moment} is over"

    def answer(self, route):
        if not self.wanted:
            route.fulfill(status=400, content_type="application/json", body=json.dumps({"error": self.over()}))
            return
        self.wanted = False
        body = "".join(self.event() for _ in range(TICKS))
        route.fulfill(status=200, content_type="text/event-stream", body=body)

    def event(self):
        self.moment += 5
        at = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(self.moment))
        one = {"service": "gateway", "name": "POST /api/orders", "status": 201, "durationMs": 7.5, "start": at}
        recent = [{**one, "traceId": f"{self.moment:032x}", "requestId": f"hour-{self.moment}"}]
        load = self.moment % 97
        services = [{**service, "requestRate": load, "p99Ms": load / 2} for service in self.tick["services"]]
        tick = {**self.tick, "at": at, "services": services, "recent": recent}
        return f"event: tick\ndata: {json.dumps(tick, separators=(',', ':'))}\n\n"


def hours_of_watching_do_not_grow_it(browser, shop):
    said = []
    for path in ["map", "charts"]:
        with Viewer(browser, shop, lenient=True) as viewer:
            hours = Hours(shop.tick())
            # It has no time for questions while an hour passes.
            viewer.page.set_default_timeout(60_000)
            viewer.page.route(f"**{STREAM}", hours.answer)
            viewer.page.goto(f"{shop.url}/#/{path}")
            devtools = viewer.context.new_cdp_session(viewer.page)
            sizes = []
            for hour in range(1, HOURS + 1):
                hours.wanted = True
                viewer.until(lambda: not hours.wanted, 10, f"hour {hour} of #/{path} is not asked for")
                viewer.until(lambda: hours.over() in viewer.pill(), 40, lambda: f"hour {hour} of #/{path}: {viewer.pill()}")
                devtools.send("HeapProfiler.collectGarbage")
                heap = devtools.send("Runtime.getHeapUsage")["usedSize"]
                sizes.append((heap, devtools.send("Memory.getDOMCounters")["nodes"]))
            grown, more = sizes[-1][0] - sizes[0][0], sizes[-1][1] - sizes[0][1]
            need(grown < GROWTH and more < NODES, f"#/{path} grows: bytes and nodes after each hour are {sizes}")
            said.append(f"#/{path} {sizes[-1][0] / 1e6:.1f} MB, {grown / 1e6:+.1f} MB in {HOURS - 1} hours")
    return ", ".join(said)
