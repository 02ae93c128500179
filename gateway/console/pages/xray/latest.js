// The latest requests.

import { outage } from "../../lib/action.js";
import { request } from "../../lib/api.js";
import { h, replace, setText } from "../../lib/dom.js";
import { exchange } from "../../lib/exchange.js";
import { ms, number, time } from "../../lib/format.js";
import { scroller } from "../../lib/parts.js";
import { place } from "../../lib/place.js";
import { statusMark } from "../../lib/state.js";
import { isOwn, subscribe } from "../../lib/stream.js";

// The most that can be asked for.
const LIMIT = 100;

// Whether these are hidden: as it was when the page was last shown.
let hidesOwn = true;

// Fills `root`, and returns a function that ends it.
export function latest(root) {
  const content = h("div", {}, h("p", { class: "quiet" }, "Asking the services …"));
  const newer = h("p", { class: "quiet" });
  let traces = [];
  // When the newest one that is shown began.
  let newest = Infinity;
  let wanted = "";

  const table = h("div");
  const show = () => {
    const isWanted = ({ name, requestId, status, services }) =>
      [name, requestId, status, ...services].join("\n").toLowerCase().includes(wanted);
    const shown = traces.filter((one) => !(hidesOwn && isOwn(one)) && isWanted(one));
    const nothing = "There are none. Place an order in the shop, then look again.";
    replace(table, shown.length > 0 ? tableOf(shown) : h("p", {}, nothing));
  };

  const load = async () => {
    const result = await request("GET", `/api/analytics/traces?limit=${LIMIT}`);
    if (!result.ok || !isWhole(result.body)) {
      replace(
        content,
        result.status === 404
          ? [isOff(result), exchange(result)]
          : outage(result, "the requests", load, isWhole),
      );
      return;
    }
    traces = result.body.traces;
    newest = Math.max(...traces.map(({ start }) => Date.parse(start)));
    setText(newer, "");
    show();
    replace(content, missing(result.body.unavailable), table, exchange(result));
  };

  const filter = h("input", {
    type: "search",
    placeholder: "Filter these",
    "aria-label": "Filter these by route, status, service or id",
    input: ({ target }) => {
      wanted = target.value.trim().toLowerCase();
      show();
    },
  });
  const own = h("input", {
    type: "checkbox",
    checked: hidesOwn,
    change: ({ target }) => {
      hidesOwn = target.checked;
      show();
    },
  });
  replace(
    root,
    h(
      "div",
      { class: "row" },
      h("button", { type: "button", click: load }, "Refresh"),
      filter,
      h("label", {}, own, " hide what the console reads"),
      searchForm(),
    ),
    newer,
    content,
  );
  load();
  // The rows do not move while one reads them.
  return subscribe(({ recent }) => {
    const fresh = recent.filter(({ start }) => Date.parse(start) > newest);
    const ended = fresh.length === 1 ? "request has ended" : "requests have ended";
    setText(newer, fresh.length > 0 ? `${fresh.length} newer ${ended}. Refresh shows them.` : "");
  });
}

// The form that opens the X-ray of an id.
export function searchForm() {
  const name = "Trace or request id";
  const input = h("input", { type: "text", placeholder: name, "aria-label": name, autocomplete: "off" });
  const submit = (event) => {
    event.preventDefault();
    const id = input.value.trim();
    if (id) location.hash = place(["xray", id]);
  };
  return h(
    "form",
    { class: "row", submit, "aria-label": "Open an X-ray" },
    input,
    h("button", {}, "Open"),
  );
}

function isWhole(body) {
  return Array.isArray(body?.traces);
}

function isOff({ error }) {
  return h(
    "p",
    { class: "sentence", role: "alert" },
    `${error}. scripts/start.sh and the lab in containers switch it on.`,
  );
}

function missing(services) {
  if (!services || services.length === 0) return null;
  const text = `${services.join(", ")} could not be asked: what only they know is missing.`;
  return h("p", { class: "sentence bad", role: "status" }, `⚠ ${text}`);
}

function tableOf(traces) {
  const longest = Math.max(...traces.map(({ durationMs }) => durationMs), 0.001);
  const heads = ["Request", "Status", "Duration", "", "Spans", "Errors", "Services", "Began"];
  const figures = new Set(["Duration", "Spans", "Errors"]);
  return scroller(
    "The latest requests",
    h(
      "table",
      {},
      h("thead", {}, h("tr", {}, heads.map((name) =>
        name ? h("th", { scope: "col", class: figures.has(name) && "figure" }, name) : h("td")))),
      h("tbody", {}, traces.map((one) => row(one, longest))),
    ),
  );
}

function row({ traceId, name, status, durationMs, spans, errors, services, start }, longest) {
  const bar = h("span", { class: "length", "aria-hidden": "true" });
  bar.style.setProperty("--share", String(durationMs / longest));
  return h(
    "tr",
    {},
    h("td", {}, h("a", { href: place(["xray", traceId]) }, name)),
    h("td", {}, statusMark(status)),
    h("td", { class: "figure" }, ms(durationMs)),
    h("td", { class: "lengths" }, bar),
    h("td", { class: "figure" }, number(spans)),
    h("td", { class: "figure" }, errors > 0 ? h("span", { class: "bad" }, `✕ ${errors}`) : "0"),
    h("td", {}, services.map((service) => service.replace("-service", "")).join(", ")),
    h("td", {}, time(start)),
  );
}
