import { h, replace } from "../lib/dom.js";

export const title = "Faults";

export function mount(root, parts) {
  replace(root, h("p", {}, `This page is being built. ${parts.join(" / ")}`));
  return () => {};
}
