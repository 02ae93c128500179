// Shows a request with its response, and the curl command that sends it again.

import { h, replace } from "./dom.js";
import { ms } from "./format.js";

// The longest body that is shown, in characters.
const LONGEST = 20_000;

// The element for a result of `request()` in api.js. It is closed at first, with the outcome in its
// first line.
export function exchange(result) {
  const { method, path, status, sent } = result;
  const outcome = status === 0 ? "no answer" : String(status);
  return h(
    "details",
    { class: "exchange" },
    h(
      "summary",
      {},
      h("code", {}, `${method} ${path}`),
      " ",
      h("span", { class: !result.ok && "bad" }, `→ ${outcome}`),
      " ",
      h("span", { class: "quiet" }, ms(result.ms)),
    ),
    result.error && h("p", { class: "sentence" }, result.error),
    h("h3", {}, "As a command"),
    command(result.curl),
    h("h3", {}, "Request"),
    text([`${method} ${path}`, ...lines(sent.headers), "", pretty(sent.body)]),
    h("h3", {}, "Response"),
    text([outcome, ...lines(result.headers), "", pretty(result.text)]),
    h("p", {}, xrayLink(result)),
  );
}

// A link to the X-ray of a request, if its response names it. The lab has no spans of its own
// requests.
export function xrayLink({ requestId, path }) {
  if (!requestId || path.startsWith("/lab")) return null;
  return h("a", { href: `#/xray/${encodeURIComponent(requestId)}` }, "X-ray of this request");
}

// A command with a button that copies it.
export function command(line) {
  const code = h("code", {}, line);
  const said = h("span", { role: "status", class: "quiet" });
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(line);
      replace(said, "copied");
    } catch {
      // Not allowed, or a page without TLS that is not on this machine.
      getSelection().selectAllChildren(code);
      replace(said, "selected: copy it with the keyboard");
    }
  };
  return h(
    "div",
    { class: "command" },
    h("pre", { tabindex: 0, role: "group", "aria-label": "Command" }, code),
    h("button", { type: "button", click: copy }, "Copy"),
    said,
  );
}

function text(all) {
  const whole = all.join("\n").trimEnd();
  return h("pre", { tabindex: 0, role: "group", "aria-label": "HTTP" }, whole);
}

function lines(headers) {
  return Object.entries(headers).map(([name, value]) => `${name}: ${value}`);
}

// JSON over several lines; anything else as it is.
function pretty(body) {
  if (!body) return "";
  let shown = body;
  try {
    shown = JSON.stringify(JSON.parse(body), null, 2);
  } catch {
    // It is no JSON.
  }
  if (shown.length <= LONGEST) return shown;
  return `${shown.slice(0, LONGEST)}\n… and ${shown.length - LONGEST} more characters`;
}
