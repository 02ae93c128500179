// Follows one order over the map: its trace tells which calls were made and when, and their lines
// light up in the same order, much slower than it was.

import { h, replace } from "../../lib/dom.js";
import { request } from "../../lib/api.js";
import { exchange } from "../../lib/exchange.js";
import { ms } from "../../lib/format.js";
import { panel } from "../../lib/parts.js";
import { isList } from "../../lib/verdict.js";
import { isTrace, result, trouble } from "../xray/span.js";

// How long the whole way takes on the map, in milliseconds.
const PLAYED = 4_000;

// A call lights up at least so long.
const LEAST = 350;

// Spans arrive shortly after the response: how often to ask for them, and the pause in milliseconds.
const LOOKS = 12;
const PAUSE = 250;

export function followPanel(map) {
  const outcome = h("div", { role: "status" });
  const detail = h("div", {});
  const buttons = [
    h("button", { type: "button", class: "main", click: () => run(placeOrder) }, "Place an order and follow it"),
    h("button", { type: "button", click: () => run(newestOrder) }, "Follow the newest order"),
  ];
  let player = null;
  let isStopped = false;

  async function run(find) {
    player?.stop();
    buttons.forEach((button) => (button.disabled = true));
    replace(outcome, h("p", { class: "quiet" }, "Asking …"));
    replace(detail);
    const found = await find();
    const trace = found.id ? await traceOf(found.id, () => isStopped) : null;
    buttons.forEach((button) => (button.disabled = false));
    if (isStopped) return;
    const shown = found.exchanges.map(exchange);
    if (!isTrace(trace?.body)) {
      const why = found.error ?? trace.error ?? "Its trace is not what was asked for: analytics-service is broken.";
      replace(outcome, h("p", { class: "sentence" }, why));
      replace(detail, shown, trace && exchange(trace));
      return;
    }
    const steps = stepsOf(trace.body.spans);
    player = play(map, steps, trace.body.durationMs);
    replace(outcome, h("p", {}, `${found.said} It took ${ms(trace.body.durationMs)}; the map shows it slower.`));
    replace(detail, player.element, xrayLink(found.id), shown, exchange(trace));
  }

  return {
    element: panel("Follow one order", h("div", { class: "row" }, buttons), outcome, detail),
    stop() {
      isStopped = true;
      player?.stop();
    },
  };
}

function xrayLink(id) {
  return h("p", {}, h("a", { href: `#/xray/${encodeURIComponent(id)}` }, "X-ray of this order"));
}

// Places an order of one piece: the first product with stock, for the first user.
async function placeOrder() {
  const [users, products] = await Promise.all([
    request("GET", "/api/users?limit=1"),
    request("GET", "/api/products?limit=100"),
  ]);
  const looks = [users, products];
  const userId = choice(users, () => true);
  const productId = choice(products, (one) => one.stock > 0);
  if (!userId || !productId) {
    const missing = userId ? "product in stock" : "user";
    return { exchanges: looks, error: `There is no ${missing}: fill the shop on the page Faults, with Seed.` };
  }
  const placed = await request("POST", "/api/orders", { body: { userId, productId, quantity: 1 } });
  const said = placed.ok ? `Order ${placed.body?.id} is placed.` : `The order failed: ${placed.error}.`;
  return { exchanges: [...looks, placed], id: placed.requestId, said, error: placed.error };
}

// The id of the first record that fits; null if there is none. If the service does not answer, it
// is the first of the seed, because an order that fails can be followed too.
function choice(listed, fits) {
  if (!listed.ok || !isList(listed.body)) return "1";
  return listed.body.find(fits)?.id ?? null;
}

async function newestOrder() {
  const traces = await request("GET", "/api/analytics/traces?limit=100");
  const listed = traces.body?.traces;
  if (!traces.ok || !Array.isArray(listed)) {
    return { exchanges: [traces], error: traces.error ?? "The list is not what was asked for: analytics-service is broken." };
  }
  const newest = listed.find((one) => one.name === "POST /api/orders");
  if (!newest) {
    return { exchanges: [traces], error: "There is no order among the latest 100 requests: place one." };
  }
  return { exchanges: [traces], id: newest.requestId ?? newest.traceId, said: `An order, answered with ${newest.status}.` };
}

// The trace, once all of its spans have arrived: as soon as two looks see the same.
async function traceOf(id, isStopped) {
  let last = null;
  for (let look = 0; look < LOOKS && !isStopped(); look += 1) {
    const now = await request("GET", `/api/analytics/traces/${encodeURIComponent(id)}`);
    if (isTrace(now.body) && now.body.spans.length === last?.body?.spans?.length) return now;
    last = now;
    await new Promise((resolve) => setTimeout(resolve, PAUSE));
  }
  return last;
}

// What happened between two services, in the order in which it began.
function stepsOf(spans) {
  const served = new Map(spans.filter((span) => span.kind === "server").map((span) => [span.parentId, span]));
  const steps = spans.filter((span) => span.kind === "client").map((span) => {
    const { service, attributes, offsetMs, durationMs } = span;
    return { span, name: served.get(span.spanId)?.name, from: service, to: attributes.dependency, offsetMs, durationMs };
  });
  return steps.filter(({ from, to }) => to && to !== from).sort((a, b) => a.offsetMs - b.offsetMs);
}

function play(map, steps, wholeMs) {
  const isStill = matchMedia("(prefers-reduced-motion: reduce)").matches;
  const slower = PLAYED / Math.max(wholeMs, 1);
  const rows = steps.map((step) => h("li", { class: isFailed(step) && "bad" }, stepText(step)));
  const lines = steps.map((step) => map.line(step.from, step.to));
  const times = steps.map(({ offsetMs, durationMs }) => {
    const start = offsetMs * slower;
    return [start, Math.max(start + LEAST, (offsetMs + durationMs) * slower)];
  });
  let frame = 0;
  // A line may be that of several calls.
  const mark = (look, places) => {
    const marked = new Set(places.map((place) => lines[place]));
    for (const line of lines) line?.classList.toggle(look, marked.has(line));
    rows.forEach((row, place) => row.classList.toggle(look, places.includes(place)));
  };
  const draw = (at) => {
    const places = [...steps.keys()];
    const running = places.filter((place) => at >= times[place][0] && at < times[place][1]);
    mark("hot", running);
    mark("passed", places.filter((place) => at >= times[place][1]));
    moveBall(map.ball, lines, times, running.at(-1), at);
    return times.some(([, end]) => at < end);
  };
  if (isStill) {
    draw(Infinity);
  } else {
    const began = performance.now();
    const next = () => {
      frame = draw(performance.now() - began) ? requestAnimationFrame(next) : 0;
    };
    frame = requestAnimationFrame(next);
  }
  return {
    element: h("ol", { class: "steps" }, rows),
    stop() {
      cancelAnimationFrame(frame);
      map.ball.style.display = "none";
      mark("hot", []);
      mark("passed", []);
    },
  };
}

// Moves the ball along the line of the call that began last: there, and back with the response.
function moveBall(ball, lines, times, place, at) {
  const line = place === undefined ? null : lines[place];
  ball.style.display = line ? "" : "none";
  if (!line) return;
  const [start, end] = times[place];
  const way = (at - start) / (end - start);
  const length = line.getTotalLength() * (way < 0.5 ? 2 * way : 2 - 2 * way);
  const { x, y } = line.getPointAtLength(length);
  ball.setAttribute("cx", x);
  ball.setAttribute("cy", y);
}

function isFailed({ span }) {
  return ["failed", "notMade"].includes(trouble(span));
}

function stepText({ span, name, from, to, offsetMs, durationMs }) {
  const { attempt, notMade } = span.attributes;
  const what = name ? ` ${name}` : "";
  const again = attempt > 1 ? ` (attempt ${attempt})` : "";
  const mark = isFailed({ span }) ? "✕ " : "";
  const end = notMade ? result(span) : `${result(span)}, ${ms(durationMs)}`;
  return `${from} → ${to}${what}${again}: ${mark}${end}, after ${ms(offsetMs)}`;
}
