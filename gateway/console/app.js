// Starts the console: navigation, the page of the address, and what every page shows.
//
// A page is a module with a `title` and a function `mount(root, parts)`, which fills `root` and
// returns a function that stops what it has started. `parts` are the segments of the address after
// the name of the page: ["orders", "7"] for #/shop/orders/7.

import { h, replace, setText } from "./lib/dom.js";
import { time } from "./lib/format.js";
import { faultText, stateWord } from "./lib/state.js";
import { subscribe } from "./lib/stream.js";

const PAGES = {
  map: ["Map", () => import("./pages/map.js")],
  shop: ["Shop", () => import("./pages/shop.js")],
  charts: ["Charts", () => import("./pages/charts.js")],
  xray: ["X-ray", () => import("./pages/xray.js")],
  faults: ["Faults", () => import("./pages/faults.js")],
  scenarios: ["Scenarios", () => import("./pages/scenarios.js")],
  services: ["Services", () => import("./pages/services.js")],
};

const byId = (id) => document.getElementById(id);
const heading = byId("title");

// What ends the page that is shown.
let unmount = () => {};
// Counts the changes of the address: a page that arrives late must not replace the next one.
let visits = 0;

function route() {
  // What follows a question mark belongs to the page: lib/place.js.
  const [path] = location.hash.replace(/^#\/?/, "").split("?");
  const [name, ...parts] = path.split("/").filter(Boolean).map(decoded);
  return { name: name ?? "map", parts };
}

function decoded(segment) {
  try {
    return decodeURIComponent(segment);
  } catch {
    return segment;
  }
}

async function show() {
  visits += 1;
  const visit = visits;
  const { name, parts } = route();
  markCurrent(name);
  const page = await load(name);
  if (visit !== visits) return;
  unmount();
  unmount = () => {};
  const root = replace(byId("page"), h("div", { class: `page-${name}` })).firstChild;
  setText(heading, page.title);
  document.title = `${page.title} – The shop`;
  try {
    unmount = page.mount(root, parts) ?? unmount;
  } catch (error) {
    console.error(error);
    replace(root, h("p", { class: "sentence bad" }, `This page failed: ${error.message}`));
  }
  // At the first visit the browser is at the top, where a reader expects it.
  if (visit > 1) {
    heading.focus({ preventScroll: true });
    scrollTo(0, 0);
  }
}

async function load(name) {
  const [, module] = Object.hasOwn(PAGES, name) ? PAGES[name] : [];
  if (!module) return failed("No such page", `There is no page called ${name}.`);
  try {
    return await module();
  } catch (error) {
    console.error(error);
    return failed("Not loaded", "This page could not be loaded. Is the gateway running?");
  }
}

function failed(title, sentence) {
  return { title, mount: (root) => void replace(root, h("p", { class: "sentence" }, sentence)) };
}

function markCurrent(name) {
  for (const link of byId("pages").querySelectorAll("a")) {
    if (link.dataset.page === name) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

function navigation() {
  const links = Object.entries(PAGES).map(([name, [label]]) =>
    h("li", {}, h("a", { href: `#/${name}`, "data-page": name }, label)),
  );
  replace(byId("pages"), links);
  byId("skip").addEventListener("click", (event) => {
    // The address says which page is shown, so it must not become #main.
    event.preventDefault();
    heading.focus();
  });
}

// Whether the page shows the present.
function showLive({ live, reason, tick }) {
  const pill = byId("live");
  const since = tick ? ` since ${time(tick.at)}` : "";
  pill.classList.toggle("bad", !live);
  setText(pill, live ? "● live" : `✕ not live${since}: ${reason}`);
  document.body.classList.toggle("stale", !live);
}

// What is broken on purpose.
function showFaults({ tick }) {
  const broken = (tick?.services ?? []).flatMap(({ name, faults }) =>
    (faults ?? []).map((fault) => `${name} ${faultText(fault)}`),
  );
  const box = byId("broken");
  const text = broken.join("\n");
  if ((box.dataset.text ?? "") === text) return;
  box.dataset.text = text;
  box.hidden = broken.length === 0;
  const title = broken.length === 1 ? "1 fault is active:" : `${broken.length} faults are active:`;
  replace(
    box,
    h("strong", {}, `⚠ ${title}`),
    h("ul", {}, broken.map((one) => h("li", {}, one))),
    h("a", { href: "#/faults" }, "Mend"),
  );
  say(broken.length === 0 ? "No fault is active" : `${title} ${broken.join("; ")}`);
}

// The states of the services that were last said.
let known = new Map();

// Says which service has changed its state.
function announce({ tick }) {
  if (!tick) return;
  const states = new Map(tick.services.map(({ name, status }) => [name, status]));
  const changes = [...states].filter(([name, now]) => known.has(name) && known.get(name) !== now);
  known = states;
  if (changes.length > 0) {
    say(changes.map(([name, now]) => `${name} is ${stateWord(now)}`).join(", "));
  }
}

function say(text) {
  setText(byId("news"), text);
}

navigation();
addEventListener("hashchange", show);
show();
subscribe((state) => {
  showLive(state);
  showFaults(state);
  announce(state);
});
