// The map: who calls whom, how much, and how it goes; beside it, the requests that ended last.

import { h, replace, setText } from "../lib/dom.js";
import { money, ms, number, percent, rate, share, time } from "../lib/format.js";
import { stateMark, stateWord, statusMark } from "../lib/state.js";
import { keyOf, subscribe } from "../lib/stream.js";
import { drawing } from "./map/drawing.js";
import { followPanel } from "./map/follow.js";

export const title = "Map";

// So many of the latest requests are shown.
const SHOWN = 14;

export function mount(root) {
  const map = drawing();
  const cards = h("ul", { class: "list cards live-data" });
  const calls = h("tbody", {});
  const orders = h("p", { class: "quiet live-data" });
  const recent = recentRequests();
  const follow = followPanel(map);
  replace(
    root,
    h(
      "div",
      { class: "columns" },
      h("section", { "aria-label": "Services and calls" }, orders, map.element, cards, legend(), table(calls)),
      h("div", { class: "aside" }, follow.element, recent.element),
    ),
  );
  const unsubscribe = subscribe((state) => {
    if (!state.tick) return;
    map.update(state.tick);
    setText(orders, ordersText(state.tick.orders));
    updateCards(cards, state.tick);
    replace(calls, state.tick.edges.map(callRow));
    recent.update(state.recent);
  });
  return () => {
    unsubscribe();
    follow.stop();
  };
}

function ordersText(orders) {
  if (!orders) return "Orders: not known yet, or order-service does not answer.";
  const { total, cancelled, revenue } = orders;
  return `Orders: ${number(total)}, of which ${number(cancelled)} cancelled. Revenue: ${money(revenue)}.`;
}

// For a narrow page: the same as in the drawing, one below the other.
function updateCards(list, { services, edges }) {
  const card = (service) => {
    const { name, status, requestRate, errorRate, p99Ms, instances } = service;
    const outgoing = edges.filter((edge) => edge.from === name);
    return h(
      "li",
      { class: "panel" },
      h("p", { class: "row" }, h("strong", {}, name), stateMark(status)),
      h(
        "p",
        {},
        `${rate(requestRate)}, ${percent(share(errorRate, requestRate))} errors, p99 ${ms(p99Ms)}`,
        instances && `, ${instancesText(instances)}`,
      ),
      outgoing.length > 0 && h("ul", { class: "list quiet" }, outgoing.map(callLine)),
    );
  };
  replace(list, services.map(card));
}

function callLine({ to, callRate, failureRate, retryRate, notMadeRate, circuit }) {
  const trouble = [
    failureRate > 0 && `${rate(failureRate)} fail`,
    retryRate > 0 && `${rate(retryRate)} retries`,
    notMadeRate > 0 && `${rate(notMadeRate)} not made`,
    circuit && circuit !== "closed" && `circuit ${stateWord(circuit)}`,
  ].filter(Boolean);
  return h(
    "li",
    {},
    `→ ${to} ${rate(callRate)} `,
    trouble.length > 0 && h("span", { class: "bad" }, `✕ ${trouble.join(", ")}`),
  );
}

// "2 of 3 instances up".
export function instancesText(instances) {
  const up = instances.filter((one) => one.state === "up").length;
  return `${up} of ${instances.length} ${instances.length === 1 ? "instance" : "instances"} up`;
}

function table(body) {
  const figure = (text) => h("th", { scope: "col", class: "figure" }, text);
  return h(
    "details",
    {},
    h("summary", {}, "All calls as a table"),
    h(
      "div",
      { class: "scroll", tabindex: 0, role: "group", "aria-label": "All calls" },
      h(
        "table",
        {},
        h("caption", {}, "Calls of one service to another in the last seconds"),
        h(
          "thead",
          {},
          h(
            "tr",
            {},
            h("th", { scope: "col" }, "Call"),
            ["calls", "failures", "retries", "not made", "p50", "p95", "p99"].map(figure),
            h("th", { scope: "col" }, "Circuit"),
          ),
        ),
        body,
      ),
    ),
  );
}

function callRow(edge) {
  const rates = [edge.callRate, edge.failureRate, edge.retryRate, edge.notMadeRate].map(rate);
  const times = [edge.p50Ms, edge.p95Ms, edge.p99Ms].map(ms);
  return h(
    "tr",
    {},
    h("th", { scope: "row" }, `${edge.from} → ${edge.to}`),
    [...rates, ...times].map((text) => h("td", { class: "figure" }, text)),
    h("td", {}, edge.circuit ? stateMark(edge.circuit) : "none"),
  );
}

function legend() {
  const lines = [
    ["thin", "few calls"],
    ["wide", "many calls"],
    ["failing", "✕ calls fail"],
    ["open", "circuit open: not called"],
  ];
  return h(
    "p",
    { class: "legend quiet" },
    lines.map(([look, text]) =>
      h("span", {}, h("span", { class: `line ${look}`, "aria-hidden": "true" }), text),
    ),
    h("span", {}, "↻ retries"),
    h("span", {}, "⊘ not made"),
    h("span", {}, "Numbers are of the last seconds."),
  );
}

// The list of the requests that ended last. It stands still while somebody is about to click in it.
function recentRequests() {
  const list = h("ol", { class: "list recent live-data" });
  const none = h("p", { class: "quiet" }, "Nothing yet: requests show here as they end.");
  const rows = new Map();
  const update = (recent) => {
    if (list.matches(":hover, :focus-within")) return;
    none.hidden = recent.length > 0;
    const shown = recent.slice(0, SHOWN);
    const keys = new Set(shown.map(keyOf));
    for (const [key, row] of rows) {
      if (!keys.has(key)) {
        row.remove();
        rows.delete(key);
      }
    }
    for (const one of shown.toReversed()) {
      const key = keyOf(one);
      if (rows.has(key)) continue;
      rows.set(key, requestRow(one));
      list.prepend(rows.get(key));
    }
  };
  const element = h("section", { class: "panel" }, h("h2", {}, "Latest requests"), none, list);
  return { element, update };
}

function requestRow({ requestId, traceId, name, service, status, durationMs, start }) {
  const words = `${name}${service === "gateway" ? "" : ` (${service})`}`;
  return h(
    "li",
    {},
    h("time", { class: "quiet", datetime: start }, time(start)),
    h("a", { href: `#/xray/${encodeURIComponent(requestId ?? traceId)}` }, words),
    statusMark(status),
    h("span", { class: "figure quiet" }, ms(durationMs)),
  );
}
