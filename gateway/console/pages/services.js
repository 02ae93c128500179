// The services: what each is built on, how it is, where its instances and its docs are.

import { outage } from "../lib/action.js";
import { address, curl, labPath, request } from "../lib/api.js";
import { h, replace, setText } from "../lib/dom.js";
import { command, exchange } from "../lib/exchange.js";
import { bytes, duration, ms, number } from "../lib/format.js";
import { facts, scroller } from "../lib/parts.js";
import { faultText, stateMark } from "../lib/state.js";
import { subscribe } from "../lib/stream.js";

export const title = "Services";

// How often the gateway is asked for its state, in milliseconds.
const ASKED = 5_000;

// `parts` may be the name of one service.
export function mount(root, [name]) {
  const list = h("div", { class: "services live-data" });
  const waiting = h("p", { class: "quiet" }, "Waiting for the stream …");
  replace(root, name && h("p", {}, h("a", { href: "#/services" }, "All services")), waiting, list, sources());
  const panels = new Map();
  let latest = null;
  let status = null;

  function draw() {
    if (!latest) return;
    const services = latest.services.filter((one) => !name || one.name === name);
    waiting.hidden = services.length > 0;
    if (services.length === 0) setText(waiting, `There is no service called ${name}.`);
    for (const service of services) {
      if (!panels.has(service.name)) {
        panels.set(service.name, servicePanel(service.name));
        list.append(panels.get(service.name).element);
      }
      panels.get(service.name).update(service, latest.edges, status);
    }
  }

  async function ask() {
    const asked = await request("GET", "/status");
    if (asked.ok) status = asked.body;
    draw();
  }

  const timer = setInterval(ask, ASKED);
  ask();
  const unsubscribe = subscribe(({ tick }) => {
    latest = tick;
    draw();
  });
  return () => {
    clearInterval(timer);
    unsubscribe();
  };
}

function servicePanel(name) {
  const mark = h("span", {});
  const list = h("dl", { class: "facts" });
  const links = h("p", { class: "row" });
  const instances = h("tbody", {});
  const table = instancesTable(name, instances);
  const element = h(
    "section",
    { class: "panel", "aria-label": name },
    h("h2", { class: "row" }, name, mark),
    list,
    links,
    table,
    settings(name),
  );
  // What is a link or can be read aloud is made anew only when it has changed.
  const state = whenChanged((status) => replace(mark, stateMark(status)));
  const link = whenChanged((url) => replace(links, linksOf(name, url)));
  const update = (service, edges, status) => {
    state(service.status);
    link(service.url);
    updateFacts(list, factsOf(service, edges, status));
    table.hidden = !service.instances;
    replace(instances, (service.instances ?? []).map(instanceRow));
  };
  return { element, update };
}

// Calls `draw(value)` only if the value is another one than the last time.
function whenChanged(draw) {
  let last;
  return (value) => {
    if (value === last) return;
    last = value;
    draw(value);
  };
}

// The facts about a service: pairs of a name and a text.
function factsOf(service, edges, status) {
  const { name, framework, version, uptimeSeconds, residentMemoryBytes, inFlight, url, faults } = service;
  const behind = status?.services?.find((one) => one.name === name);
  const calls = edges.filter((edge) => edge.from === name).map((edge) => edge.to);
  const all = [
    ["Framework", framework ?? "not known"],
    ["Version", version ?? "not known"],
    ["Up for", duration(uptimeSeconds)],
    ["Memory", bytes(residentMemoryBytes)],
    ["Requests in flight", number(inFlight)],
    ["Address", url],
    ["Calls", calls.join(", ") || "nobody"],
    ["Paths", behind?.routes?.join(", ")],
    ["Faults", faults === null ? "not known" : faults?.map(faultText).join("; ") || "none"],
  ];
  if (name === "gateway" && status) all.push(...factsOfGateway(status));
  return all.filter(([, text]) => text);
}

function factsOfGateway({ cache, limitedClients }) {
  const limited = ["Clients over their limit", number(limitedClients)];
  if (!cache) return [limited, ["Cache", "off"]];
  const { hits, misses, collapsed, stale, entries, maxBytes } = cache;
  const answered = `${number(hits)} hits, ${number(misses)} misses, ${number(collapsed)} shared, ${number(stale)} stale`;
  const held = `${number(entries)} responses, ${bytes(cache.bytes)} of ${bytes(maxBytes)}`;
  return [limited, ["Cache", answered], ["In the cache", held]];
}

function updateFacts(list, all) {
  const names = all.map(([name]) => name).join();
  if (list.dataset.names !== names) {
    list.dataset.names = names;
    replace(list, ...facts(all).children);
  }
  all.forEach(([, text], place) => setText(list.children[place].lastChild, text));
}

// The pages of a service. In containers the address of a service means nothing to a browser.
function linksOf(name, url) {
  const charts = h("a", { href: `#/charts/services/${name}` }, "Charts");
  const faults = h("a", { href: "#/faults" }, "Break it");
  const own = ["docs", "metrics", "health/ready"];
  const base = name === "gateway" ? address("/") : reachable(url);
  if (!base) return [charts, faults, h("a", { href: "docs" }, "docs of the whole shop")];
  return [charts, faults, own.map((page) => h("a", { href: new URL(page, base).href }, page))];
}

function reachable(url) {
  try {
    const { protocol, hostname, href } = new URL(url);
    const isHere = [location.hostname, "127.0.0.1", "localhost"].includes(hostname);
    return protocol.startsWith("http") && isHere ? href : null;
  } catch {
    return null;
  }
}

function instancesTable(name, body) {
  const figure = (text) => h("th", { scope: "col", class: "figure" }, text);
  return scroller(
    `Instances of ${name}`,
    h(
      "table",
      {},
      h("caption", {}, "Instances, as the gateway sees them"),
      h(
        "thead",
        {},
        h(
          "tr",
          {},
          h("th", { scope: "col" }, "Address"),
          h("th", { scope: "col" }, "State"),
          ["requests", "failures", "in flight", "latency"].map(figure),
        ),
      ),
      body,
    ),
  );
}

function instanceRow({ url, state, requests, failures, inFlight, latencyMs }) {
  const figures = [number(requests), number(failures), number(inFlight), ms(latencyMs)];
  return h(
    "tr",
    {},
    h("th", { scope: "row" }, url),
    h("td", {}, stateMark(state)),
    figures.map((text) => h("td", { class: "figure" }, text)),
  );
}

// The environment variables of a service. They are read whenever this is opened.
function settings(name) {
  const content = h("div");
  const load = async () => {
    if (!element.open) return;
    const result = await request("GET", labPath(name, "/settings"));
    if (result.status === 404) {
      replace(content, h("p", { class: "sentence" }, "Only a lab shows them: start the shop with ", h("code", {}, "LAB_MODE=on"), "."));
    } else if (!result.ok || !Array.isArray(result.body)) {
      replace(content, outage(result, "the configuration", load, Array.isArray));
    } else replace(content, settingsTable(name, result.body), exchange(result));
  };
  const element = h("details", { toggle: load }, h("summary", {}, "Configuration"), content);
  return element;
}

function settingsTable(name, all) {
  const head = (text) => h("th", { scope: "col" }, text);
  const row = ({ name, value, default: usual, expected }) =>
    h(
      "tr",
      { title: `expected: ${expected}` },
      h("th", { scope: "row" }, name),
      h("td", {}, value === null ? usual || "–" : h("strong", {}, value)),
      h("td", { class: "quiet" }, value === null ? "default" : `set; the default is ${usual || "nothing"}`),
    );
  return scroller(
    `Configuration of ${name}`,
    h(
      "table",
      {},
      h("caption", {}, "Environment variables, as the service has read them"),
      h("thead", {}, h("tr", {}, head("Variable"), head("Value"), h("td"))),
      h("tbody", {}, all.map(row)),
    ),
  );
}

// The same in a terminal.
function sources() {
  const stream = curl("GET", address("/api/analytics/stream")).replace("curl", "curl -N");
  return h(
    "details",
    {},
    h("summary", {}, "The same in a terminal"),
    [stream, curl("GET", address("/status")), curl("GET", address("/health/ready"))].map(command),
  );
}
