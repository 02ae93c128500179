"""Every page, narrow and wide, light and dark: nothing in the console, no other host, no violation
of its policy, nothing that axe finds, nothing that sticks out."""

import json
import re

from axe_playwright_python.sync_playwright import Axe

from browser.shop import STREAM, need
from browser.viewer import Viewer

OVERFLOW = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"

# Wider pages may have other columns; 640 is 1280 at 200 % zoom.
SIZES = [(1280, False), (380, False), (1280, True), (380, True), (640, False)]

# The pages that tell of a fault besides the banner, and what they say.
BROKEN = {"map": re.compile("^⚠ 1 fault$"), "faults": re.compile("^hit [0-9]")}

# Each is refused at once, or as a violation of the policy.
ATTACKS = [
    "const one = document.createElement('script'); one.textContent = 'ran = true'; document.body.append(one);",
    "const one = document.createElement('script'); one.src = 'http://192.0.2.1/x.js'; document.body.append(one);",
    "const one = document.createElement('img'); one.src = 'http://192.0.2.1/x.png'; document.body.append(one);",
    "const one = document.createElement('b'); one.setAttribute('onclick', 'ran = true'); document.body.append(one); one.click();",
    "const one = document.createElement('b'); one.setAttribute('style', 'color: red'); document.body.append(one);",
    "setTimeout('ran = true');",
    "fetch('http://192.0.2.1/').catch(() => {});",
]


def addresses(shop):
    """All pages of the console; those of records show the first."""
    _, headers, _ = shop.order()
    request = headers["X-Request-Id"]
    scenario = shop.ask("GET", "/lab/scenarios")[2][0]["name"]
    paths = ["map", "shop", "shop/products", "shop/users", "shop/notifications", "shop/orders/1", "shop/products/1"]
    paths += ["shop/users/1", "shop/orders?search=confirmed", "charts", "charts/calls", "charts/orders"]
    paths += ["charts/services/order-service", "xray", f"xray/{request}", f"xray/{request}/sequence"]
    paths += ["faults", "scenarios", f"scenarios/{scenario}", "services", "services/gateway", "nothing"]
    return paths


def every_page(browser, shop):
    axe = Axe()
    paths = addresses(shop)
    faults = []
    tested = 0
    for width, dark in SIZES:
        with Viewer(browser, shop, width=width, dark=dark) as viewer:
            for path in paths:
                what = f"#/{path} at {width} px, {'dark' if dark else 'light'}"
                try:
                    viewer.open(path)
                    viewer.check()
                    faults += looked_at(viewer.page, axe if width != 640 else None, what)
                except Exception as fault:  # each page is looked at, whatever happened to the one before
                    faults.append(f"{what}: {fault}")
                tested += 1
    for width in [1280, 380]:
        faults += while_broken(browser, shop, axe, width) + while_not_live(browser, shop, axe, width)
        tested += len(BROKEN) + 1
    need(not faults, "\n     ".join(faults))
    return f"{len(paths)} pages, {tested} views"


def while_broken(browser, shop, axe, width):
    """The pages that show an active fault."""
    faults = []
    shop.script("break.sh", "user-service", "delay", "20ms")
    try:
        with Viewer(browser, shop, width=width) as viewer:
            for path in BROKEN:
                viewer.open(path)
                viewer.page.get_by_role("complementary", name="Active faults").wait_for()
                viewer.page.get_by_text(BROKEN[path]).filter(visible=True).first.wait_for()
                faults += looked_at(viewer.page, axe, f"#/{path} at {width} px with a fault")
    finally:
        shop.script("break.sh", "mend")
    return faults


def while_not_live(browser, shop, axe, width):
    """The map once its stream is gone. The browser notes each attempt to open it."""
    tick = f"event: tick\ndata: {json.dumps(shop.tick())}\n\n"
    with Viewer(browser, shop, width=width, lenient=True) as viewer:
        viewer.page.route(f"**{STREAM}", lambda route: route.abort())
        viewer.page.route(f"**{STREAM}", lambda route: route.fulfill(content_type="text/event-stream", body=tick), times=1)
        viewer.open("map", live=False)
        viewer.until(lambda: "not live since" in viewer.pill(), 6, lambda: f"the page says {viewer.pill()!r}, and it has no stream")
        return looked_at(viewer.page, axe, f"#/map at {width} px, not live")


def no_label_of_the_axis_sticks_out(browser, shop):
    """The last label of a waterfall has room, however long the request took."""
    request = shop.order()[1]["X-Request-Id"]
    trace = shop.ask("GET", f"/api/analytics/traces/{request}")[2]
    with Viewer(browser, shop, width=380) as viewer:
        for whole in [1.19, 10.9, 11.9, 59, 64.9, 109, 119, 1090, 5940, 10_900]:
            scaled = longer(trace, whole / trace["durationMs"])
            viewer.page.route("**/api/analytics/traces/*", lambda route: route.fulfill(json=scaled))
            viewer.open(f"xray/{whole}")
            out = viewer.page.evaluate(OVERFLOW)
            need(out <= 0, f"an X-ray of {whole} ms is {out} px wider than a window of 380 px")


def longer(trace, factor):
    """The same trace, each time multiplied."""
    times = ["offsetMs", "durationMs", "gapMs"]
    spans = [{name: value * factor if name in times and value else value for name, value in span.items()} for span in trace["spans"]]
    return {**trace, "durationMs": trace["durationMs"] * factor, "spans": spans}


def looked_at(page, axe, what):
    faults = []
    out = page.evaluate(OVERFLOW)
    if out > 0:
        faults.append(f"{what}: {out} px wider than the window")
    if page.locator("h1").count() != 1 or not page.locator("h1").inner_text():
        faults.append(f"{what}: not one heading of level 1")
    if axe:
        for violation in axe.run(page).response["violations"]:
            nodes = ", ".join(node["html"][:120] for node in violation["nodes"][:3])
            faults.append(f"{what}: axe: {violation['id']}: {violation['help']}: {nodes}")
    return faults


def the_policy_holds(browser, shop):
    """What markup could bring along does not run and is not loaded."""
    _, headers, _ = shop.ask("GET", "/", headers=[("Accept", "text/html")])
    policy = headers["Content-Security-Policy"] or ""
    need("default-src 'none'" in policy and "unsafe" not in policy and "*" not in policy, f"the policy is {policy!r}")
    with Viewer(browser, shop, lenient=True) as viewer:
        viewer.open("map")
        for attack in ATTACKS:
            viewer.noted.clear()
            refused = viewer.page.evaluate(f"() => {{ try {{ {attack} }} catch (error) {{ return String(error); }} }}")
            if not refused:
                viewer.until(lambda: any("the policy forbids" in one for one in viewer.noted), 3, f"nothing forbids {attack}")
        need(viewer.page.evaluate("window.ran") is None, "an inline script runs")


def nothing_moves(browser, shop):
    """Whoever wants no motion gets none."""
    with Viewer(browser, shop, still=True) as viewer:
        viewer.open("map")
        viewer.page.get_by_role("button", name="Place an order and follow it").click()
        viewer.page.locator(".steps").wait_for()
        need(viewer.page.locator(".call.passed").count() > 0, "the way of the order is not marked")
        need(viewer.page.locator(".ball").is_hidden(), "something moves along the map")
