// The focus, where a part of a page is made anew.

// Calls `change()`, which makes the content of `element` anew. If the focus was in there, it goes
// to what is at the same place now. Otherwise the keyboard would start again at the top.
export function keepFocus(element, change) {
  const had = document.activeElement;
  const place = had && element.contains(had) ? alike(element, had).indexOf(had) : -1;
  change();
  if (place >= 0) alike(element, had)[place]?.focus();
}

function alike(element, one) {
  return Array.from(element.querySelectorAll(one.localName));
}
