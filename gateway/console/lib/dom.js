// Makes elements. Text stays text: there is no way here to turn a string into markup.

const SVG = "http://www.w3.org/2000/svg";

// An HTML element: h("a", { href: "#/map", class: "wide" }, "The map").
//
// A property that is a function listens to the event of its name: { click: () => … }.
// One that is null, undefined or false is left out; true is an attribute without a value.
// Children are nodes, texts, numbers, lists of them, or null for nothing.
export function h(tag, properties, ...children) {
  return fill(document.createElement(tag), properties, children);
}

// An element of an SVG, in the same way.
export function svg(tag, attributes, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

// Puts `children` in place of all that `node` has.
export function replace(node, ...children) {
  node.replaceChildren(...flat(children));
  return node;
}

// Sets a text, but only if it is another one, so that a selection in it and what a screen reader
// reads are not disturbed.
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function fill(node, properties, children) {
  for (const [name, value] of Object.entries(properties ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") node.addEventListener(name, value);
    // The attribute would be only what the field has at first.
    else if (name === "value" && "value" in node) node.value = value;
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  node.append(...flat(children));
  return node;
}

function flat(children) {
  const isThere = (child) => child !== null && child !== undefined && child !== false;
  return children.flat(Infinity).filter(isThere);
}
