// The drawing of the map: an SVG of the services and of the calls between them. It is made once;
// each tick changes only its texts and classes.

import { replace, setText, svg } from "../../lib/dom.js";
import { ms, percent, rate, share } from "../../lib/format.js";
import { faultCount, stateClass, stateShape, stateWord } from "../../lib/state.js";

const WIDTH = 216;
const HEIGHT = 104;

// Where the figures of a service begin.
const COLUMNS = [12, 86, 146];

// Where the middle of each service is.
const PLACES = {
  gateway: [118, 280],
  "order-service": [446, 160],
  "analytics-service": [446, 410],
  "user-service": [822, 62],
  "product-service": [822, 280],
  "notification-service": [822, 498],
};

// The path of each call, and where its numbers stand: drawn by hand, so that no line crosses a
// service and no number another one.
const CALLS = {
  "gateway user-service": ["M60 228 C60 40 200 34 400 34 H714", [66, 196]],
  "gateway order-service": ["M226 250 C266 245 270 160 338 160", [294, 232]],
  "gateway product-service": ["M226 280 H714", [242, 274]],
  "gateway analytics-service": ["M226 310 C266 315 270 410 338 410", [294, 344]],
  "gateway notification-service": ["M60 332 C60 520 200 526 400 526 H714", [66, 376]],
  "order-service user-service": ["M554 126 H604 C660 126 650 64 714 64", [560, 120]],
  "order-service product-service": ["M554 160 H604 C670 160 650 258 714 258", [560, 154]],
  "order-service notification-service": ["M554 194 H604 C690 194 620 470 714 470", [560, 188]],
  "analytics-service user-service": ["M554 376 H604 C690 376 600 94 714 94", [560, 370]],
  "analytics-service product-service": ["M554 410 H604 C670 410 650 304 714 304", [560, 404]],
  "analytics-service notification-service": ["M554 444 H604 C660 444 650 498 714 498", [560, 438]],
  "analytics-service order-service": ["M446 358 V212", [454, 344]],
  "product-service user-service": ["M822 228 V114", [830, 176]],
};

export function drawing() {
  const services = new Map(Object.keys(PLACES).map((name) => [name, serviceBox(name)]));
  const calls = new Map(Object.keys(CALLS).map((key) => [key, callLine(key)]));
  const ball = svg("circle", { class: "ball", r: 7 });
  ball.style.display = "none";
  const element = svg(
    "svg",
    { class: "drawing live-data", viewBox: "0 0 940 560", role: "group", "aria-label": "Map" },
    svg("defs", {}, ["usual", "failing", "hot"].map(arrowhead)),
    [...calls.values()].map((call) => call.line),
    [...services.values()].map((service) => service.element),
    [...calls.values()].map((call) => call.label),
    ball,
  );
  return {
    element,
    ball,
    update(tick) {
      for (const one of tick.services) services.get(one.name)?.update(one);
      for (const one of tick.edges) calls.get(`${one.from} ${one.to}`)?.update(one);
    },
    // The line of a call, to light it up. Undefined if it is not drawn.
    line: (from, to) => calls.get(`${from} ${to}`)?.line,
    box: (name) => services.get(name)?.element,
  };
}

function arrowhead(kind) {
  return svg(
    "marker",
    {
      id: `arrow-${kind}`,
      class: `arrow ${kind}`,
      viewBox: "0 0 10 10",
      refX: 9,
      refY: 5,
      markerWidth: 11,
      markerHeight: 11,
      markerUnits: "userSpaceOnUse",
      orient: "auto",
    },
    svg("path", { d: "M0 1 L10 5 L0 9 Z" }),
  );
}

function serviceBox(name) {
  const [x, y] = PLACES[name];
  const text = (dx, dy, look, content = "") => svg("text", { x: dx, y: dy, class: look }, content);
  const shape = svg("g", { transform: "translate(12 12) scale(1.2)" });
  const state = text(12, 46, "word");
  const faults = text(WIDTH - 12, 46, "word broken-mark");
  const figures = COLUMNS.map((column) => text(column, 88));
  const captions = ["requests", "errors", "p99"].map((caption, place) =>
    text(COLUMNS[place], 68, "caption", caption),
  );
  const element = svg(
    "a",
    {
      class: "service",
      href: `#/services/${name}`,
      transform: `translate(${x - WIDTH / 2} ${y - HEIGHT / 2})`,
      "aria-label": name,
    },
    svg("rect", { width: WIDTH, height: HEIGHT, rx: 8 }),
    shape,
    text(34, 24, "name", name),
    state,
    faults,
    captions,
    figures,
  );
  let drawn = null;
  const update = (now) => {
    const { status, requestRate, errorRate, p99Ms, instances } = now;
    if (drawn !== status) {
      drawn = status;
      replace(shape, stateShape(status));
      element.setAttribute("class", `service is-${stateClass(status)}`);
    }
    const up = (instances ?? []).filter((one) => one.state === "up").length;
    const count = instances ? ` · ${up} of ${instances.length}` : "";
    const values = [rate(requestRate), percent(share(errorRate, requestRate)), ms(p99Ms)];
    setText(state, stateWord(status) + count);
    setText(faults, faultCount(now.faults));
    figures.forEach((figure, place) => setText(figure, values[place]));
    const [requests, errors, p99] = values;
    element.setAttribute(
      "aria-label",
      `${name}: ${stateWord(status)}, ${requests} requests, ${errors} errors, p99 ${p99}`,
    );
  };
  return { element, update };
}

function callLine(key) {
  const [path, [x, y]] = CALLS[key];
  const line = svg("path", { class: "call", d: path });
  const calls = svg("tspan", {});
  const trouble = svg("tspan", { class: "trouble", x, y: y - 14 });
  // The list of calls below the drawing says the same.
  const label = svg("text", { x, y, class: "call-label", "aria-hidden": "true" }, calls, trouble);
  const update = (edge) => {
    const { callRate, failureRate, retryRate, notMadeRate, circuit } = edge;
    const isOpen = circuit === "open" || circuit === "half_open";
    const isFailing = failureRate > 0 || notMadeRate > 0 || isOpen;
    const classes = ["call"];
    if (!(callRate > 0) && !isFailing) classes.push("idle");
    if (isFailing) classes.push("failing");
    if (isOpen) classes.push("open");
    for (const one of ["hot", "passed"]) if (line.classList.contains(one)) classes.push(one);
    line.setAttribute("class", classes.join(" "));
    // From 1.2 for nothing to 6 for a thousand calls a second.
    line.style.strokeWidth = `${(1.2 + 1.6 * Math.log10(1 + (callRate ?? 0))).toFixed(1)}px`;
    setText(calls, callRate > 0 ? rate(callRate) : "");
    const words = [
      retryRate > 0 && `↻${rate(retryRate)}`,
      failureRate > 0 && `✕${rate(failureRate)}`,
      isOpen ? `⊘ ${stateWord(circuit)}` : notMadeRate > 0 && `⊘${rate(notMadeRate)}`,
    ];
    setText(trouble, words.filter(Boolean).join(" "));
  };
  return { line, label, update };
}
