// What a response means for the person who waits for it: functions of a result of `request()`.

// The outcome of a request. `state` is
//
// - `done`,
// - `refused`: the request is at fault, and nothing was changed,
// - `outage`: a service is at fault, and nothing was changed,
// - `unknown`: it may have been done.
//
// `word` is the status, and `sentence` what to know about it. `isWhole` checks the body of a
// success, which may be anything if a service is broken.
export function verdict(result, isWhole = isObject) {
  const { method, ok, status, body, error } = result;
  const isRead = method === "GET";
  if (status === 0) {
    const sentence = isRead ? ended(error) : `${ended(error)} It may have been done.`;
    return { state: isRead ? "outage" : "unknown", word: "no response", sentence };
  }
  const word = String(status);
  if (ok) {
    if (status === 204 || isWhole(body)) return { state: "done", word, sentence: "" };
    const sentence = "The response says success, but it is not what was asked for: the service is broken.";
    return { state: isRead ? "outage" : "unknown", word: `${word}, but broken`, sentence };
  }
  const sentence = ended(error);
  if (status === 502 || status === 504) {
    if (isRead) return { state: "outage", word, sentence };
    return {
      state: "unknown",
      word,
      sentence: `${sentence} It may have been done: repeat it, or check.`,
    };
  }
  if (status >= 500 || status === 429) {
    const wait = result.headers["retry-after"];
    return { state: "outage", word, sentence: wait ? `${sentence} Wait ${wait} s.` : sentence };
  }
  return { state: "refused", word, sentence };
}

// A sentence with its end.
function ended(sentence) {
  return /[.?!]$/.test(sentence) ? sentence : `${sentence}.`;
}

// What is wrong with each field, by its name. In a list, the name begins with the place: "[0].ms".
export function fieldErrors(result) {
  const details = Array.isArray(result.body?.details) ? result.body.details : [];
  return new Map(
    details.map(({ field, message }) => [String(field), String(message).replace(/^\[\d+\]\./, "")]),
  );
}

// Whether a body is a record.
export function isObject(body) {
  return typeof body === "object" && body !== null && !Array.isArray(body);
}

// Whether a body is a list of records with ids.
export function isList(body) {
  return Array.isArray(body) && body.every((one) => isObject(one) && "id" in one);
}
