// Faults: break and mend services and routes, empty and fill the shop.

import { actions } from "../lib/action.js";
import { labPath, request } from "../lib/api.js";
import { h, replace, setText } from "../lib/dom.js";
import { field, form } from "../lib/fields.js";
import { number } from "../lib/format.js";
import { facts, panel } from "../lib/parts.js";
import { faultText } from "../lib/state.js";
import { subscribe } from "../lib/stream.js";
import { KINDS, SERVICES, byName, faultOf, routesOf } from "./faults/kinds.js";

export const title = "Faults";

// How often the services are asked for their faults if the stream is not live, in milliseconds.
const PAUSE = 3000;

// For so long after a change, the stream may still tell of before, in milliseconds.
const BEHIND = 1500;

export function mount(root) {
  const action = actions();
  const active = activeFaults(action, () => refresh());
  const maker = breakForm(action, () => refresh());
  const page = h(
    "div",
    { class: "sides" },
    h("div", {}, maker, action.element),
    h("div", {}, active.element, wholeShop(action, () => refresh()), allKinds()),
  );
  replace(root, page);

  let isLive = false;
  let isOver = false;
  let askedAt = 0;
  async function refresh() {
    askedAt = Date.now();
    const answers = await Promise.all(
      SERVICES.map(({ name }) => request("GET", labPath(name, "/faults"))),
    );
    if (isOver) return;
    // Whether there is a lab: a gateway without one knows no such path.
    if (answers.some(({ status }) => status !== 404)) active.show(answers.map(faultsIn));
    else {
      end();
      replace(root, isOff());
    }
  }

  function end() {
    isOver = true;
    clearInterval(timer);
    unsubscribe();
  }

  refresh();
  const timer = setInterval(() => !isLive && refresh(), PAUSE);
  const unsubscribe = subscribe(({ live, tick }) => {
    const known = new Map((tick?.services ?? []).map(({ name, faults }) => [name, faults]));
    // A stream that does not know the gateway is of no use here.
    isLive = live && SERVICES.every(({ name }) => known.has(name));
    if (!isLive || Date.now() - askedAt < BEHIND) return;
    active.show(SERVICES.map(({ name }) => known.get(name)));
  });
  return end;
}

// A fault as it has to be sent so that it ends when it would have ended.
function again(fault) {
  return { ...fault, seconds: Math.max(1, fault.secondsLeft) };
}

// The faults in a response; null if it has none because the service could not be asked.
function faultsIn({ ok, body }) {
  return ok && Array.isArray(body) ? body : null;
}

function isOff() {
  return h(
    "div",
    { class: "sentence", role: "alert" },
    h("p", {}, "The lab is off, so nothing can be broken here."),
    h(
      "p",
      {},
      "Start the shop with ",
      h("code", {}, "LAB_MODE=on"),
      ", as ",
      h("code", {}, "scripts/start.sh"),
      " and the lab in containers do. Never do so where strangers reach the port.",
    ),
  );
}

// The form that breaks something.
function breakForm(action, refresh) {
  const service = field({
    name: "service",
    label: "Service",
    kind: SERVICES.map(({ name }) => [name, name]),
    value: "user-service",
  });
  const route = field({ name: "route", label: "Route", kind: [["*", "all routes"]] });
  const kinds = KINDS.map(({ name, title }) => [name, title]);
  const kind = field({ name: "kind", label: "What goes wrong", kind: kinds });
  const amount = field({ name: "amount", label: "" });
  const short = (name, label, value) => field({ name, label, kind: "number", value, isShort: true });
  const share = short("share", "Share, %", "100");
  const seed = short("seed", "Seed", "1");
  const seconds = short("seconds", "Seconds", "600");
  const watch = h("p", { class: "watch", "aria-live": "polite" });
  const fields = [service, route, kind, amount, share, seed, seconds];

  const showKind = () => {
    const { amount: asked, watch: text } = byName(kind.input.value);
    amount.element.hidden = !asked;
    if (asked) {
      setText(amount.element.querySelector("label"), asked.label);
      amount.input.value = asked.value;
    }
    replace(watch, h("strong", {}, "Watch: "), text, " ", watchLink(kind.input.value));
  };
  const showRoutes = async () => {
    const name = service.input.value;
    const routes = await routesOf(name);
    if (name !== service.input.value) return;
    replace(
      route.input,
      h("option", { value: "*" }, "all routes"),
      routes.map((one) => h("option", { value: one }, one)),
    );
  };
  kind.input.addEventListener("change", showKind);
  service.input.addEventListener("change", showRoutes);
  showKind();
  showRoutes();

  // The place of the new fault in the list that is sent: its errors have it in their names.
  let place = 0;
  const send = async (given) => {
    const path = labPath(given.service, "/faults");
    // PUT replaces all: those that are there are sent again, with the time that they have left.
    const old = await action.send({ method: "GET", path, isWhole: Array.isArray });
    const known = old && faultsIn(old);
    if (!known) return null;
    const kept = known.map(again);
    place = kept.length;
    const body = [...kept, faultOf(given)];
    const done = (list) => [
      `${given.service} is broken: ${faultText(list.at(-1))}. `,
      watchLink(given.kind),
    ];
    const result = await action.send({ method: "PUT", path, body, done, isWhole: Array.isArray });
    refresh();
    return result;
  };
  // "[0].ms" is about the field of the amount.
  const nameOf = (name) => {
    const own = name.replace(`[${place}].`, "");
    return /^(ms|from|to|status)$/.test(own) ? "amount" : own;
  };
  const whole = form({ label: "Break something", fields, submit: "Break it", send, nameOf });
  whole.querySelector("button").before(watch);
  return panel(
    "Break something",
    whole,
    h(
      "p",
      { class: "quiet" },
      "The same seed hits the same requests on each machine. ",
      "The counts of the other faults of the service begin again.",
    ),
  );
}

// What to watch for with each kind.
function allKinds() {
  return panel(
    "What to watch for",
    facts(
      KINDS.map(({ name, title, watch }) =>
        [title.split(":")[0], [sentence(watch), " ", watchLink(name)]],
      ),
    ),
  );
}

function sentence(text) {
  return text[0].toUpperCase() + text.slice(1);
}

function watchLink(kind) {
  const { place, page } = byName(kind);
  return h("a", { href: place }, `See ${page}`);
}

// The active faults of all services. `show(lists)` shows a list for each of them, null for one that
// could not be asked.
function activeFaults(action, refresh) {
  const content = h("div");
  const element = panel("Active faults", content);
  let shape = "";
  let cells = [];
  let latest = [];

  function show(lists) {
    latest = lists;
    // The list is made anew only if other faults are there: so the focus stays where it is.
    const now = JSON.stringify(lists.map((list) => list?.map(faultText) ?? null));
    if (now !== shape) draw(lists);
    shape = now;
    const all = lists.flatMap((list) => list ?? []);
    cells.forEach(([left, hit], place) => {
      setText(left, `ends in ${number(all[place].secondsLeft)} s`);
      setText(hit, `hit ${number(all[place].hit)} of ${number(all[place].matched)}`);
    });
  }

  function draw(lists) {
    cells = [];
    const rows = lists.flatMap((list, at) =>
      (list ?? []).map((fault, place) => row(at, fault, place)),
    );
    const silent = SERVICES.filter((_, at) => lists[at] === null).map(({ name }) => name);
    replace(
      content,
      rows.length === 0
        ? h(
          "p",
          {},
          silent.length > 0 ? "None that is known." : "✓ None: nothing is broken on purpose.",
        )
        : h("ul", { class: "list faults" }, rows),
      silent.length > 0 && h("p", { class: "bad" }, `⚠ ${silent.join(", ")} could not be asked.`),
      rows.length > 0 &&
        h("p", {}, h("button", { type: "button", class: "main", click: mendAll }, "Mend all")),
    );
  }

  function row(at, fault, place) {
    const { name } = SERVICES[at];
    const [hit, left] = [h("span", { class: "figure" }), h("span", { class: "figure" })];
    cells.push([left, hit]);
    const text = faultText(fault);
    return h(
      "li",
      {},
      h(
        "span",
        {},
        h("strong", {}, `⚠ ${name}`),
        ` ${text} `,
        fault.share < 1 && h("span", { class: "quiet" }, `(seed ${fault.seed})`),
      ),
      hit,
      left,
      h(
        "button",
        { type: "button", click: () => mendOne(at, place), "aria-label": `Mend ${name}: ${text}` },
        "Mend",
      ),
    );
  }

  async function mendOne(at, place) {
    const { name } = SERVICES[at];
    const path = labPath(name, "/faults");
    const rest = latest[at].filter((_, other) => other !== place);
    const done = () => `That fault of ${name} is mended.`;
    if (rest.length === 0) {
      await action.send({ method: "DELETE", path, done, isWhole: Array.isArray });
    } else {
      const body = rest.map(again);
      await action.send({ method: "PUT", path, body, done, isWhole: Array.isArray });
    }
    refresh();
  }

  async function mendAll() {
    // What is dead has no faults, and must not keep those of the others.
    const broken = SERVICES.filter((_, at) => latest[at]?.length > 0);
    const text = "No fault is active any more";
    await forAll(broken, action, "DELETE", "/faults", text, Array.isArray);
    refresh();
  }

  show(SERVICES.map(() => []));
  return { element, show };
}

// What acts on all services.
function wholeShop(action, refresh) {
  const reset = () =>
    forAll(SERVICES, action, "POST", "/reset", "All services are as they were at their start").then(refresh);
  const seed = () =>
    forAll(SERVICES, action, "POST", "/seed", "The shop has the data of the demo: 3 users, products and orders");
  return panel(
    "The whole shop",
    h(
      "p",
      { class: "row" },
      h("button", { type: "button", click: reset }, "Reset: empty the shop"),
      h("button", { type: "button", click: seed }, "Seed: the data of the demo"),
    ),
    h(
      "p",
      { class: "quiet" },
      "Seed works on an empty shop only, so that all ids agree: reset it first.",
    ),
    h(
      "p",
      { class: "quiet" },
      "The lab itself is never broken. But a fault of the gateway on all routes hits this page, ",
      "too: do not load it again before it is mended, or mend it with ",
      h("code", {}, "scripts/break.sh mend"),
      ".",
    ),
  );
}

// Sends the same to these services, one after another, and shows the last response, or the first
// that is an error.
async function forAll(services, action, method, path, text, isWhole) {
  for (const { name } of services) {
    const isLast = name === services.at(-1).name;
    const done = () => (isLast ? `${text}.` : `${name} is done; now the next …`);
    const result = await action.send({ method, path: labPath(name, path), done, isWhole });
    if (!result?.ok) return;
  }
}
