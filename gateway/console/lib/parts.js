// Parts of pages.

import { h } from "./dom.js";

// Names with their values. Those without a value are left out.
export function facts(all) {
  const known = all.filter(([, value]) => value !== null && value !== undefined);
  return h(
    "dl",
    { class: "pairs" },
    known.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))),
  );
}

// A part of a page with a heading.
export function panel(heading, ...content) {
  return h("section", { class: "panel", "aria-label": heading }, h("h2", {}, heading), content);
}

// A wide part that scrolls by itself, also with the keyboard.
export function scroller(label, ...content) {
  return h("div", { class: "scroll", tabindex: 0, role: "group", "aria-label": label }, content);
}

// Links to views, each as [address, text, whether it is the current one].
export function tabs(label, views) {
  const tab = ([href, text, isCurrent]) =>
    h("li", {}, h("a", { href, "aria-current": isCurrent && "page" }, text));
  return h("nav", { class: "tabs", "aria-label": label }, h("ul", {}, views.map(tab)));
}
