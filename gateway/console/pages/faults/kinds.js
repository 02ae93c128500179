// The kinds of faults, what to watch for with each, and where they can act.

import { request } from "../../lib/api.js";

// The services with what their paths begin with. The gateway's lab is its own.
export const SERVICES = [
  { name: "user-service", prefixes: ["/api/users"] },
  { name: "product-service", prefixes: ["/api/products"] },
  { name: "order-service", prefixes: ["/api/orders"] },
  { name: "notification-service", prefixes: ["/api/notifications"] },
  { name: "analytics-service", prefixes: ["/api/analytics"] },
  { name: "gateway", prefixes: [] },
];

// The routes of the gateway: what the paths begin with that it forwards.
const FORWARDED = SERVICES.flatMap(({ prefixes }) => prefixes);

// `title` has its short name before the colon, `amount` is what has to be said besides, `more` are
// fields that belong to it, `watch` is what a client sees, and `page` with `place` is where.
export const KINDS = [
  {
    name: "latency",
    title: "late: it answers later",
    amount: {
      field: "ms",
      label: "Later by, in milliseconds; also a range, 100-900",
      value: "250",
    },
    watch: "responses come later by so much. Above 800 ms, calls of other services time out, are repeated, and then fail with 503.",
    page: "p99 in the charts",
    place: "#/charts",
  },
  {
    name: "status",
    title: "errors: it answers with an error",
    amount: { field: "status", label: "Status, 400 to 599", value: "500" },
    watch: "its clients get this status. Callers repeat 502, 503 and 504; after five failures in a row their circuit opens, and they answer 503 at once.",
    page: "errors and circuits on the map",
    place: "#/map",
  },
  {
    name: "hang",
    title: "hang: it never answers",
    watch: "its clients wait. Callers give up after 800 ms and the gateway after 5 s, with 504; then circuits open and the waiting ends.",
    page: "the time-outs in the X-ray of an order",
    place: "#/xray",
  },
  {
    name: "close",
    title: "close: it closes the connection",
    watch: "there is no response at all. Reads are repeated; for a change the client gets 502: it may have been done.",
    page: "the failed calls in an X-ray",
    place: "#/xray",
  },
  {
    name: "close-middle",
    title: "lost response: it works, then closes in the middle",
    more: { kind: "close", when: "middle" },
    watch: "the change is made, and its response is lost. Repeat the request with the same Idempotency-Key: nothing happens twice.",
    page: "the records in the shop",
    place: "#/shop",
  },
  {
    name: "garbage",
    title: "garbage text: 200, but no JSON",
    watch: "the status says success and the content is nonsense. Callers must look at what they get: order-service answers 503.",
    page: "the shop, where the list is an outage and not empty",
    place: "#/shop",
  },
  {
    name: "garbage-json",
    title: "garbage JSON: 200, JSON of another shape",
    more: { kind: "garbage", body: "json" },
    watch: "the JSON is valid, but it is not what was asked for. A caller that only parses it takes it for a record.",
    page: "the shop, where the list is an outage and not empty",
    place: "#/shop",
  },
  {
    name: "truncate",
    title: "truncate: half of the response",
    watch: "the work is done, and half of the JSON arrives. It must not count as a record, nor as “not done”.",
    page: "the shop",
    place: "#/shop",
  },
];

// The kind of a name.
export function byName(name) {
  return KINDS.find((kind) => kind.name === name) ?? KINDS[0];
}

// The JSON of a fault, from the values of the form. What the form cannot know to be wrong is left
// to the service.
export function faultOf({ route = "*", kind, amount, share, seed, seconds }) {
  const { name, amount: asked, more } = byName(kind);
  const fault = { route, kind: name, seed, seconds, ...more };
  if (share !== undefined) fault.share = typeof share === "number" ? share / 100 : share;
  const range = /^\s*(\d+)\s*[-–]\s*(\d+)\s*$/.exec(String(amount));
  if (asked?.field === "ms" && range) {
    [fault.from, fault.to] = [Number(range[1]), Number(range[2])];
  } else if (asked && amount !== undefined) {
    fault[asked.field] = Number.isFinite(Number(amount)) ? Number(amount) : amount;
  }
  return fault;
}

// The routes of a service that a fault can be for, as `/openapi.json` of the shop has them.
export async function routesOf(service) {
  if (service === "gateway") return FORWARDED;
  const { prefixes } = SERVICES.find(({ name }) => name === service);
  const { body } = await request("GET", "/openapi.json");
  const isBelow = (path, prefix) => path === prefix || path.startsWith(`${prefix}/`);
  const isOwn = (path) => prefixes.some((prefix) => isBelow(path, prefix));
  // The dashboard is the gateway's.
  const paths = Object.entries(body?.paths ?? {})
    .filter(([path]) => isOwn(path) && !path.endsWith("/dashboard"));
  return paths.flatMap(([path, operations]) => {
    const methods = Object.keys(operations).filter((name) => METHODS.includes(name));
    const each = methods.map((method) => `${method.toUpperCase()} ${path}`);
    return each.length > 1 ? [path, ...each] : each;
  });
}

const METHODS = ["get", "post", "put", "patch", "delete"];
