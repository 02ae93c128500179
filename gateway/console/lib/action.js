// Actions: a request that changes something, its outcome, and a button that repeats it.

import { request } from "./api.js";
import { h, replace } from "./dom.js";
import { exchange, xrayLink } from "./exchange.js";
import { isObject, verdict } from "./verdict.js";

const WORDS = {
  done: "✓ done",
  refused: "✕ refused",
  outage: "⚠ outage",
  unknown: "? not known",
};

// After so long without a response, the place says that it waits, in milliseconds.
const PATIENCE = 400;

// A place that shows the latest action. `send` sends one and returns its result; `element` goes
// into the page.
export function actions() {
  const said = h("p", { role: "status" });
  const more = h("div");
  const element = h("div", { class: "result", hidden: true }, said, more);
  let isBusy = false;

  // Sends `method path` with `body`. A `keyed` one gets an Idempotency-Key, and can be repeated.
  // `done(body)` returns what to say about a success: texts and links. `isWhole` checks its body.
  async function send({ method, path, body, keyed = false, done, isWhole }) {
    const headers = keyed ? { "Idempotency-Key": newKey() } : {};
    return sendAgain({ method, path, body, headers, keyed, done, isWhole });
  }

  async function sendAgain(action) {
    // A second click while the first is on its way is an accident.
    if (isBusy) return null;
    isBusy = true;
    element.setAttribute("aria-busy", "true");
    const { method, path, body, headers } = action;
    const timer = setTimeout(() => waiting(method, path), PATIENCE);
    const result = await request(method, path, { body, headers });
    clearTimeout(timer);
    isBusy = false;
    element.removeAttribute("aria-busy");
    const hadFocus = more.contains(document.activeElement);
    show(action, result);
    // The button that was pressed is another one now.
    if (hadFocus) more.querySelector("button")?.focus();
    return result;
  }

  function waiting(method, path) {
    element.hidden = false;
    element.dataset.state = "waiting";
    replace(
      said,
      h("strong", { class: "verdict" }, "… waiting:"),
      ` ${method} ${path} has no response yet`,
    );
  }

  function show(action, result) {
    const { state, word, sentence } = verdict(result, action.isWhole ?? isObject);
    const isReplayed = result.headers["idempotency-replayed"] === "true";
    element.hidden = false;
    element.dataset.state = state;
    replace(
      said,
      h("strong", { class: "verdict" }, `${WORDS[state]}: ${word}`),
      " ",
      state === "done" ? (action.done?.(result.body) ?? "") : sentence,
      isReplayed && " This is the first response again: the service did nothing.",
    );
    replace(
      more,
      h("p", { class: "row" }, xrayLink(result), action.keyed && repeat(action)),
      exchange(result),
    );
  }

  function repeat(action) {
    return [
      h("button", { type: "button", click: () => sendAgain(action) }, "Repeat the same request"),
      h("span", { class: "quiet" }, "with the same Idempotency-Key: nothing happens twice"),
    ];
  }

  return { element, send };
}

// Says that a list or a record could not be read, with a button that asks again. `what` names it:
// "the orders".
export function outage(result, what, retry, isWhole) {
  const { state, word, sentence } = verdict(result, isWhole);
  return h(
    "div",
    { class: "result", role: "alert", "data-state": state },
    h(
      "p",
      {},
      h("strong", { class: "verdict" }, `${WORDS[state]}: ${word}`),
      ` Reading ${what} failed, so it is not known what is there. ${sentence}`,
    ),
    h(
      "p",
      { class: "row" },
      h("button", { type: "button", click: retry }, "Ask again"),
      xrayLink(result),
    ),
    exchange(result),
  );
}

// A new key, also where `randomUUID` is missing: on a page without TLS.
function newKey() {
  if (crypto.randomUUID) return crypto.randomUUID();
  const bytes = Array.from(crypto.getRandomValues(new Uint8Array(16)));
  return bytes.map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
