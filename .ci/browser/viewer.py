"""Somebody who looks at the console: a page that notes each message, request and violation."""

import re

from browser.shop import Fault, need, until

# What a page says while it waits for its first content.
WAITS = re.compile(r"^(Reading|Waiting|Asking)\b.*…")

VIOLATIONS = """
addEventListener("securitypolicyviolation", ({ violatedDirective, blockedURI }) =>
  console.error(`the policy forbids ${violatedDirective} ${blockedURI}`));
"""

# What a screen reader would call the element with the focus, roughly, and whether one sees the focus.
FOCUSED = """() => {
  const one = document.activeElement;
  const { outlineStyle, outlineWidth } = getComputedStyle(one);
  const name = one.getAttribute("aria-label") ?? one.labels?.[0]?.textContent ?? one.textContent;
  return { name: name.trim(), seen: outlineStyle !== "none" && parseFloat(outlineWidth) > 0 };
}"""


class Viewer:
    """A browser page of its own, with its own connections. Use it in a `with` block: at its end,
    everything noted is a fault, unless the viewer is `lenient`, because services die meanwhile."""

    def __init__(self, browser, shop, width=1280, height=860, dark=False, still=False, lenient=False):
        self.shop, self.lenient = shop, lenient
        self.context = browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme="dark" if dark else "light",
            reduced_motion="reduce" if still else "no-preference",
        )
        self.context.add_init_script(VIOLATIONS)
        self.context.grant_permissions(["clipboard-read", "clipboard-write"])
        self.page = self.context.new_page()
        self.page.set_default_timeout(8000)
        self.noted = []
        self.streams = 0
        self.page.on("console", lambda message: self.noted.append(f"console: {message.text}"))
        self.page.on("pageerror", lambda error: self.noted.append(f"error: {error}"))
        self.page.on("dialog", self.dialog)
        self.page.on("request", self.requested)

    def dialog(self, dialog):
        self.noted.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def requested(self, request):
        self.streams += request.url.endswith("/api/analytics/stream")
        if not request.url.startswith((f"{self.shop.url}/", "data:")):
            self.noted.append(f"request to another host: {request.url}")

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        self.context.close()
        if kind is None and not self.lenient:
            self.check()

    def check(self):
        """Fails if anything was noted, and forgets it."""
        noted, self.noted = self.noted, []
        need(not noted, "; ".join(dict.fromkeys(noted)))

    def open(self, path, live=True):
        """Goes to `#/path`, and waits until its content is there."""
        # A page that had been there is loaded anew.
        name = path.split("/")[0].split("?")[0]
        self.page.goto(f"{self.shop.url}/#/{path}")
        self.page.locator(f"#page > .page-{name}").wait_for()
        if live:
            self.until(self.is_live, 6, lambda: f"#/{path} is not live ({self.pill()})")
        self.settle()

    def until(self, holds, within, sentence):
        """The same as `until`, while the browser goes on and tells what happens."""
        return until(holds, within, sentence, lambda seconds: self.page.wait_for_timeout(seconds * 1000))

    def settle(self):
        waiting = self.page.get_by_text(WAITS).filter(visible=True)
        self.until(lambda: waiting.count() == 0, 8, lambda: f"the page says {waiting.first.inner_text()!r}; it has no content")

    def pill(self):
        """What the page says about itself: live, or why not."""
        return self.page.locator("#live").inner_text()

    def is_live(self):
        return self.pill() == "● live"

    def tab_to(self, name, most=80):
        """Presses Tab until the focus, which must be visible, is on what is called so."""
        passed = []
        for _ in range(most):
            self.page.keyboard.press("Tab")
            focused = self.page.evaluate(FOCUSED)
            passed.append(focused["name"][:30])
            if focused["name"] and not focused["seen"]:
                raise Fault(f"the focus on {focused['name'][:30]!r} is not visible")
            if focused["name"] == name or focused["name"].endswith(f" {name}"):
                return
        raise Fault(f"Tab does not reach {name!r}, but {passed}")

    def service(self, name):
        """The service on the map, for its state and its figures."""
        return self.page.get_by_role("link", name=re.compile(f"^{name}: "))

    def state(self, name):
        """The word for its state: up, down, degraded …"""
        return self.service(name).get_attribute("aria-label").split(": ")[1].split(",")[0]
