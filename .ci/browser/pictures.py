"""The screenshots for the docs, and what the console weighs."""

import io
import pathlib
import tempfile

from PIL import Image

from browser.shop import need
from browser.viewer import Viewer
from browser.works import run_scenario

# Where they go; a place for this run alone if nobody wants them.
FOLDER = None

HEAVIEST = 100_000

# The whole console must stay below this, in bytes.
WEIGHT = 200 * 1024

TIMES = """() => ({
  paint: performance.getEntriesByName("first-contentful-paint")[0]?.startTime,
  files: performance.getEntriesByType("resource").concat(performance.getEntriesByType("navigation"))
    .filter(({ name }) => name.includes("/console/") || new URL(name).pathname === "/")
    .map(({ name, transferSize, decodedBodySize }) => ({ name, transferSize, decodedBodySize })),
})"""


def weight_and_first_paint(browser, shop):
    paints = []
    for _ in range(3):
        with Viewer(browser, shop) as viewer:
            viewer.open("map")
            viewer.page.wait_for_function("performance.getEntriesByName('first-contentful-paint').length > 0")
            times = viewer.page.evaluate(TIMES)
            paints.append(times["paint"])
            page = sum(one["transferSize"] for one in times["files"])
            for path in ["shop", "charts", "xray", "faults", "scenarios", "services"]:
                viewer.open(path)
            # A browser asks for a file again if it is used again.
            everything = {one["name"].partition("#")[0]: one for one in viewer.page.evaluate(TIMES)["files"]}.values()
    whole = sum(one["decodedBodySize"] for one in everything)
    need(whole < WEIGHT, f"the console has {whole} bytes")
    need(min(paints) < 2000, f"the first paint is after {min(paints):.0f} ms")
    sent = sum(one["transferSize"] for one in everything)
    return (
        f"first paint after {min(paints):.0f} ms; the map sends {page} bytes, all pages {sent} bytes"
        f" in {len(everything)} files, {whole} bytes unpacked"
    )


def screenshots(browser, shop):
    """The pictures of the docs. Each has few colours, so that it stays small."""
    if FOLDER is None:
        with tempfile.TemporaryDirectory() as folder:
            return taken(browser, shop, pathlib.Path(folder))
    FOLDER.mkdir(parents=True, exist_ok=True)
    return taken(browser, shop, FOLDER)


def taken(browser, shop, folder):
    sizes = []

    def take(viewer, name, path, height=None, before=None):
        viewer.open(path)
        if before:
            before(viewer.page)
        if height:
            viewer.page.set_viewport_size({"width": viewer.page.viewport_size["width"], "height": height})
        viewer.page.mouse.move(0, 0)
        viewer.page.evaluate("document.activeElement.blur()")
        viewer.page.wait_for_timeout(1200)
        picture = Image.open(io.BytesIO(viewer.page.screenshot())).convert("RGB")
        file = folder / f"{name}.png"
        picture.quantize(256, dither=Image.Dither.NONE).save(file, optimize=True)
        size = file.stat().st_size
        need(size < HEAVIEST, f"{file.name} has {size} bytes")
        sizes.append(f"{file.name} {size // 1000} kB")

    request = shop.order()[1]["X-Request-Id"]
    with Viewer(browser, shop) as viewer:
        take(viewer, "console-map", "map")
        take(viewer, "console-shop", "shop")
        take(viewer, "console-xray", f"xray/{request}", height=900)
        take(viewer, "console-sequence", f"xray/{request}/sequence", height=900)
        # With the past of this run: minutes, if it is the last check.
        take(viewer, "console-charts", "charts", height=900)
        take(viewer, "console-services", "services")
    shop.quiet = True
    try:
        with Viewer(browser, shop, width=960) as viewer:
            scenario = shop.scenarios()[0]
            run_scenario(viewer, shop, scenario)
            take(viewer, "console-scenarios", f"scenarios/{scenario['name']}", height=1400)
    finally:
        shop.empty()
        shop.quiet = False
    # A broken shop: errors, retries, an open circuit.
    shop.script("break.sh", "user-service", "errors", "100%")
    try:
        with Viewer(browser, shop, lenient=True) as viewer:
            for _ in range(12):
                broken = shop.order()[1]["X-Request-Id"]
            take(viewer, "console-faults", "faults")
            take(viewer, "console-broken", "map")
            take(viewer, "console-xray-broken", f"xray/{broken}")
    finally:
        shop.script("break.sh", "mend")
    return ", ".join(sizes)
