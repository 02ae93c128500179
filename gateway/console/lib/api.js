// Requests to the gateway, and the curl command for each.

// How long an answer may take. The gateway gives up earlier.
const TIMEOUT_MS = 15_000;

// The absolute address of a path such as "/api/users", also behind a path prefix.
export function address(path) {
  return new URL(path.replace(/^\/+/, ""), document.baseURI).href;
}

// The path of a route of the lab of a service, through the gateway.
export function labPath(service, path) {
  return service === "gateway" ? `/lab${path}` : `/lab/${service}${path}`;
}

// Sends a request. `body` is anything that JSON can be made of.
//
// It never throws: an outage is a result with `ok: false`, `status: 0` and a sentence in `error`.
// An answer that is an error has its sentence in `error` too.
//
// The result: { method, path, sent: { headers, body }, ok, status, headers, body, text, ms,
// curl, requestId, error }. `body` is what the JSON says, or null if it is none.
export async function request(method, path, { body, headers = {} } = {}) {
  const url = address(path);
  const hasBody = body !== undefined;
  const text = hasBody ? JSON.stringify(body) : undefined;
  const sentHeaders = hasBody ? { "Content-Type": "application/json", ...headers } : { ...headers };
  const result = {
    method,
    path,
    sent: { headers: sentHeaders, body: text ?? null },
    ok: false,
    status: 0,
    headers: {},
    body: null,
    text: "",
    ms: 0,
    curl: curl(method, url, sentHeaders, text),
    requestId: null,
    error: null,
  };
  const began = performance.now();
  try {
    const response = await fetch(url, {
      method,
      headers: { Accept: "application/json", ...sentHeaders },
      body: text,
      cache: "no-store",
      signal: AbortSignal.timeout(TIMEOUT_MS),
    });
    result.status = response.status;
    result.ok = response.ok;
    result.headers = Object.fromEntries(response.headers);
    result.requestId = response.headers.get("x-request-id");
    result.text = await response.text();
    result.body = parsed(result.text);
    if (!response.ok) {
      const said = result.body?.error;
      result.error = typeof said === "string" ? said : `The answer is ${response.status}`;
    }
  } catch (cause) {
    result.ok = false;
    result.error = outage(cause);
  }
  result.ms = performance.now() - began;
  return result;
}

// The command that sends the same request. It is safe to paste: no character of the data means
// something to a shell, to curl, or to the terminal.
export function curl(method, url, headers = {}, body = undefined) {
  const words = ["curl"];
  if (method !== "GET") words.push("-X", quoted(method));
  words.push(quoted(withoutGlobs(url)));
  for (const [name, value] of Object.entries(headers)) words.push("-H", quoted(`${name}: ${value}`));
  // Unlike --data, it takes an @ at the beginning as it is.
  if (body !== undefined && body !== null) words.push("--data-raw", quoted(body));
  return words.join(" ");
}

// Brackets and braces in a URL are patterns for curl.
function withoutGlobs(url) {
  return url.replace(/[[\]{}]/g, (found) => `%${found.charCodeAt(0).toString(16).toUpperCase()}`);
}

// A word for the shell.
function quoted(text) {
  if (/^[A-Za-z0-9/][A-Za-z0-9_./:=@%+,-]*$/.test(text)) return text;
  // What a terminal would obey, or would show in another order than it is.
  const invisible = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Co}\p{Cs}]/u;
  if (!invisible.test(text)) return `'${text.replaceAll("'", `'\\''`)}'`;
  const escaped = Array.from(text, (character) => {
    if (!invisible.test(character) && !"'\\!".includes(character)) return character;
    const bytes = Array.from(new TextEncoder().encode(character));
    return bytes.map((byte) => `\\x${byte.toString(16).padStart(2, "0")}`).join("");
  });
  return `$'${escaped.join("")}'`;
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

// Why there is no answer, as a sentence.
function outage(cause) {
  if (cause.name === "TimeoutError") return `There was no answer within ${TIMEOUT_MS / 1000} s`;
  return "The gateway cannot be reached, or the connection broke; is it running?";
}
