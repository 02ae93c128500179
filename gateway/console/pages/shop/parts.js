// What the views of the shop have in common.

import { outage } from "../../lib/action.js";
import { request } from "../../lib/api.js";
import { h, replace } from "../../lib/dom.js";
import { exchange, xrayLink } from "../../lib/exchange.js";
import { keepFocus } from "../../lib/focus.js";
import { dateTime, time } from "../../lib/format.js";
import { isObject } from "../../lib/verdict.js";

// The shape of a word, so that nobody needs its colour.
const SHAPES = {
  confirmed: ["✓", "good"],
  delivered: ["✓", "good"],
  sent: ["✓", "good"],
  processing: ["…", "plain"],
  shipped: ["→", "plain"],
  pending: ["…", "plain"],
  queued: ["…", "plain"],
  cancelled: ["✕", "plain"],
  refunded: ["↩", "plain"],
  failed: ["⚠", "bad"],
};

// A status, with its shape: ✓ confirmed.
export function status(word) {
  const [shape, kind] = SHAPES[word] ?? ["·", "plain"];
  return h(
    "span",
    { class: `status ${kind}` },
    h("span", { "aria-hidden": "true" }, `${shape} `),
    String(word),
  );
}

// A link to a record: orderLink("7", "Order 7").
export const orderLink = (id, text = `#${id}`) => linkTo("orders", id, text);
export const userLink = (id, text = `user ${id}`) => linkTo("users", id, text);
export const productLink = (id, text = `product ${id}`) => linkTo("products", id, text);

function linkTo(name, id, text) {
  return h("a", { href: `#/shop/${name}/${encodeURIComponent(String(id))}` }, text);
}

// A moment, in a table or a text: of today the time, of another day the date, too.
export function moment(at) {
  const isToday = new Date(at).toDateString() === new Date().toDateString();
  return h("time", { datetime: String(at), title: String(at) }, isToday ? time(at) : dateTime(at));
}

// The view of the record at `path`: `show(body)` makes it, and is called again by `load`. `what` is
// what is shown: "order 7".
export function record({ path, what, isWhole = isObject, show }) {
  const element = h("div", {}, h("p", { role: "status", class: "quiet" }, `Reading ${what} …`));

  async function load() {
    const result = await request("GET", path);
    if (result.ok && isWhole(result.body)) {
      keepFocus(element, () => replace(element, show(result.body), exchange(result)));
    } else if (result.status === 404) {
      replace(
        element,
        h(
          "p",
          { class: "sentence", role: "alert" },
          `There is no ${what}. ${result.error} `,
          xrayLink(result),
        ),
        exchange(result),
      );
    } else {
      replace(element, outage(result, what, load, isWhole));
    }
  }

  load();
  return { element, load };
}
