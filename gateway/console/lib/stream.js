// The one event stream of this page: what all services are doing, once a second.
//
// It is read with fetch, not with EventSource, so that it can carry a token and so that it is known
// why it fails. Whatever happens, it is opened again: at most once a second.

import { address } from "./api.js";

// How long samples are kept, and the time between two of them, in milliseconds.
export const SPAN = 15 * 60_000;
export const STEP = 5_000;

// The most requests that are kept of those that ended.
const RECENT = 50;

// Ticks come once a second: after this silence, the stream counts as broken.
const SILENCE = 3_500;

// The time between two attempts.
const PAUSE = 1_000;

const state = {
  // Whether ticks arrive.
  live: false,
  // Why they do not, in a few words; null if they do.
  reason: "connecting",
  // The latest tick, and when it arrived; it stays when the stream breaks.
  tick: null,
  // Samples of the last 15 minutes, one each five seconds, the oldest first.
  past: [],
  // The latest requests of the shop that ended, the newest first.
  recent: [],
};

const subscribers = new Set();
let isStarted = false;

// Calls `fn(state)` now and on each change, until the returned function is called.
export function subscribe(fn) {
  subscribers.add(fn);
  if (!isStarted) {
    isStarted = true;
    follow();
  }
  fn(state);
  return () => subscribers.delete(fn);
}

function publish() {
  for (const fn of subscribers) {
    try {
      fn(state);
    } catch (error) {
      // One page that fails must not stop the others.
      console.error(error);
    }
  }
}

async function follow() {
  for (;;) {
    const began = performance.now();
    const { reason, down } = await readOnce();
    state.live = false;
    state.reason = reason;
    if (down && state.tick) state.tick = withDown(state.tick, down);
    publish();
    await sleep(Math.max(0, PAUSE - (performance.now() - began)));
  }
}

// Reads the stream until it breaks. Returns the `reason`, and which service is `down` if that is known.
async function readOnce() {
  const connection = new AbortController();
  let response = null;
  let timer = 0;
  const expectMore = () => {
    clearTimeout(timer);
    timer = setTimeout(() => connection.abort(), SILENCE);
  };
  try {
    expectMore();
    response = await fetch(address("/api/analytics/stream"), {
      headers: { Accept: "text/event-stream" },
      cache: "no-store",
      signal: connection.signal,
    });
    if (!response.ok) return await refusal(response);
    const text = response.body.pipeThrough(new TextDecoderStream());
    for await (const event of events(text.getReader())) {
      expectMore();
      take(event);
    }
    return { reason: "the stream ended" };
  } catch (error) {
    if (error.name === "AbortError") return { reason: `nothing arrived for ${SILENCE / 1000} s` };
    if (response) return { reason: "the stream broke" };
    return { reason: "the gateway cannot be reached", down: "gateway" };
  } finally {
    clearTimeout(timer);
    connection.abort();
  }
}

async function refusal(response) {
  const who = "analytics-service";
  if ([502, 503, 504].includes(response.status)) return { reason: `${who} does not answer`, down: who };
  const body = await response.json().catch(() => null);
  return { reason: body?.error ?? `the stream is refused with ${response.status}` };
}

// The last tick, with a service that is down by now: nobody else can say that it is.
function withDown(tick, name) {
  const gone = { status: "down", requestRate: null, errorRate: null, p50Ms: null, p95Ms: null, p99Ms: null };
  const services = tick.services.map((one) => (one.name === name ? { ...one, ...gone } : one));
  return { ...tick, services };
}

// The events of a stream: { name, data }.
// https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream
async function* events(reader) {
  let rest = "";
  let event = { name: "message", data: [] };
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const lines = (rest + value).split(/\r\n|\n|\r/);
    rest = lines.pop();
    for (const line of lines) {
      if (line === "") {
        if (event.data.length > 0) yield { name: event.name, data: event.data.join("\n") };
        event = { name: "message", data: [] };
        continue;
      }
      const [, field, content] = /^([^:]*):? ?(.*)$/.exec(line);
      if (field === "event") event.name = content;
      if (field === "data") event.data.push(content);
    }
  }
}

function take({ name, data }) {
  let content;
  try {
    content = JSON.parse(data);
  } catch {
    console.warn(`The stream has an event ${name} that is no JSON`);
    return;
  }
  if (name === "past") takePast(content.samples ?? []);
  if (name === "tick") takeTick(content);
}

// After a restart the service knows nothing of before, but this page does.
function takePast(samples) {
  const first = samples.length > 0 ? Date.parse(samples[0].at) : Infinity;
  const before = state.past.filter((sample) => Date.parse(sample.at) < first);
  state.past = before.concat(samples);
  trim();
}

function takeTick(tick) {
  state.live = true;
  state.reason = null;
  state.tick = tick;
  const last = state.past.at(-1);
  if (!last || Date.parse(tick.at) - Date.parse(last.at) >= STEP) {
    state.past.push(sampleOf(tick));
    trim();
  }
  const known = new Set(state.recent.map(keyOf));
  const fresh = (tick.recent ?? []).filter((one) => !known.has(keyOf(one)) && !isOwn(one));
  fresh.sort((a, b) => Date.parse(b.start) - Date.parse(a.start));
  state.recent = fresh.concat(state.recent).slice(0, RECENT);
  publish();
}

// What tells a request from all others.
export function keyOf({ traceId, requestId }) {
  return `${traceId} ${requestId}`;
}

// Whether it is a request of the console itself: who watches does not want to see the watching.
export function isOwn({ name }) {
  return /^GET \/(status|openapi\.json|api\/analytics.*|console\/.*)?$/.test(name);
}

// What is kept of a tick.
function sampleOf({ at, services, edges, orders }) {
  const light = (services ?? []).map(({ faults, instances, ...service }) => service);
  return { at, services: light, edges, orders };
}

function trim() {
  const end = Date.parse(state.past.at(-1)?.at);
  const first = state.past.findIndex((sample) => end - Date.parse(sample.at) <= SPAN);
  state.past = state.past.slice(Math.max(0, first)).slice(-(SPAN / STEP + 1));
}

function sleep(time) {
  return new Promise((resolve) => setTimeout(resolve, time));
}
