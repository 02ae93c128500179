// The result of a run: measurements, the answer, and whether it is still true.

import { h } from "../../lib/dom.js";
import { ms, number, percent, rate } from "../../lib/format.js";
import { scroller } from "../../lib/parts.js";

const MEASURES = [
  ["requestRate", "Requests", rate],
  ["errorShare", "Errors", percent],
  ["p50Ms", "Half are faster than", ms],
  ["p99Ms", "99 % are faster than", ms],
];

// The elements for a run, as far as it is.
export function result(run, choices) {
  return [
    run.phases?.length > 0 && measurements(run.phases),
    run.answer && answer(run, choices),
    run.assertions?.length > 0 && assertions(run.assertions),
  ];
}

// A column for each phase, and how the last differs from the first.
function measurements(phases) {
  const names = (part) => [...new Set(phases.flatMap((phase) => Object.keys(phase[part] ?? {})))];
  const rows = [
    ...MEASURES.map(([name, text, show]) => row(text, phases.map((phase) => phase[name]), show)),
    ...names("outcomes").map((name) =>
      row(`Answers: ${name}`, phases.map((phase) => phase.outcomes[name] ?? 0), count),
    ),
    ...names("counts").map((name) =>
      row(name.replaceAll("_", " "), phases.map((phase) => phase.counts?.[name]), count),
    ),
  ];
  const head = (text) => h("th", { scope: "col", class: "figure" }, text);
  return scroller(
    "Measurements",
    h(
      "table",
      { class: "measures" },
      h("caption", {}, "Measured in each phase, and how the last differs from the first"),
      h(
        "thead",
        {},
        h(
          "tr",
          {},
          h("td"),
          phases.map(({ phase }) => head(phase)),
          head("Change"),
        ),
      ),
      h("tbody", {}, rows),
    ),
  );
}

function row(text, values, show) {
  const cell = (content) => h("td", { class: "figure" }, content);
  return h(
    "tr",
    {},
    h("th", { scope: "row" }, text),
    values.map((value) => cell(show(value))),
    cell(values.length > 1 ? change(values[0], values.at(-1)) : "–"),
  );
}

// A count, or whatever else a scenario reads from a store.
function count(value) {
  if (typeof value !== "number") return String(value ?? "–");
  return number(value, Number.isInteger(value) ? 0 : 2);
}

// How a number has changed: "▲ × 3.2", "▲ 2 from 0", "same".
function change(before, after) {
  if (typeof before !== "number" || typeof after !== "number") return "–";
  if (before === after) return "same";
  const sign = after > before ? "▲" : "▼";
  if (before <= 0 || after <= 0) return after > before ? `${sign} from 0` : `${sign} to 0`;
  const factor = after > before ? after / before : before / after;
  if (factor < 1.1) return "about the same";
  return after > before ? `${sign} × ${number(factor, 1)}` : `${sign} ÷ ${number(factor, 1)}`;
}

function answer({ choice, answer, why }, choices) {
  const isRight = choice === answer;
  const said = choice
    ? isRight
      ? "✓ You were right."
      : `✕ You predicted ${choice}: ${choices[choice - 1]}.`
    : "The answer:";
  return h(
    "section",
    {
      class: "result",
      "data-state": choice && !isRight ? "refused" : "done",
      "aria-label": "The answer",
    },
    h("p", {}, h("strong", { class: "verdict" }, said), ` It is ${answer}: ${choices[answer - 1]}`),
    String(why ?? "").trim().split(/\n\s*\n/).map((paragraph) => h("p", {}, paragraph)),
  );
}

function assertions(all) {
  const one = ({ text, holds, saw }) =>
    h(
      "li",
      {},
      h(
        "span",
        { class: holds ? "status good" : "status bad" },
        holds ? "✓ holds" : "✕ does not hold",
      ),
      h("span", {}, text, h("span", { class: "quiet" }, ` (saw ${saw})`)),
    );
  return h(
    "section",
    { "aria-label": "What was checked" },
    h("h3", {}, "What was checked in this run"),
    h("ul", { class: "list checks" }, all.map(one)),
  );
}
