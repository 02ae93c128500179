// A chart of lines over the last 15 minutes, as an SVG with axes. Lines differ by their dashes and
// have their names at their ends, so that nobody needs to see a colour.

import { h, replace, setText, svg } from "./dom.js";
import { time } from "./format.js";
import { SPAN, STEP } from "./stream.js";

// Samples further apart than this are not joined: what was between them is not known.
const GAP = 3 * STEP + 1_000;

const WIDTH = 400;
const HEIGHT = 150;
const LEFT = 52;
const TOP = 10;
const BOTTOM = HEIGHT - 22;

// The distance between the names of two lines, at least.
const APART = 14;

const LOOKS = ["solid", "dashed", "dotted"];

// Makes a chart.
//
// `lines` is a list of { name, value }, where `value(sample)` is a number or null; `text(number)`
// says a value and `mark(number)` one at the axis; `least` is the lowest top of the scale.
// `pick(moment)` is called with what the pointer is at, and with null when it leaves.
export function chart({ title, lines, text, mark, least, pick }) {
  // Several lines have their names at the right.
  const right = WIDTH - (lines.length > 1 ? 88 : 16);
  const grid = svg("g", { class: "grid" });
  const curves = svg("g", {});
  const names = svg("g", { class: "names" });
  const cursor = svg("g", { class: "cursor" });
  const picture = svg(
    "svg",
    { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img" },
    grid,
    curves,
    names,
    cursor,
  );
  const values = lines.map(() => h("span", { class: "value" }));
  const caption = h(
    "figcaption",
    {},
    h("strong", {}, title),
    lines.map((line, place) => h("span", {}, lines.length > 1 && `${line.name} `, values[place])),
  );
  let end = 0;
  picture.addEventListener("pointermove", (event) => {
    const box = picture.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * WIDTH;
    const ago = Math.min(1, Math.max(0, (right - x) / (right - LEFT))) * SPAN;
    pick(end - ago);
  });
  picture.addEventListener("pointerleave", () => pick(null));

  // Draws `samples`, which have a `moment`, and the values at one of them.
  function update(samples, at) {
    end = samples.at(-1).moment;
    const series = lines.map(({ value }) => samples.map((sample) => known(value(sample))));
    const top = roundTop(Math.max(least, ...series.flat().filter((one) => one !== null)));
    const x = (moment) => right - ((end - moment) / SPAN) * (right - LEFT);
    const y = (value) => BOTTOM - (value / top) * (BOTTOM - TOP);
    drawGrid(grid, right, top, mark);
    replace(curves, series.map((list, place) => curve(list, samples, LOOKS[place], x, y)));
    replace(names, lines.length > 1 && nameLines(lines, series, right, y));
    const read = series.map((list) => list[at]);
    read.forEach((value, place) => setText(values[place], text(value)));
    replace(
      cursor,
      svg("line", { x1: x(samples[at].moment), x2: x(samples[at].moment), y1: TOP, y2: BOTTOM }),
      read.map((value) => value !== null && svg("circle", { cx: x(samples[at].moment), cy: y(value), r: 3.5 })),
    );
    const said = lines.map(({ name }, place) => `${name} ${text(read[place])}`);
    picture.setAttribute("aria-label", `${title} at ${time(samples[at].moment)}: ${said.join(", ")}`);
  }
  return { element: h("figure", { class: "chart" }, caption, picture), update };
}

function known(value) {
  return Number.isFinite(value) ? value : null;
}

// The next of 1, 2, 5, 10, 20, …
function roundTop(most) {
  const power = 10 ** Math.floor(Math.log10(most));
  return [1, 2, 5, 10].map((factor) => factor * power).find((top) => top >= most);
}

function drawGrid(grid, right, top, mark) {
  if (grid.dataset.top === String(top)) return;
  grid.dataset.top = top;
  const levels = [0, top / 2, top].map((value) => {
    const y = BOTTOM - (value / top) * (BOTTOM - TOP);
    return [
      svg("line", { x1: LEFT, x2: right, y1: y, y2: y }),
      svg("text", { x: LEFT - 5, y: y + 4, "text-anchor": "end" }, mark(value)),
    ];
  });
  const minutes = [15, 10, 5, 0].map((ago) => {
    const x = right - ((ago * 60_000) / SPAN) * (right - LEFT);
    const label = ago === 0 ? "now" : `−${ago} min`;
    return [
      svg("line", { x1: x, x2: x, y1: BOTTOM, y2: BOTTOM + 4 }),
      svg("text", { x, y: BOTTOM + 17, "text-anchor": ago === 15 ? "start" : "middle" }, label),
    ];
  });
  replace(grid, levels, minutes);
}

function curve(values, samples, look, x, y) {
  let path = "";
  let last = null;
  values.forEach((value, place) => {
    if (value === null) return;
    const moment = samples[place].moment;
    const joins = last !== null && values[last] !== null && moment - samples[last].moment <= GAP;
    path += `${joins ? "L" : "M"}${x(moment).toFixed(1)} ${y(value).toFixed(1)}`;
    // A single sample is a dot.
    if (!joins) path += "h0.1";
    last = place;
  });
  return svg("path", { class: `curve ${look}`, d: path });
}

// The names at the ends of the lines, far enough from each other to be read.
function nameLines(lines, series, right, y) {
  const ends = lines.map(({ name }, place) => {
    const last = series[place].findLast((value) => value !== null);
    return last === undefined ? null : { name, place, y: y(last) };
  });
  const there = ends.filter(Boolean).sort((a, b) => b.y - a.y);
  let below = BOTTOM + APART;
  for (const end of there) {
    end.y = Math.min(end.y, below - APART);
    below = end.y;
  }
  return there.map(({ name, place, y: height }) => [
    svg("line", { class: `curve ${LOOKS[place]}`, x1: right + 4, x2: right + 20, y1: height, y2: height }),
    svg("text", { x: right + 23, y: height + 4 }, name),
  ]);
}
