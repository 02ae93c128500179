// A trace as a waterfall: a row for each span, below the one that caused it, and its time as a bar.

import { h } from "../../lib/dom.js";
import { ms } from "../../lib/format.js";
import { facts } from "../../lib/parts.js";
import { reason, result, trouble } from "./span.js";
import { ticks, total, waterfall } from "./trace.js";

// The element for a trace.
export function waterfallChart(trace) {
  const whole = total(trace);
  const marks = ticks(whole);
  const rows = waterfall(trace).map(row);
  const chart = h(
    "div",
    { class: "waterfall" },
    axis(marks, whole),
    h("ol", { class: "list", "aria-label": "Spans, in the order in which they were caused" }, rows),
  );
  set(chart, { "--step": percent(marks[1] / whole || 1) });
  return h("div", {}, legend(), chart);
}

function axis(marks, whole) {
  const label = (at) => set(h("span", {}, ms(at)), { "--start": percent(at / whole) });
  // The last one would stick out.
  const fit = marks.filter((at) => at / whole < 0.85);
  return h(
    "div",
    { class: "axis", "aria-hidden": "true" },
    h("div", { class: "track" }, fit.map(label)),
  );
}

function row({ span, from, width, way }) {
  const kind = trouble(span);
  const bar = h("span", { class: `bar ${span.kind} ${kind}` });
  set(bar, { "--start": percent(from), "--width": percent(width) });
  const line = way && h("span", { class: "way" });
  if (line) set(line, { "--start": percent(way.from), "--width": percent(way.width) });
  const who = h("span", { class: "who" }, name(span), " ", tags(span));
  set(who, { "--depth": String(Math.min(span.depth, 12)) });
  return h(
    "li",
    {},
    h(
      "details",
      {},
      h(
        "summary",
        {},
        who,
        h("span", { class: "track", "aria-hidden": "true" }, line, bar),
        h("span", { class: "took figure" }, span.attributes.notMade ? "–" : ms(span.durationMs)),
        h("span", { class: `came ${kind}` }, `${shape(kind)}${result(span)}`),
      ),
      about(span),
    ),
  );
}

function name(span) {
  return span.kind === "client"
    ? [
      h("span", { "aria-hidden": "true" }, "→ "),
      h("span", { class: "unseen" }, "call to "),
      span.attributes.dependency,
    ]
    : [h("strong", {}, span.service), ` ${span.name}`];
}

function tags({ attributes, concurrent, kind, parentMissing, shiftedMs }) {
  const all = [
    attributes.attempt > 1 && `↻ attempt ${attributes.attempt}`,
    concurrent && kind === "client" && "∥ at the same time",
    attributes.circuit && attributes.circuit !== "closed" && `◐ circuit ${attributes.circuit.replace("_", "-")}`,
    parentMissing && "⚠ cause missing",
    shiftedMs !== 0 && "◷ clock corrected",
  ];
  return all.filter(Boolean).map((text) => h("span", { class: "tag" }, text));
}

function shape(kind) {
  return { none: "", refused: "△ ", failed: "✕ ", notMade: "✕ " }[kind];
}

// All that is known about a span.
function about(span) {
  const { failure, notMade, ...attributes } = span.attributes;
  return facts([
    ["service", span.service],
    ["begins", `${ms(span.offsetMs)} after the first`],
    ["takes", ms(span.durationMs)],
    ["status", span.status],
    ["failure", failure && reason(failure)],
    ["not made", notMade && reason(notMade)],
    [
      "way",
      span.gapMs === null ? null : `${ms(span.gapMs)} of the call pass outside of this service`,
    ],
    ["clock", span.shiftedMs === 0 ? null : `moved by ${ms(span.shiftedMs)}`],
    ...Object.entries(attributes),
    ["span", span.spanId],
    ["caused by", span.parentId],
  ]);
}

function legend() {
  const sample = (kind, text) => h(
    "li",
    {},
    h("span", { class: `bar ${kind}`, "aria-hidden": "true" }),
    ` ${text}`,
  );
  return h(
    "ul",
    { class: "key" },
    sample("server none", "a service works"),
    sample("client none", "a call, as its caller sees it"),
    h("li", {}, h("span", { class: "way", "aria-hidden": "true" }), " the way there and back"),
    sample("server failed", "failed"),
    sample("client notMade", "not made"),
  );
}

function percent(share) {
  return `${share * 100}%`;
}

function set(element, variables) {
  for (const [name, value] of Object.entries(variables)) element.style.setProperty(name, value);
  return element;
}
