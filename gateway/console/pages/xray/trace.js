// What a trace says, without drawing it: the rows of a waterfall, the steps of a sequence diagram,
// and what is worth noticing, in words. Pure functions of the JSON of
// `GET /api/analytics/traces/{id}`.

import { ms } from "../../lib/format.js";
import { hasResponse, reason, result, trouble } from "./span.js";

// The participant that sends the first request.
const CLIENT = "client";

// The participant for a caller that nothing is known about.
const UNKNOWN = "unknown caller";

// How many findings are shown.
const MOST = 15;

// How long the whole trace takes, in milliseconds: never 0, because it divides.
export function total(trace) {
  const ends = trace.spans.map((span) => span.offsetMs + span.durationMs);
  return Math.max(trace.durationMs ?? 0, ...ends, 0.001);
}

// The rows of a waterfall, in the order of the spans. `from` and `width` are shares of the whole
// time, 0 to 1; `way` is the time of the call around this span of the callee, which the network
// and queues took.
export function waterfall(trace) {
  const whole = total(trace);
  const byId = new Map(trace.spans.map((span) => [span.spanId, span]));
  return trace.spans.map((span) => {
    const parent = byId.get(span.parentId);
    const isCallee = span.kind === "server" && parent?.kind === "client";
    return {
      span,
      from: share(span.offsetMs, whole),
      width: share(span.durationMs, whole),
      way: isCallee && span.gapMs !== null
        ? { from: share(parent.offsetMs, whole), width: share(parent.durationMs, whole) }
        : null,
    };
  });
}

function share(part, whole) {
  return Math.min(Math.max(part / whole, 0), 1);
}

// The times to label on an axis that is `whole` milliseconds long: round ones, up to six.
export function ticks(whole) {
  const rough = whole / 5;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((step) => step >= rough);
  const count = Math.floor(whole / step + 1e-9);
  return Array.from({ length: count + 1 }, (_, index) => index * step);
}

// A sequence diagram: its participants from left to right, and its steps in time. A step goes
// `from` one participant `to` another; `kind` is `request`, `response`, `lost` (the caller gave
// up), `notMade`, or `late` (a callee ended its work when nobody waited any more).
export function sequence(trace) {
  const children = new Map();
  const byId = new Map(trace.spans.map((span) => [span.spanId, span]));
  for (const span of trace.spans) {
    // A missing parent may also be one that is itself below this span.
    const parent = byId.has(span.parentId) && !span.parentMissing ? span.parentId : null;
    if (!children.has(parent)) children.set(parent, []);
    children.get(parent).push(span);
  }
  const steps = [];
  const step = (kind, atMs, from, to, text, span) => steps.push({ kind, atMs, from, to, text, span });
  const walk = (span, parent) => {
    const below = children.get(span.spanId) ?? [];
    const end = span.offsetMs + span.durationMs;
    const visit = () => below.forEach((child) => walk(child, span));
    if (span.kind === "client") {
      const callee = span.attributes.dependency;
      if (span.attributes.notMade) {
        step("notMade", span.offsetMs, span.service, callee, `${callee}, ${result(span)}`, span);
        visit();
        return;
      }
      const name = below.find((child) => child.kind === "server")?.name ?? "call";
      const again = span.attributes.attempt > 1 ? ` (attempt ${span.attributes.attempt})` : "";
      step("request", span.offsetMs, span.service, callee, name + again, span);
      visit();
      step(hasResponse(span) ? "response" : "lost", end, callee, span.service, result(span), span);
    } else if (parent?.kind === "client") {
      visit();
      const waited = parent.offsetMs + parent.durationMs;
      if (!parent.status && end > waited + 1) {
        step("late", end, span.service, span.service, `${result(span)}, but nobody waits`, span);
      }
    } else {
      // A client sent it, or a service that keeps no spans of its calls.
      const caller = parent?.service ?? (span.parentMissing ? UNKNOWN : CLIENT);
      step("request", span.offsetMs, caller, span.service, span.name, span);
      visit();
      step(hasResponse(span) ? "response" : "lost", end, span.service, caller, result(span), span);
    }
  };
  (children.get(null) ?? []).forEach((span) => walk(span, null));
  // The walk is in the order of cause and effect, which sorting keeps where times are equal.
  steps.sort((one, other) => one.atMs - other.atMs);
  const all = new Set(steps.flatMap(({ from, to }) => [from, to]));
  const outside = [CLIENT, UNKNOWN].filter((one) => all.delete(one));
  return { participants: [...outside, ...all], steps };
}

// What is worth noticing in a trace, a sentence each, the most important first.
export function findings(trace) {
  const { spans } = trace;
  const found = [];
  const say = (kind, text) => found.push({ kind, text });
  if (trace.cut) {
    say("incomplete", `The trace is cut: it shows ${trace.cut.shown} of ${trace.cut.of} spans.`);
  }
  for (const service of trace.unavailable) {
    say("incomplete", `${service} could not be asked for its spans, so its part is missing.`);
  }
  const again = retried(spans);
  const repeated = new Set(again.flatMap(([, , attempts]) => attempts));
  for (const [caller, callee, attempts] of again) {
    const results = attempts.map(result).join("; then ");
    say("retry", `${caller} called ${callee} ${attempts.length} times: ${results}.`);
  }
  for (const span of spans) {
    const { dependency, circuit, notMade, attempt } = span.attributes;
    if (notMade) {
      say("notMade", `${span.service} did not call ${dependency}: ${reason(notMade)}.`);
    } else if (trouble(span) === "failed" && span.kind === "client" && !repeated.has(span)) {
      say("failed", `The call of ${span.service} to ${dependency} failed: ${result(span)}.`);
    }
    if (circuit === "half_open" && !notMade && attempt) {
      say(
        "circuit",
        `This call of ${span.service} to ${dependency} was the probe of a half-open circuit.`,
      );
    }
    if (span.parentMissing) {
      say("incomplete", `The span that caused ${span.name} at ${span.service} is missing.`);
    }
  }
  for (const [caller, callees] of together(spans)) {
    say("concurrent", `${caller} called ${listed(callees)} at the same time.`);
  }
  for (const [service, most] of abandoned(spans)) {
    say("late", `${service} worked on for up to ${ms(most)} after its caller had given up.`);
  }
  const longest = longestGap(spans);
  if (longest) {
    say(
      "gap",
      `Of the call to ${longest.service}, ${ms(longest.gapMs)} were outside of it: on the network, or waiting.`,
    );
  }
  for (const [service, most] of shifted(spans)) {
    say(
      "clock",
      `The clock of ${service} differs: its spans are moved by up to ${ms(most)}, so that none begins before its cause.`,
    );
  }
  if (found.length <= MOST) return found;
  return [
    ...found.slice(0, MOST),
    { kind: "incomplete", text: `And ${found.length - MOST} more like these.` },
  ];
}

// The calls that were made more than once: caller, callee and attempts.
function retried(spans) {
  const groups = new Map();
  for (const span of spans) {
    if (span.kind !== "client") continue;
    const key = `${span.parentId} ${span.attributes.dependency}`;
    const attempts = groups.get(key) ?? [];
    // Attempt 1 begins another call to the same service.
    const open = attempts.at(-1);
    if (open && span.attributes.attempt > 1) open.push(span);
    else attempts.push([span]);
    groups.set(key, attempts);
  }
  return [...groups.values()].flat()
    .filter((attempts) => attempts.length > 1)
    .map((attempts) => [attempts[0].service, attempts[0].attributes.dependency, attempts]);
}

// The calls that a span made at the same time: who called, and whom.
function together(spans) {
  const groups = new Map();
  for (const span of spans) {
    if (!span.concurrent || span.kind !== "client") continue;
    const group = groups.get(span.parentId) ?? { caller: span.service, callees: new Set() };
    group.callees.add(span.attributes.dependency);
    groups.set(span.parentId, group);
  }
  return [...groups.values()]
    .filter(({ callees }) => callees.size > 1)
    .map(({ caller, callees }) => [caller, [...callees]]);
}

// The services that went on after their caller had given up, and for how long at most.
function abandoned(spans) {
  const byId = new Map(spans.map((span) => [span.spanId, span]));
  const most = new Map();
  for (const span of spans) {
    const call = byId.get(span.parentId);
    if (span.kind !== "server" || call?.kind !== "client" || call.status) continue;
    const after = span.offsetMs + span.durationMs - call.offsetMs - call.durationMs;
    if (after > Math.max(1, most.get(span.service) ?? 0)) most.set(span.service, after);
  }
  return most;
}

function longestGap(spans) {
  const gaps = spans.filter((span) => span.gapMs > 1);
  return gaps.sort((one, other) => other.gapMs - one.gapMs)[0];
}

function shifted(spans) {
  const most = new Map();
  for (const span of spans) {
    const moved = Math.abs(span.shiftedMs ?? 0);
    if (moved > (most.get(span.service) ?? 0)) most.set(span.service, moved);
  }
  return most;
}

function listed(words) {
  return words.length < 2 ? words.join("") : `${words.slice(0, -1).join(", ")} and ${words.at(-1)}`;
}
