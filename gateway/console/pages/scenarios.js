// Scenarios: a story, a prediction, a run, and the answer. #/scenarios is the list,
// #/scenarios/<name> one of them.

import { outage } from "../lib/action.js";
import { request } from "../lib/api.js";
import { h, replace } from "../lib/dom.js";
import { command, exchange } from "../lib/exchange.js";
import { duration } from "../lib/format.js";
import { place } from "../lib/place.js";
import { scenario } from "./scenarios/one.js";

export const title = "Scenarios";

const PATH = "/lab/scenarios";

export function mount(root, [name]) {
  const content = h(
    "div",
    {},
    h("p", { role: "status", class: "quiet" }, "Reading the scenarios …"),
  );
  replace(root, content);
  let unmount = () => {};
  let isOver = false;

  async function load() {
    const result = await request("GET", PATH);
    if (isOver) return;
    if (result.status === 404) replace(content, isOff());
    else if (!result.ok || !isList(result.body)) {
      replace(content, outage(result, "the scenarios", load, isList));
    } else if (name === undefined) replace(content, list(result.body), exchange(result));
    else unmount = one(content, result.body, name);
  }

  load();
  return () => {
    isOver = true;
    unmount();
  };
}

function isList(body) {
  return Array.isArray(body) && body.every((one) => typeof one?.name === "string");
}

function isOff() {
  return h(
    "p",
    { class: "sentence", role: "alert" },
    "There are no scenarios here, because the lab is off. Start the shop with ",
    h("code", {}, "LAB_MODE=on"),
    ", as ",
    h("code", {}, "scripts/start.sh"),
    " does.",
  );
}

function list(scenarios) {
  const row = ({ name, title, question, needs, seconds }) =>
    h(
      "li",
      {},
      h("a", { href: place(["scenarios", name]) }, title),
      h("span", {}, question),
      h("span", { class: "quiet" }, `${duration(seconds)}${needs ? ", in the terminal" : ""}`),
    );
  return h(
    "div",
    {},
    h(
      "p",
      {},
      "Each is an experiment with the running shop: real load, one change, and measurements ",
      "before and after. It empties the shop first. Predict, then see whether you were right.",
    ),
    h("ul", { class: "list scenario-list" }, scenarios.map(row)),
    h("h2", {}, "In the terminal"),
    command("scripts/scenario.sh list"),
  );
}

function one(content, scenarios, name) {
  const at = scenarios.findIndex((known) => known.name === name);
  if (at === -1) {
    replace(
      content,
      back(),
      h("p", { class: "sentence", role: "alert" }, `There is no scenario called ${name}.`),
    );
    return () => {};
  }
  const next = scenarios[at + 1];
  const { element, unmount } = scenario(scenarios[at], `${PATH}/${encodeURIComponent(name)}/run`);
  replace(
    content,
    back(),
    element,
    next && h("p", {}, "Next: ", h("a", { href: place(["scenarios", next.name]) }, next.title)),
  );
  return unmount;
}

function back() {
  return h("p", {}, h("a", { href: "#/scenarios" }, "← all scenarios"));
}
