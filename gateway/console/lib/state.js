// The words and shapes for the states of services, instances and circuits, for responses and faults.

import { h, svg } from "./dom.js";
import { number } from "./format.js";

// Each state has a shape of its own, so that nobody needs to see the colour. They are drawn in a
// square of 12 by 12.
const SHAPES = {
  // A full disc: all is well.
  up: () => svg("circle", { cx: 6, cy: 6, r: 5 }),
  // Half a disc: part of it works.
  degraded: () => [
    svg("circle", { cx: 6, cy: 6, r: 4.5, class: "outline" }),
    svg("path", { d: "M6 1.5 A4.5 4.5 0 0 0 6 10.5 Z" }),
  ],
  // A ring: it takes no new requests.
  draining: () => svg("circle", { cx: 6, cy: 6, r: 4.5, class: "outline" }),
  // A triangle: it says that it cannot work.
  unavailable: () => svg("path", { d: "M6 1 L11.5 11 H0.5 Z" }),
  // A cross: it does not answer.
  down: () => svg("path", { d: "M2 2 L10 10 M10 2 L2 10", class: "outline thick" }),
};

const SAME_AS = { ejected: "unavailable", closed: "up", half_open: "degraded", open: "down" };

const SPOKEN = { half_open: "half open" };

// The word for a state: "half open".
export function stateWord(state) {
  return SPOKEN[state] ?? state ?? "unknown";
}

// The class for the colour of a state: "up", "degraded", "draining", "unavailable" or "down".
export function stateClass(state) {
  return SAME_AS[state] ?? (state in SHAPES ? state : "draining");
}

// The shape of a state, to put into an SVG.
export function stateShape(state) {
  const kind = stateClass(state);
  return svg("g", { class: `shape ${kind}` }, SHAPES[kind]());
}

// The shape and the word: ● up.
export function stateMark(state) {
  return h(
    "span",
    { class: `state ${stateClass(state)}` },
    svg("svg", { viewBox: "0 0 12 12", "aria-hidden": "true" }, stateShape(state)),
    " ",
    stateWord(state),
  );
}

// The status of a response, with a shape: ✓ 201, △ 404, ✕ 503.
export function statusMark(status) {
  if (!status) return h("span", { class: "status bad" }, "✕ none");
  if (status >= 500) return h("span", { class: "status bad" }, `✕ ${status}`);
  return status >= 400
    ? h("span", { class: "status warn" }, `△ ${status}`)
    : h("span", { class: "status good" }, `✓ ${status}`);
}

// How many faults there are: "⚠ 1 fault", or nothing.
export function faultCount(faults) {
  const count = faults?.length ?? 0;
  return count === 0 ? "" : `⚠ ${count} ${count === 1 ? "fault" : "faults"}`;
}

// A fault in words: "250 ms late, 30 % of GET /api/users/{id}".
export function faultText(fault) {
  const hits = typeof fault.share === "number" && fault.share < 1;
  const route = fault.route === "*" ? "all routes" : fault.route;
  return `${faultKind(fault)}, ${hits ? `${number(fault.share * 100)} % of ` : ""}${route}`;
}

function faultKind(fault) {
  switch (fault.kind) {
    case "latency":
      return fault.ms === undefined || fault.ms === null
        ? `${fault.from} to ${fault.to} ms late`
        : `${fault.ms} ms late`;
    case "status":
      return `answers ${fault.status}`;
    case "hang":
      return "hangs";
    case "close":
      return fault.when === "middle" ? "breaks off in the response" : "closes the connection";
    case "garbage":
      return "answers garbage";
    case "truncate":
      return "cuts the response";
    default:
      return String(fault.kind);
  }
}
