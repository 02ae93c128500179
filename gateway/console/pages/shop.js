// The shop: users, products, orders and notifications. #/shop/orders is a list, #/shop/orders/7 one
// of them.

import { h, replace } from "../lib/dom.js";
import { tabs } from "../lib/parts.js";
import { list } from "./shop/list.js";
import { notifications } from "./shop/notifications.js";
import { orders } from "./shop/orders.js";
import { products } from "./shop/products.js";
import { users } from "./shop/users.js";

export const title = "Shop";

// Each has what `list()` needs, and
//
// - `side(load)`: what is next to the list, which `load` reads again,
// - `detail(id)`: the view of one, if there is one.
const RESOURCES = [orders, products, users, notifications];

export function mount(root, [name = "orders", id]) {
  const resource = RESOURCES.find((one) => one.name === name);
  const views = RESOURCES.map((one) => [`#/shop/${one.name}`, one.title, one === resource]);
  replace(root, tabs("Shop", views), view(resource, name, id));
}

function view(resource, name, id) {
  if (!resource) return h("p", { class: "sentence" }, `The shop has nothing called ${name}.`);
  if (id !== undefined && resource.detail) return resource.detail(id);
  const records = list(resource);
  return h("div", { class: "sides" }, resource.side(records.load), records.element);
}
