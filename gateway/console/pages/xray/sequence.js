// A trace as a sequence diagram: a column for each participant, and a row for each message. It is
// a grid of text, not a picture, so that it can be read at any width.

import { h } from "../../lib/dom.js";
import { ms } from "../../lib/format.js";
import { scroller } from "../../lib/parts.js";
import { trouble } from "./span.js";
import { sequence } from "./trace.js";

// The element for a trace.
export function sequenceDiagram(trace) {
  const { participants, steps } = sequence(trace);
  const diagram = h(
    "div",
    { class: "sequence" },
    h(
      "ul",
      { class: "heads", "aria-label": "Participants" },
      participants.map((name) => h("li", {}, short(name))),
    ),
    h("div", { class: "lines", "aria-hidden": "true" }, participants.map(() => h("span"))),
    h(
      "ol",
      { class: "list", "aria-label": "Messages, in time" },
      steps.map((step) => row(step, participants)),
    ),
  );
  diagram.style.setProperty("--count", String(participants.length));
  return h(
    "div",
    {},
    h(
      "p",
      { class: "quiet" },
      "A solid arrow is a request, a dashed one a response, a dotted one with ✕ got nowhere.",
    ),
    scroller("Sequence diagram", diagram),
  );
}

function row({ kind, atMs, from, to, text, span }, participants) {
  const [start, end] = [participants.indexOf(from), participants.indexOf(to)];
  const [left, right] = [Math.min(start, end), Math.max(start, end)];
  // The text begins where the arrow does, if there is room; else it ends there.
  const isRight = participants.length - 1 - left >= 2;
  // A request is well even if its response is not.
  const how = kind === "request" ? "none" : trouble(span);
  const label = h(
    "span",
    { class: `label ${how}` },
    h("span", {}, h("span", { class: "quiet" }, ms(atMs)), ` ${SHAPES[kind]}${text}`),
  );
  label.style.gridColumn = isRight ? `${line(left)} / -1` : `1 / ${line(right)}`;
  label.style.textAlign = isRight ? "left" : "right";
  const arrow = h(
    "span",
    { class: `message ${kind} ${end >= start ? "right" : "left"} ${how}`, "aria-hidden": "true" },
  );
  const stopsShort = kind === "notMade" || left === right;
  arrow.style.gridColumn = `${line(left)} / ${stopsShort ? "span 1" : line(right)}`;
  return h("li", {}, h("span", { class: "unseen" }, spoken(kind, from, to)), label, arrow);
}

const SHAPES = { request: "", response: "", lost: "✕ ", notMade: "✕ ", late: "⚠ " };

// Each participant has two columns; its line is between them.
function line(place) {
  return place * 2 + 2;
}

function spoken(kind, from, to) {
  if (kind === "late") return `${from}: `;
  return kind === "lost" ? `${to} gets nothing from ${from}: ` : `${from} to ${to}: `;
}

// The name of a service, which may be broken at a soft hyphen.
function short(name) {
  const whole = name.replace("-service", "");
  return whole.replace("notification", "notifi\u00ADcation").replace("analytics", "ana\u00ADlytics");
}
