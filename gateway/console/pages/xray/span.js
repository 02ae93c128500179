// A span in words, and what went wrong with it. The map needs only this, not all of trace.js.

// Whether a body is a trace: a service that is broken may answer anything.
export function isTrace(body) {
  return Array.isArray(body?.spans) && body.spans.length > 0 && Array.isArray(body.unavailable);
}

// Why a call failed or was not made: the words of the spans, for people.
const REASONS = {
  unreachable: "no connection",
  timed_out: "timed out",
  broken: "the connection broke",
  failed: "it answered with an error",
  refused: "refused",
  turned_away: "turned away",
  unusable: "the answer was unusable",
  circuit_open: "the circuit is open",
  bulkhead_full: "too many calls to it were in flight already",
};

// A reason of a span in words.
export function reason(word) {
  return REASONS[word] ?? String(word).replaceAll("_", " ");
}

// Whether a span went wrong, as `none`, `refused` (4xx), `failed` or `notMade`.
export function trouble(span) {
  if (span.attributes.notMade) return "notMade";
  if (span.status >= 500 || (span.attributes.failure && span.attributes.failure !== "refused")) {
    return "failed";
  }
  if (span.kind === "server" && (!span.status || NO_RESPONSE[span.status])) return "failed";
  return span.status >= 400 || span.attributes.failure ? "refused" : "none";
}

// The statuses that stand for no response at all.
const NO_RESPONSE = { 444: "no response", 499: "its caller had gone" };

// The outcome of a span in a few words: its status, or why there is none.
export function result(span) {
  const { failure, notMade } = span.attributes;
  if (notMade) return `not made: ${reason(notMade)}`;
  if (NO_RESPONSE[span.status]) return NO_RESPONSE[span.status];
  if (failure && !span.status) return reason(failure);
  if (span.status) return failure ? `${span.status}, ${reason(failure)}` : String(span.status);
  return "no response";
}

// Whether its caller got a response.
export function hasResponse({ status }) {
  return Boolean(status) && !NO_RESPONSE[status];
}
