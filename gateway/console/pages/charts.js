// Charts of the last 15 minutes: of each service, of each call, and of the orders.

import { chart } from "../lib/chart.js";
import { h, replace, setText } from "../lib/dom.js";
import { compact, money, ms, number, percent, rate, share, time } from "../lib/format.js";
import { scroller, tabs } from "../lib/parts.js";
import { SPAN, STEP, subscribe } from "../lib/stream.js";

export const title = "Charts";

// What the address says after #/charts.
const VIEWS = [
  ["services", "Services"],
  ["calls", "Calls"],
  ["orders", "Orders"],
];

// How a number is written at an axis.
const MARKS = {
  rate: (value) => `${compact(value)}/s`,
  percent: (value) => `${compact(value * 100)} %`,
  ms: (value) => `${compact(value)} ms`,
  plain: compact,
};

const LATENCY = {
  title: "Latency",
  text: ms,
  mark: MARKS.ms,
  least: 1,
  lines: [["p50", "p50Ms"], ["p95", "p95Ms"], ["p99", "p99Ms"]],
};

// The charts of a service: the values are those of its sample.
const OF_SERVICE = [
  { title: "Requests", text: rate, mark: MARKS.rate, least: 1, lines: [["requests", "requestRate"]] },
  {
    title: "Errors (5xx)",
    text: percent,
    mark: MARKS.percent,
    least: 0.01,
    lines: [["errors", (one) => share(one.errorRate, one.requestRate)]],
  },
  LATENCY,
];

// The charts of a call from one service to another.
const OF_CALL = [
  {
    title: "Calls",
    text: rate,
    mark: MARKS.rate,
    least: 1,
    lines: [["calls", "callRate"], ["retries", "retryRate"], ["not made", "notMadeRate"]],
  },
  {
    title: "Failures",
    text: percent,
    mark: MARKS.percent,
    least: 0.01,
    lines: [["failures", (one) => share(one.failureRate, one.callRate)]],
  },
  LATENCY,
];

const OF_ORDERS = [
  {
    title: "Orders",
    text: (value) => number(value),
    mark: MARKS.plain,
    least: 10,
    lines: [["all", "total"], ["confirmed", "confirmed"], ["cancelled", "cancelled"]],
  },
  { title: "Revenue", text: money, mark: MARKS.plain, least: 100, lines: [["revenue", "revenue"]] },
];

// `parts` is a view, or "services" and the name of one: then its calls are shown too.
export function mount(root, [view = "services", name]) {
  const missing = (what) => {
    const back = h("a", { href: "#/charts" }, "All charts");
    replace(root, viewTabs(), h("p", { class: "sentence", role: "alert" }, `There is no ${what}. `, back));
  };
  if (!VIEWS.some(([key]) => key === view)) return missing(`view called ${view}`);
  const subjects = h("div", { class: "live-data" });
  const waiting = h("p", { class: "quiet" }, "Waiting for the first sample …");
  const clock = clockOf(() => draw());
  replace(root, viewTabs(view, name), clock.element, waiting, subjects);
  const shown = new Map();
  let samples = [];
  let drawn = 0;

  // All charts for a new sample; in between, those that can be seen.
  function draw() {
    if (samples.length === 0 || document.hidden) return;
    const at = clock.update(samples);
    const isNew = samples.at(-1).moment - drawn >= STEP;
    if (isNew) drawn = samples.at(-1).moment;
    for (const subject of shown.values()) {
      if (isNew || isInView(subject.element)) subject.update(samples, at);
    }
  }

  function addNew(tick) {
    for (const [key, subject] of subjectsOf(view, name, tick)) {
      if (shown.has(key)) continue;
      shown.set(key, subjectCharts(subject, clock.pick));
      subjects.append(shown.get(key).element);
      drawn = 0;
    }
  }

  return subscribe(({ tick, past }) => {
    if (!tick) return;
    if (name && !tick.services.some((one) => one.name === name)) {
      // Only once, because it is read aloud.
      if (subjects.isConnected) missing(`service called ${name}`);
      return;
    }
    waiting.hidden = true;
    const last = past.at(-1);
    const all = last && last.at < tick.at ? [...past, tick] : past;
    samples = all.map((sample) => ({ ...sample, moment: Date.parse(sample.at) }));
    addNew(tick);
    draw();
  });
}

function isInView(element) {
  const { top, bottom } = element.getBoundingClientRect();
  return bottom > 0 && top < innerHeight;
}

function viewTabs(view, name) {
  return tabs("Charts", VIEWS.map(([key, label]) => [`#/charts/${key}`, label, key === view && !name]));
}

// What there is to draw in a view: the key of each, with its title and how to find it in a sample.
function subjectsOf(view, name, tick) {
  if (view === "orders") {
    return [["orders", { title: "Orders", charts: OF_ORDERS, find: (sample) => sample.orders }]];
  }
  const services = tick.services.filter((one) => !name || one.name === name);
  const touches = ({ from, to }) => !name || from === name || to === name;
  const ofServices = services.map((service) => [service.name, serviceSubject(service.name)]);
  const ofCalls = tick.edges.filter(touches).map(({ from, to }) => [`${from} ${to}`, callSubject(from, to)]);
  if (view === "calls") return ofCalls;
  return name ? [...ofServices, ...ofCalls] : ofServices;
}

function serviceSubject(name) {
  return {
    title: name,
    link: `#/charts/services/${name}`,
    charts: OF_SERVICE,
    find: (sample) => sample.services.find((one) => one.name === name),
  };
}

function callSubject(from, to) {
  return {
    title: `${from} → ${to}`,
    charts: OF_CALL,
    find: (sample) => sample.edges.find((one) => one.from === from && one.to === to),
  };
}

// A heading, the charts side by side, and the table behind them.
function subjectCharts({ title: name, link, charts, find }, pick) {
  const columns = charts.flatMap(({ text, lines, title: group }) =>
    lines.map(([label, value]) => ({
      label,
      group,
      text,
      value: (sample) => valueOf(find(sample), value),
    })),
  );
  const drawn = charts.map(({ title: group, text, mark, least }) =>
    chart({
      title: group,
      text,
      mark,
      least,
      pick,
      lines: columns.filter((one) => one.group === group).map(({ label, value }) => ({ name: label, value })),
    }),
  );
  const table = tableOf(name, columns);
  const element = h(
    "section",
    { class: "subject", "aria-label": name },
    h("h2", {}, link ? h("a", { href: link }, name) : name),
    h("div", { class: "charts" }, drawn.map((one) => one.element)),
    table.element,
  );
  const update = (samples, at) => {
    for (const one of drawn) one.update(samples, at);
    table.update(samples);
  };
  return { element, update };
}

// `value` is the name of a field, or a function.
function valueOf(found, value) {
  if (!found) return null;
  return (typeof value === "function" ? value(found) : found[value]) ?? null;
}

// The same numbers as a table. It is made only while it is open.
function tableOf(name, columns) {
  const body = h("tbody", {});
  let latest = [];
  let end = null;
  const fill = () => {
    if (!element.open || end === latest.at(-1)?.at) return;
    end = latest.at(-1)?.at;
    replace(body, latest.toReversed().map((sample) => row(sample, columns)));
  };
  const head = h(
    "tr",
    {},
    h("th", { scope: "col" }, "Time"),
    columns.map(({ label }) => h("th", { scope: "col", class: "figure" }, label)),
  );
  const element = h(
    "details",
    { toggle: fill },
    h("summary", {}, "Table"),
    scroller(
      `Table of ${name}`,
      h("table", {}, h("caption", {}, `${name}, the newest first`), h("thead", {}, head), body),
    ),
  );
  const update = (samples) => {
    // A sample each five seconds; the one of this second comes and goes.
    latest = samples.filter((sample) => !sample.recent);
    fill();
  };
  return { element, update };
}

function row(sample, columns) {
  return h(
    "tr",
    {},
    h("th", { scope: "row" }, time(sample.moment)),
    columns.map(({ value, text }) => h("td", { class: "figure" }, text(value(sample)))),
  );
}

// The moment at which all charts are read: the newest, or the one at the pointer or the slider.
function clockOf(changed) {
  const steps = SPAN / STEP;
  const slider = h("input", { type: "range", id: "moment", min: 0, max: steps, value: steps, input: () => changed() });
  const said = h("span", {});
  let pointed = null;
  const element = h(
    "p",
    { class: "row moment" },
    h("label", { for: "moment" }, "Values at"),
    slider,
    said,
  );
  // The place of the sample at this moment.
  const update = (samples) => {
    const end = samples.at(-1).moment;
    const wanted = pointed ?? end - (steps - Number(slider.value)) * STEP;
    const distance = (sample) => Math.abs(sample.moment - wanted);
    const at = samples.reduce((best, one, place) => (distance(one) < distance(samples[best]) ? place : best), 0);
    const isNewest = at === samples.length - 1;
    const text = `${time(samples[at].moment)}${isNewest ? ", the newest" : ""}`;
    setText(said, text);
    slider.setAttribute("aria-valuetext", text);
    return at;
  };
  const pick = (moment) => {
    pointed = moment;
    changed();
  };
  return { element, update, pick };
}
