// A field for the id of a user or a product: a list of the first of them, or any id. If the list
// cannot be read, an id can still be typed.

import { request } from "../../lib/api.js";
import { h } from "../../lib/dom.js";
import { field } from "../../lib/fields.js";
import { isList } from "../../lib/verdict.js";

// How many there are to choose from.
const MOST = 100;

const OTHER = "other";

// `path` is the list, and `text(record)` what is shown of one. At first the first one is chosen, or
// none if it is `optional`.
export function choice({ name, label, path, text, isOptional = false }) {
  const chosen = field({ name, label });
  let isTyped = true;

  function use(input) {
    input.id = chosen.input.id;
    input.setAttribute("aria-describedby", chosen.input.getAttribute("aria-describedby"));
    chosen.input.replaceWith(input);
    chosen.input = input;
  }

  // Reads the list again.
  chosen.load = async () => {
    const result = await request("GET", `${path}?limit=${MOST}`);
    if (!result.ok || !isList(result.body)) {
      if (isTyped) chosen.input.placeholder = "an id; the list could not be read";
      return;
    }
    const now = chosen.input.value;
    const isKnown = result.body.some(({ id }) => String(id) === now);
    // What was typed stays; and an empty list has nothing to choose from.
    if (isTyped && now !== "" && !isKnown) return;
    if (result.body.length === 0 && !isOptional) return;
    const hadFocus = document.activeElement === chosen.input;
    use(select(result.body, isKnown ? now : null));
    if (hadFocus) chosen.input.focus();
  };

  function select(records, now) {
    isTyped = false;
    const options = records.map((record) => h("option", { value: record.id }, text(record)));
    const select = h(
      "select",
      { name, change },
      isOptional && h("option", { value: "" }, "none"),
      options,
      h("option", { value: OTHER }, "another id …"),
    );
    if (now !== null) select.value = now;
    return select;
  }

  function change({ target }) {
    if (target.value !== OTHER) return;
    isTyped = true;
    // Whoever types nothing gets the list back.
    const blur = () => chosen.input.value === "" && chosen.load();
    use(h("input", { name, type: "text", autocomplete: "off", blur }));
    chosen.input.focus();
  }

  chosen.load();
  return chosen;
}

// The field for a user.
export function userChoice(more) {
  const text = ({ id, name }) => `${id} · ${name}`;
  return choice({ name: "userId", label: "User", path: "/api/users", text, ...more });
}
