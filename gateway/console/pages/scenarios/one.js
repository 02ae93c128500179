// One scenario: its story, the prediction, the run and its result.

import { request } from "../../lib/api.js";
import { h, replace, setText } from "../../lib/dom.js";
import { command, exchange } from "../../lib/exchange.js";
import { duration } from "../../lib/format.js";
import { verdict } from "../../lib/verdict.js";
import { result as resultOf } from "./result.js";

// How often the run is asked for, in milliseconds.
const PAUSE = 500;

// The run that this tab has started last: it can be shown again after a reload. What never ran is
// not asked for.
const STARTED = "console.scenario";

// The element of a scenario, whose run is at `path`, and what ends it.
export function scenario({ name, title, story, question, choices, needs, seconds }, path) {
  const bar = h("progress", { max: seconds, "aria-label": "Progress" });
  const meanwhile = h(
    "div",
    { class: "progress", hidden: true },
    bar,
    h(
      "p",
      {},
      "Meanwhile, watch ",
      h("a", { href: "#/map" }, "the map"),
      " or ",
      h("a", { href: "#/charts" }, "the charts"),
      ". The run goes on; its result is here when you come back.",
    ),
  );
  const log = h("ol", { class: "log", "aria-label": "What has happened" });
  const said = h("p", { role: "status" });
  const outcome = h("div");
  const more = h("div");
  const shell = `scripts/scenario.sh run ${name} --predict`;
  let timer = 0;
  let isOver = false;
  let isRunning = false;
  // When it was started, if it was here.
  let began = 0;
  // What is in `outcome`.
  let shown = "";

  const options = choices.map((text, index) => {
    const number = index + 1;
    const input = h(
      "input",
      { type: "radio", name: "choice", value: number, change: () => setText(said, "") },
    );
    return h("label", { class: "choice" }, input, h("span", {}, `${number}. ${text}`));
  });
  const run = h("button", { type: "submit", class: "main" }, "Run it");
  const stop = h("button", { type: "button", hidden: true, click: end }, "Stop and mend");
  const takes = h("span", { class: "quiet" }, `takes about ${duration(seconds)}, and empties the shop first`);
  const prediction = h(
    "form",
    { submit: start },
    h("fieldset", {}, h("legend", {}, question), options),
    !needs && h("p", { class: "row" }, run, stop, takes),
  );
  const element = h(
    "article",
    { class: "scenario" },
    h("h2", {}, title),
    String(story).trim().split(/\n\s*\n/).map((paragraph) => h("p", {}, paragraph)),
    prediction,
    needs && terminal(),
    said,
    meanwhile,
    log,
    outcome,
    more,
    !needs && h("details", {}, h("summary", {}, "The same in the terminal"), command(shell)),
  );

  function terminal() {
    return [
      h(
        "p",
        { class: "sentence" },
        "This one stops and starts processes, which a page cannot. Run it where the shop was started:",
      ),
      command(shell),
    ];
  }

  // Nothing is made anew while it runs, so that the focus stays where it is.
  function setRunning(now) {
    isRunning = now;
    setText(run, now ? "Running …" : "Run it");
    stop.hidden = !now;
    takes.hidden = now;
    meanwhile.hidden = !now;
  }

  function chosen() {
    const checked = prediction.querySelector("input:checked");
    return checked ? Number(checked.value) : null;
  }

  async function start(event) {
    event.preventDefault();
    if (isRunning) return;
    const choice = chosen();
    if (choice === null) {
      setText(said, "Predict first: choose one of the answers.");
      prediction.querySelector("input").focus();
      return;
    }
    setRunning(true);
    began = Date.now();
    replace(outcome);
    replace(log);
    shown = "";
    setText(said, "Starting …");
    const result = await request("POST", path, { body: { choice } });
    replace(more, exchange(result));
    if (result.ok) {
      sessionStorage.setItem(STARTED, name);
      show(result.body);
      follow();
    } else {
      setRunning(false);
      setText(said, `✕ ${verdict(result).sentence}`);
    }
  }

  async function end() {
    const result = await request("DELETE", path);
    replace(more, exchange(result));
    if (!result.ok) setText(said, `✕ It could not be stopped. ${verdict(result).sentence}`);
    // The run goes on until it has mended what it broke.
    else setText(said, "Stopping, and mending what it broke …");
  }

  function follow() {
    clearTimeout(timer);
    if (!isOver && isRunning) timer = setTimeout(look, PAUSE);
  }

  async function look() {
    const result = await request("GET", path);
    if (isOver || !isRunning) return;
    if (result.ok && typeof result.body?.state === "string") show(result.body);
    else if (result.status === 404) {
      setRunning(false);
      setText(said, "The run is gone: the gateway was started again.");
    } else setText(said, `⚠ Not known how it goes. ${verdict(result).sentence}`);
    follow();
  }

  function show(report) {
    setRunning(report.state === "running");
    setText(said, isRunning ? report.step : ended(report));
    // A bar without a value says that the rest is not known.
    if (began) bar.value = Math.min((Date.now() - began) / 1000, seconds);
    const lines = report.log ?? [];
    log.append(...lines.slice(log.childElementCount).map((line) => h("li", {}, line)));
    const now = JSON.stringify([report.phases, report.answer, report.assertions]);
    if (now !== shown) replace(outcome, resultOf(report, choices));
    shown = now;
  }

  // A run that goes on, or the result of the last one.
  async function resume() {
    const result = await request("GET", path);
    if (isOver || isRunning || !result.ok || typeof result.body?.state !== "string") return;
    if (result.body.choice) options[result.body.choice - 1]?.querySelector("input").click();
    show(result.body);
    follow();
  }

  if (sessionStorage.getItem(STARTED) === name) resume();
  return {
    element,
    unmount() {
      isOver = true;
      clearTimeout(timer);
    },
  };
}

// How a run has ended.
function ended({ state, error }) {
  if (state === "done") return "✓ Done, and all is mended.";
  if (error) return `✕ The run could not go on: ${error}`;
  return "✕ Done, but not everything held that should: see the checks below.";
}
