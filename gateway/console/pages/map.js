// The map: who calls whom, how much, and how it goes; beside it, the requests that ended last.

import { h, replace, setText } from "../lib/dom.js";
import { money, ms, number, percent, rate, share, time } from "../lib/format.js";
import { panel, scroller } from "../lib/parts.js";
import { faultCount, stateMark, stateWord, statusMark } from "../lib/state.js";
import { keyOf, subscribe } from "../lib/stream.js";
import { drawing } from "./map/drawing.js";
import { followPanel } from "./map/follow.js";

export const title = "Map";

// So many of the latest requests are shown.
const SHOWN = 14;

export function mount(root) {
  const map = drawing();
  const cards = serviceCards();
  const calls = h("tbody", {});
  const orders = h("p", { class: "quiet live-data" });
  const recent = recentRequests();
  const follow = followPanel(map);
  replace(
    root,
    h(
      "div",
      { class: "columns" },
      h("section", { "aria-label": "Services and calls" }, orders, map.element, cards.element, legend(), table(calls)),
      h("div", { class: "aside" }, follow.element, recent.element),
    ),
  );
  const unsubscribe = subscribe((state) => {
    if (!state.tick) return;
    map.update(state.tick);
    setText(orders, ordersText(state.tick.orders));
    cards.update(state.tick);
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
function serviceCards() {
  const cards = new Map();
  const element = h("ul", { class: "list cards live-data" });
  const update = ({ services, edges }) => {
    for (const service of services) {
      const { name } = service;
      if (!cards.has(name)) {
        cards.set(name, serviceCard(name));
        element.append(cards.get(name).element);
      }
      cards.get(name).update(service, edges.filter((edge) => edge.from === name));
    }
  };
  return { element, update };
}

// Its link stays when the rest changes, so that it keeps the focus.
function serviceCard(name) {
  const state = h("span", { class: "row" });
  const content = h("div");
  const update = ({ status, requestRate, errorRate, p99Ms, instances, faults }, outgoing) => {
    const count = faultCount(faults);
    replace(state, stateMark(status), count && h("strong", { class: "status warn" }, count));
    replace(
      content,
      h(
        "p",
        {},
        `${rate(requestRate)}, ${percent(share(errorRate, requestRate))} errors, p99 ${ms(p99Ms)}`,
        instances && `, ${instancesText(instances)}`,
      ),
      outgoing.length > 0 && h("ul", { class: "list quiet" }, outgoing.map(callLine)),
    );
  };
  const link = h("a", { href: `#/services/${name}` }, name);
  const element = h("li", { class: "panel" }, h("p", { class: "row" }, h("strong", {}, link), state), content);
  return { element, update };
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
function instancesText(instances) {
  const up = instances.filter((one) => one.state === "up").length;
  return `${up} of ${instances.length} ${instances.length === 1 ? "instance" : "instances"} up`;
}

function table(body) {
  const figure = (text) => h("th", { scope: "col", class: "figure" }, text);
  return h(
    "details",
    {},
    h("summary", {}, "All calls as a table"),
    scroller(
      "All calls",
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

// The list of the requests that ended last. It does not change while the pointer or the focus is in it.
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
  return { element: panel("Latest requests", none, list), update };
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
