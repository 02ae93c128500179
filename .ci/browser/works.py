"""What somebody does with the console: an order with the keyboard, a fault, text that looks like
markup."""

import pathlib
import re
import subprocess
import tempfile

from browser.shop import need
from browser.viewer import Viewer

# The calls that an order makes.
CALLS = [
    ("gateway", "order-service"),
    ("order-service", "user-service"),
    ("order-service", "product-service"),
    ("order-service", "product-service"),
    ("order-service", "notification-service"),
]

# Clocks are corrected and numbers rounded, in milliseconds.
ROUNDING = 0.05


def an_order_with_the_keyboard(browser, shop):
    shop.quiet = True
    try:
        return order_with_the_keyboard(browser, shop)
    finally:
        shop.quiet = False


def order_with_the_keyboard(browser, shop):
    with Viewer(browser, shop) as viewer, Viewer(browser, shop) as watcher:
        page = viewer.page
        watcher.open("map")
        viewer.open("map")
        viewer.tab_to("Shop")
        page.keyboard.press("Enter")
        page.get_by_role("heading", name="Shop", level=1).wait_for()
        viewer.settle()
        viewer.tab_to("Pieces")
        page.keyboard.press("ControlOrMeta+a")
        page.keyboard.type("2")
        viewer.tab_to("Place order")
        page.keyboard.press("Enter")
        placed = page.get_by_text(re.compile(r"Order \d+ is confirmed")).first
        placed.wait_for()
        order = re.search(r"Order (\d+)", placed.inner_text())[1]
        need(shop.ask("GET", f"/api/orders/{order}")[2]["quantity"] == 2, "the order does not have two pieces")

        viewer.tab_to("X-ray of this request")
        page.keyboard.press("Enter")
        rows = page.get_by_role("list", name=re.compile("^Spans")).get_by_role("listitem")
        rows.first.wait_for()
        request = page.url.rsplit("/", 1)[1]
        trace = shop.ask("GET", f"/api/analytics/traces/{request}")[2]
        check_trace(trace)
        check_waterfall(rows, trace)

        feed = watcher.page.get_by_role("heading", name="Latest requests").locator("..")
        feed.locator(f'a[href="#/xray/{request}"]').wait_for()
        return f"order {order}, {len(trace['spans'])} spans"


def check_trace(trace):
    """All calls are there, each within its cause, and their times add up."""
    spans = {span["spanId"]: span for span in trace["spans"]}
    calls = [(one["service"], one["attributes"]["dependency"]) for one in trace["spans"] if one["kind"] == "client"]
    need(sorted(calls) == sorted(CALLS), f"the calls are {calls}")
    need(not trace["unavailable"] and trace["cut"] is None, "a part is missing")
    roots = [span for span in trace["spans"] if span["parentId"] is None]
    need([root["service"] for root in roots] == ["gateway"], f"the roots are {roots}")
    for span in trace["spans"]:
        name = f"{span['kind']} span {span['name']} of {span['service']}"
        need(span["durationMs"] >= 0 and not span["parentMissing"], f"{name} is not whole")
        below = [one for one in trace["spans"] if one["parentId"] == span["spanId"]]
        if span["kind"] == "client":
            need([one["service"] for one in below] == [span["attributes"]["dependency"]], f"{name} has another callee")
            gap = span["durationMs"] - below[0]["durationMs"]
            need(abs(below[0]["gapMs"] - gap) < ROUNDING, f"{name}: the gap is not {gap}")
        parent = spans.get(span["parentId"])
        if not parent:
            continue
        need(span["depth"] == parent["depth"] + 1, f"{name} is not nested in its cause")
        starts, ends = span["offsetMs"] - parent["offsetMs"], parent["durationMs"]
        need(starts >= -ROUNDING, f"{name} starts before its cause")
        # The notification may go on when the order is placed.
        if span["service"] != "notification-service" and span["attributes"].get("dependency") != "notification-service":
            need(starts + span["durationMs"] <= ends + ROUNDING, f"{name} ends after its cause")
        alone = sum(one["durationMs"] for one in below if not one["concurrent"])
        need(alone <= span["durationMs"] + ROUNDING * len(below), f"the parts of {name} take longer than it does")


# Where a text of a row begins.
PLACE = """(row, word) => {
  const texts = document.createTreeWalker(row, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const at = texts.currentNode.data.indexOf(word);
    if (at < 0) continue;
    const range = document.createRange();
    range.setStart(texts.currentNode, at);
    range.setEnd(texts.currentNode, at + word.length);
    return range.getBoundingClientRect().x;
  }
  return null;
}"""


def check_waterfall(rows, trace):
    """The page shows the spans in the same order, each to the right of its cause."""
    need(rows.count() == len(trace["spans"]), f"{rows.count()} rows for {len(trace['spans'])} spans")
    places = {}
    for row, span in enumerate(trace["spans"]):
        word = span["attributes"].get("dependency") or span["service"]
        said = rows.nth(row).inner_text()
        need(word in said, f"row {row + 1} does not name {word}, but {said!r}")
        # A call begins with an arrow.
        place = rows.nth(row).evaluate(PLACE, "→" if span["kind"] == "client" else word)
        parent = places.get(span["parentId"])
        need(parent is None or place > parent, f"row {row + 1} is not indented below its cause")
        places[span["spanId"]] = place


def a_fault_of_the_page(browser, shop):
    with Viewer(browser, shop) as viewer:
        page = viewer.page
        viewer.open("faults")
        page.get_by_label("Service", exact=True).select_option("user-service")
        page.get_by_label("What goes wrong").select_option("latency")
        page.get_by_label(re.compile("^Later by")).fill("150")
        page.get_by_role("button", name="Break it").click()
        banner = page.get_by_role("complementary", name="Active faults")
        banner.wait_for()
        need("user-service 150 ms late" in banner.inner_text(), f"the banner says {banner.inner_text()!r}")

        viewer.open("shop")
        # The list of users comes from the slow service.
        page.get_by_label("User", exact=True).locator("option").first.wait_for(state="attached")
        page.get_by_role("button", name="Place order").click()
        page.get_by_text(re.compile(r"Order \d+ is confirmed")).first.wait_for()
        page.get_by_role("link", name="X-ray of this request").first.click()
        took = page.get_by_role("heading", level=2, name="POST /api/orders").first
        took.wait_for()
        took = took.inner_text()
        # The spaces of a number do not break.
        found = re.search(r"([\d.]+)\s(ms|s)$", took)
        need(found is not None, f"the X-ray is headed {took!r}")
        need(float(found[1]) * (1000 if found[2] == "s" else 1) >= 150, f"the order took {took!r}")
        need(banner.is_visible(), "the fault is not visible on this page")

        viewer.open("map")
        box = viewer.service("user-service")
        need("1 fault" in box.text_content(), "the map does not show the fault")
        p99 = lambda: number(re.search(r"p99 ([\d.,]+)", box.get_attribute("aria-label")))
        for _ in range(5):
            shop.order()
        viewer.until(lambda: p99() >= 100, 6, "the map does not show the delay")
        viewer.open("charts/services/user-service")
        figure = page.get_by_role("figure").filter(has_text="Latency").first
        viewer.until(lambda: max(numbers(figure)) >= 100, 6, lambda: f"the chart says {figure.inner_text()!r}")

        viewer.open("faults")
        page.get_by_role("button", name=re.compile("^Mend all")).first.click()
        banner.wait_for(state="hidden")
        status, _, _ = shop.order()
        need(status == 201, f"the next order gets {status}")
        viewer.open("map")
        viewer.until(lambda: "fault" not in box.text_content(), 3, "the map still shows the fault")
        viewer.until(lambda: p99() < 100, 30, "the map still shows the delay")


def a_narrow_map_says_the_same(browser, shop):
    """Its cards have the link and the faults of the drawing, and keep the focus."""
    shop.script("break.sh", "user-service", "delay", "1ms")
    try:
        with Viewer(browser, shop, width=380) as viewer:
            viewer.open("map")
            card = viewer.page.locator("#page .cards").get_by_role("listitem").filter(has=viewer.page.get_by_role("link", name="user-service", exact=True))
            card.get_by_text("⚠ 1 fault", exact=True).wait_for()
            viewer.tab_to("user-service")
            # Two ticks change the figures of the card.
            viewer.page.wait_for_timeout(2500)
            viewer.page.keyboard.press("Enter")
            viewer.page.get_by_role("heading", name="Services", level=1).wait_for()
            need(viewer.page.url.endswith("#/services/user-service"), f"the link leads to {viewer.page.url}")
    finally:
        shop.script("break.sh", "mend")


def an_unknown_chart_is_named(browser, shop):
    with Viewer(browser, shop) as viewer:
        for path, what in [("charts/nothing", "view"), ("charts/services/nothing", "service"), ("charts/calls/nothing", "service")]:
            viewer.open(path)
            said = viewer.page.get_by_role("alert")
            said.wait_for()
            need(f"There is no {what} called nothing." in said.inner_text(), f"#/{path} says {said.inner_text()!r}")
            said.get_by_role("link").click()
            viewer.page.locator("section.subject").first.wait_for()


def the_configuration_is_shown(browser, shop):
    with Viewer(browser, shop) as viewer:
        viewer.open("services/order-service")
        viewer.page.get_by_text("Configuration", exact=True).click()
        row = viewer.page.get_by_role("row").filter(has=viewer.page.get_by_role("rowheader", name="USER_SERVICE_URL"))
        row.wait_for()
        need(f":{shop.base_port}" in row.inner_text(), f"USER_SERVICE_URL is shown as {row.inner_text()!r}")


def a_scenario_in_the_page(browser, shop):
    """One runs to its end; another is stopped while its fault is active."""
    shop.quiet = True
    try:
        with Viewer(browser, shop) as viewer:
            short, *_, long = shop.scenarios()
            report = run_scenario(viewer, shop, short)
            return f"{short['name']} is {report['state']}, {long['name']} broke after {stop_scenario(viewer, shop, long):.1f} s"
    finally:
        shop.empty()
        shop.quiet = False


def start_scenario(viewer, scenario):
    """Predicts the first choice, and starts it."""
    viewer.open(f"scenarios/{scenario['name']}")
    viewer.page.get_by_role("radio").first.check()
    viewer.page.get_by_role("button", name="Run it").click()
    stop = viewer.page.get_by_role("button", name="Stop and mend")
    stop.wait_for()
    return stop


def run_scenario(viewer, shop, scenario):
    """Runs it in the page, whose result must be that of the gateway."""
    stop = start_scenario(viewer, scenario)
    within = 3 * scenario["seconds"] + 10
    viewer.until(lambda: not stop.is_visible(), within, f"{scenario['name']} does not end")
    report = shop.ask("GET", f"/lab/scenarios/{scenario['name']}/run")[2]
    page = viewer.page
    checked = page.get_by_role("region", name="What was checked").get_by_role("listitem")
    need(checked.count() == len(report["assertions"]) > 0, f"{checked.count()} of {len(report['assertions'])} assertions are shown")
    for row, one in enumerate(report["assertions"]):
        said, word = checked.nth(row).inner_text(), "✓ holds" if one["holds"] else "✕ does not hold"
        need(word in said and one["text"] in said, f"assertion {row + 1} is shown as {said!r}")
    answer = page.get_by_role("region", name="The answer").inner_text()
    need(f"It is {report['answer']}:" in answer, f"the answer is shown as {answer!r}")
    heads = page.get_by_role("group", name="Measurements").get_by_role("columnheader").all_inner_texts()
    need(heads[-len(report["phases"]) - 1 :] == [one["phase"] for one in report["phases"]] + ["Change"], f"the phases are {heads}")
    return report


def stop_scenario(viewer, shop, scenario):
    """Stops it once it has broken something, and returns the seconds until it had."""
    stop = start_scenario(viewer, scenario)
    banner = viewer.page.get_by_role("complementary", name="Active faults")
    _, took = viewer.until(banner.is_visible, scenario["seconds"] + 10, f"{scenario['name']} breaks nothing")
    stop.click()
    viewer.until(lambda: not stop.is_visible(), 15, f"{scenario['name']} does not stop")
    need(not shop.faults(), f"{scenario['name']} leaves {shop.faults()}")
    banner.wait_for(state="hidden")
    return took


def number(match):
    return float(match[1].replace(",", "")) if match else 0.0


def numbers(element):
    return [float(one) for one in re.findall(r"\d+(?:\.\d+)?", element.inner_text())] or [0.0]


MARKUP = '<img src=x onerror="alert(1)"><script>alert(2)</script><b>"\'&amp;'


def markup_stays_text(browser, shop):
    ada = {"name": MARKUP, "email": "markup@example.com"}
    user = shop.ask("POST", "/api/users", ada)[2]["id"]
    product = shop.ask("POST", "/api/products", {"name": MARKUP, "price": 1, "stock": 9})[2]["id"]
    shop.ask("POST", "/api/notifications/send", {"userId": user, "message": MARKUP, "type": "info"})
    order = shop.ask("POST", "/api/orders", {"userId": user, "productId": product, "quantity": 1})[2]["id"]
    with Viewer(browser, shop) as viewer:
        for path in ["shop/users", "shop/products", "shop/notifications", f"shop/users/{user}", f"shop/products/{product}"]:
            viewer.open(path)
            viewer.page.locator("#page").get_by_text(MARKUP).filter(visible=True).first.wait_for()
            check_no_markup(viewer, path)
        for path in [f"shop/orders/{order}", "shop/orders", "shop/users?search=%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E", "map"]:
            viewer.open(path)
            check_no_markup(viewer, path)
    with Viewer(browser, shop, lenient=True) as viewer:
        # Addresses that name what is not there; the browser notes the 404.
        for path in ["xray/<img src=x onerror=alert(1)>", "services/<script>alert(1)</script>", "scenarios/<b>x"]:
            viewer.page.goto(f"{shop.url}/#/{path}")
            viewer.page.wait_for_timeout(300)
            check_no_markup(viewer, path)


def check_no_markup(viewer, path):
    made = viewer.page.locator("#page img, #page script, #page b").count()
    need(made == 0, f"#/{path} has {made} elements made of text")
    need(not [one for one in viewer.noted if one.startswith("dialog")], f"#/{path} runs what was typed")


def a_command_is_safe_to_paste(browser, shop):
    """The command of the page, pasted into a shell, does the same and nothing else."""
    with tempfile.TemporaryDirectory() as folder, Viewer(browser, shop) as viewer:
        name = "O'Brien $(touch trap) `touch trap`; touch trap \\' \" !! %s"
        viewer.open("shop/users")
        viewer.page.get_by_label("Name", exact=True).fill(name)
        viewer.page.get_by_label("Email", exact=True).fill("obrien@example.com")
        viewer.page.get_by_role("button", name="Create user").click()
        made = viewer.page.get_by_text(re.compile(r"User \d+ is ")).first
        made.wait_for()
        user = re.search(r"User (\d+)", made.inner_text())[1]
        viewer.page.get_by_text(re.compile("^POST /api/users")).first.click()
        command = viewer.page.get_by_role("group", name="Command").filter(visible=True).first.inner_text()
        shop.ask("DELETE", f"/api/users/{user}")
        # Another key: the same one would get the first answer again.
        command = re.sub("(Idempotency-Key: )[^']*", r"\1another", command)
        done = subprocess.run(["bash", "-c", command.replace("curl ", "curl -q -s ", 1)], cwd=folder, capture_output=True, text=True, timeout=20)
        need(name in done.stdout.replace("\\\\", "\\").replace('\\"', '"'), f"{command!r} got {done.stdout!r} {done.stderr!r}")
        need(not list(pathlib.Path(folder).iterdir()), f"{command!r} ran what was typed")
