// Forms: fields with names, hints, and what a service said about them. Whether a value is allowed
// is decided by the service, whose words appear below the field.

import { h, setText } from "./dom.js";
import { fieldErrors } from "./verdict.js";

// How many fields there have been: each has an id of its own.
let count = 0;

// A field. `name` is that of the JSON, and `kind` says what its text becomes: "text", "number", or
// a list of [value, text] to choose from. A `isShort` one needs little room.
export function field({ name, label, kind = "text", value = "", hint = null, isShort = false }) {
  count += 1;
  const id = `field-${count}`;
  const describedBy = hint ? `${id}-hint ${id}-error` : `${id}-error`;
  const all = { id, name, "aria-describedby": describedBy };
  const input = Array.isArray(kind)
    ? h("select", all, kind.map(([value, text]) => h("option", { value }, text)))
    : h("input", {
        type: "text",
        inputmode: kind === "number" ? "decimal" : null,
        autocomplete: "off",
        spellcheck: "false",
        ...all,
      });
  if (value !== "") input.value = value;
  const error = h("p", { class: "error", id: `${id}-error` });
  const element = h(
    "div",
    { class: isShort ? "field short" : "field" },
    h("label", { for: id }, label),
    input,
    hint && h("p", { class: "hint", id: `${id}-hint` }, hint),
    error,
  );
  // Its input may become another one.
  const made = { name, kind, input, element };
  // Shows what is wrong with it; null if nothing is.
  made.say = (message) => {
    setText(error, message ? `✕ ${message}` : "");
    if (message) made.input.setAttribute("aria-invalid", "true");
    else made.input.removeAttribute("aria-invalid");
  };
  return made;
}

// A form. `send(values)` is called with the JSON of its fields, and returns a result, or null if
// nothing was sent. The fields of a form that `clears` are empty after a success.
export function form({ label, fields, submit, send, clears = false, nameOf }) {
  const element = h(
    "form",
    { "aria-label": label, novalidate: true },
    h("div", { class: "fields" }, fields.map((field) => field.element)),
    h("button", { type: "submit", class: "main" }, submit),
  );
  element.addEventListener("submit", async (event) => {
    event.preventDefault();
    const result = await send(values(fields));
    if (!result) return;
    showErrors(fields, result, nameOf);
    if (result.ok && clears) {
      for (const { input } of fields) input.value = "";
      fields[0].input.focus();
    }
  });
  return element;
}

// The values of fields as JSON. What is empty is left out.
function values(fields) {
  const given = fields.filter(({ input }) => input.value !== "");
  return Object.fromEntries(
    given.map(({ name, kind, input }) =>
      [name, kind === "number" ? number(input.value) : input.value],
    ),
  );
}

// A number. Text that is none stays text, and the service says what it thinks of it.
function number(text) {
  return text.trim() !== "" && Number.isFinite(Number(text)) ? Number(text) : text;
}

// Shows what a response says about fields, and moves to the first that is wrong. `nameOf` finds
// the name of a field from that in the response.
function showErrors(fields, result, nameOf = (name) => name) {
  const errors = new Map([...fieldErrors(result)].map(([name, text]) => [nameOf(name), text]));
  for (const field of fields) field.say(errors.get(field.name));
  fields.find(({ name }) => errors.has(name))?.input.focus();
}
