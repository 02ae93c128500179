// X-rays: the latest requests, and one with all its calls, as #/xray/<id> and
// #/xray/<id>/sequence. The id is that of the trace or of the request.

import { outage } from "../lib/action.js";
import { request } from "../lib/api.js";
import { h, replace } from "../lib/dom.js";
import { command, exchange } from "../lib/exchange.js";
import { keepFocus } from "../lib/focus.js";
import { dateTime, ms } from "../lib/format.js";
import { tabs } from "../lib/parts.js";
import { place } from "../lib/place.js";
import { latest, searchForm } from "./xray/latest.js";
import { sequenceDiagram } from "./xray/sequence.js";
import { isTrace } from "./xray/span.js";
import { findings } from "./xray/trace.js";
import { waterfallChart } from "./xray/waterfall.js";

export const title = "X-ray";

const VIEWS = [
  { name: null, title: "Waterfall", draw: waterfallChart },
  { name: "sequence", title: "Sequence", draw: sequenceDiagram },
];

export function mount(root, [id, name = null]) {
  if (id === undefined) return latest(root);
  const view = VIEWS.find((one) => one.name === name) ?? VIEWS[0];
  const content = h("div", {}, h("p", { role: "status" }, "Asking the services …"));
  const load = async () => {
    const result = await request("GET", `/api/analytics/traces/${encodeURIComponent(id)}`);
    keepFocus(content, () => replace(content, shown(result)));
  };
  const shown = (result) => {
    if (result.ok && isTrace(result.body)) return [one(id, view, result.body, load), exchange(result)];
    if (result.status === 404) return [unknown(id, result, load), exchange(result)];
    return outage(result, "the trace", load, isTrace);
  };
  replace(
    root,
    h("div", { class: "row" }, h("a", { href: "#/xray" }, "← the latest requests"), searchForm()),
    content,
  );
  load();
}

function unknown(id, { error }, load) {
  return h(
    "div",
    { class: "sentence", role: "alert" },
    h("p", {}, `No service has spans of “${id}”. ${error}.`),
    h(
      "p",
      {},
      "Each service keeps its latest 4,096 spans, until it stops or is reset. ",
      h("button", { type: "button", click: load }, "Ask again"),
    ),
  );
}

function one(id, view, trace, load) {
  const root = trace.spans.find(({ parentId }) => parentId === null) ?? trace.spans[0];
  const services = [...new Set(trace.spans.map(({ service }) => service))];
  const tab = (one) => [place(one.name ? ["xray", id, one.name] : ["xray", id]), one.title, one === view];
  return h(
    "div",
    {},
    h("h2", {}, `${root.name} → ${root.status ?? "no response"}, ${ms(trace.durationMs)}`),
    h(
      "p",
      { class: "quiet" },
      `${counted(trace.spans.length, "span")} of ${counted(services.length, "service")}, from ${dateTime(trace.start)}. Request `,
      h("code", {}, trace.requestId),
      ", trace ",
      h("code", {}, trace.traceId),
      ". ",
      createdLink(trace),
      h("button", { type: "button", click: load }, "Read again"),
    ),
    notes(findings(trace)),
    tabs("Drawing", VIEWS.map(tab)),
    view.draw(trace),
    h("h3", {}, "In the terminal"),
    command(`scripts/xray.sh ${trace.traceId}`),
  );
}

// What the request made, such as "/api/orders/7", in the shop.
function createdLink({ spans }) {
  const path = spans.find(({ attributes }) => attributes.created)?.attributes.created;
  if (!path?.startsWith("/api/")) return null;
  return ["It made ", h("a", { href: path.replace("/api/", "#/shop/") }, path), ". "];
}

function counted(count, noun) {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}

// The shape of what is to notice.
const SHAPES = {
  incomplete: "⚠",
  retry: "↻",
  notMade: "✕",
  failed: "✕",
  circuit: "◐",
  concurrent: "∥",
  late: "…",
  gap: "↔",
  clock: "◷",
};

function notes(found) {
  if (found.length === 0) return h("p", {}, "Nothing to notice: each call was made once, and succeeded.");
  return h(
    "ul",
    { class: "notes", "aria-label": "What to notice" },
    found.map(({ kind, text }) =>
      h(
        "li",
        { class: kind },
        h("span", { "aria-hidden": "true" }, SHAPES[kind]),
        h("span", {}, text),
      ),
    ),
  );
}
