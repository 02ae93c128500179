// A list of records: page by page, or those in which a text occurs.

import { outage } from "../../lib/action.js";
import { request } from "../../lib/api.js";
import { h, replace } from "../../lib/dom.js";
import { exchange } from "../../lib/exchange.js";
import { keepFocus } from "../../lib/focus.js";
import { number } from "../../lib/format.js";
import { scroller } from "../../lib/parts.js";
import { parameters, place } from "../../lib/place.js";
import { isList } from "../../lib/verdict.js";

// How many records a page has.
const PAGE = 20;

// A search reads so many records at once, and so many in all. It shows the first of those found.
const CHUNK = 1000;
const MOST_READ = 10_000;
const MOST_SHOWN = 100;

// The list of a resource, which has
//
// - `name`: its segment of the address,
// - `path`: where the list is,
// - `one`, `all`: what one record and many are called,
// - `columns`: for each its `name`, `cell(record)` for what it shows, `text(record)` for what a
//   search finds there if the cell is no text; `isFigure` for numbers, `isText` for long texts,
// - `isNewestFirst`: how it is sorted if the address does not say it.
//
// Returns its element, and a function that reads it again.
export function list({ name, path, one, all, columns, isNewestFirst }) {
  const given = parameters();
  const search = given.get("search") ?? "";
  const newest = given.has("order") ? given.get("order") === "desc" : isNewestFirst;
  const cursor = newest ? "before" : "after";
  const at = given.get(cursor);
  const order = (isNewest) => (isNewest === isNewestFirst ? null : isNewest ? "desc" : "asc");
  const address = (more) => place(["shop", name], { order: order(newest), ...more });

  const count = h("p", { class: "quiet", role: "status" }, "Reading …");
  const content = h("div");
  const element = h(
    "section",
    { "aria-label": all },
    h(
      "div",
      { class: "row" },
      searchForm(),
      h(
        "a",
        { href: place(["shop", name], { order: order(!newest), search }) },
        newest ? "Oldest first" : "Newest first",
      ),
      h("button", { type: "button", click: () => load() }, "Refresh"),
    ),
    count,
    content,
  );

  function searchForm() {
    const input = h("input", {
      type: "search",
      "aria-label": `Search ${all}`,
      placeholder: `Search ${all}`,
      value: search,
    });
    const submit = (event) => {
      event.preventDefault();
      location.hash = address({ search: input.value.trim() });
    };
    return h("form", { role: "search", class: "row", submit }, input, h("button", {}, "Search"));
  }

  function load() {
    return search ? find() : readPage();
  }

  async function readPage() {
    const result = await read({ limit: PAGE, [cursor]: at });
    if (!isRead(result)) return;
    const records = result.body;
    const total = Number(result.headers["x-total-count"] ?? NaN);
    const hasMore = (result.headers.link ?? "").includes('rel="next"');
    const shown = records.length === total ? "" : `, ${records.length} of them here`;
    replace(count, `${number(total)} ${total === 1 ? one : all}${shown}`);
    show(
      table(records, at ? `There are no more ${all}.` : `There are no ${all} yet.`),
      h(
        "p",
        { class: "row" },
        at && h("a", { href: address({}) }, "First page"),
        hasMore && h("a", { href: address({ [cursor]: records.at(-1).id }) }, "Next page"),
      ),
      exchange(result),
    );
  }

  async function find() {
    const wanted = search.toLowerCase();
    const found = [];
    let seen = 0;
    let last = null;
    let result;
    let isComplete = false;
    while (!isComplete && seen < MOST_READ) {
      result = await read({ limit: CHUNK, [cursor]: last });
      if (!isRead(result)) return;
      seen += result.body.length;
      found.push(...result.body.filter((record) => textOf(record).includes(wanted)));
      isComplete = result.body.length < CHUNK;
      last = result.body.at(-1)?.id;
    }
    const of = isComplete ? "all" : `the ${newest ? "newest" : "oldest"}`;
    const rest = found.length > MOST_SHOWN ? `; the first ${MOST_SHOWN} are here` : "";
    replace(count, `${number(found.length)} of ${of} ${number(seen)} ${all} match${rest}`);
    show(
      table(found.slice(0, MOST_SHOWN), `“${search}” occurs in none of them.`),
      h("p", {}, h("a", { href: address({}) }, `Show all ${all}`)),
      exchange(result),
    );
  }

  function show(...children) {
    keepFocus(content, () => replace(content, children));
  }

  function read(query) {
    const asked = Object.entries({ order: newest ? "desc" : null, ...query });
    const known = asked.filter(([, value]) => value !== null && value !== undefined);
    return request("GET", `${path}?${new URLSearchParams(known)}`);
  }

  // Whether a list was read. If it was not, the page says why.
  function isRead(result) {
    if (result.ok && isList(result.body)) return true;
    replace(count, "not known");
    replace(content, outage(result, `the ${all}`, load, isList));
    return false;
  }

  function textOf(record) {
    const texts = columns.map(({ text, cell }) => String((text ?? cell)(record) ?? ""));
    return texts.join("\n").toLowerCase();
  }

  load();
  return { element, load };

  function table(records, nothing) {
    return records.length === 0 ? h("p", {}, nothing) : tableOf(columns, records, all);
  }
}

// A table of records.
export function tableOf(columns, records, label) {
  const kind = ({ isFigure, isText }) => (isFigure ? "figure" : isText ? "text" : null);
  const head = columns.map((column) => h("th", { scope: "col", class: kind(column) }, column.name));
  const row = (record) =>
    h("tr", {}, columns.map((column) => h("td", { class: kind(column) }, column.cell(record))));
  return scroller(
    `Table of ${label}`,
    h("table", {}, h("thead", {}, h("tr", {}, head)), h("tbody", {}, records.map(row))),
  );
}
