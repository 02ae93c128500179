// Products and their stock.

import { actions } from "../../lib/action.js";
import { h } from "../../lib/dom.js";
import { field, form } from "../../lib/fields.js";
import { money, number } from "../../lib/format.js";
import { facts, panel } from "../../lib/parts.js";
import { userChoice } from "./choice.js";
import { moment, productLink, record, userLink } from "./parts.js";

const PATH = "/api/products";

// Fewer than that is few.
const FEW = 5;

export const products = {
  name: "products",
  title: "Products",
  path: PATH,
  one: "product",
  all: "products",
  isNewestFirst: false,
  columns: [
    { name: "Product", cell: ({ id }) => productLink(id, `#${id}`), text: ({ id }) => id },
    { name: "Name", cell: ({ name }) => name, isText: true },
    { name: "Price", cell: ({ price }) => money(price), isFigure: true },
    {
      name: "In stock",
      cell: ({ stock }) => [stockNote(stock), " ", number(stock)],
      text: ({ stock }) => stock,
      isFigure: true,
    },
    {
      name: "Seller",
      cell: ({ sellerId }) => (sellerId ? userLink(sellerId) : "–"),
      text: ({ sellerId }) => (sellerId ? `user ${sellerId}` : ""),
    },
  ],
  side,
  detail,
};

function stockNote(stock) {
  if (stock === 0) return h("span", { class: "status bad" }, "✕ sold out");
  return stock < FEW ? h("span", { class: "status warn" }, "△ few left") : null;
}

function fieldsOf({ name = "", price = "", stock = "" } = {}) {
  return [
    field({ name: "name", label: "Name", value: name }),
    field({ name: "price", label: "Price", kind: "number", value: String(price) }),
    field({ name: "stock", label: "In stock", kind: "number", value: String(stock) }),
  ];
}

function side(load) {
  const action = actions();
  const fields = [
    ...fieldsOf(),
    userChoice({ name: "sellerId", label: "Seller", isOptional: true }),
  ];
  const send = async (body) => {
    const done = ({ id, name, stock }) => [
      productLink(id, `Product ${id}`),
      ` is ${name}, ${number(stock)} in stock.`,
    ];
    const result = await action.send({ method: "POST", path: PATH, body, keyed: true, done });
    if (result?.ok) load();
    return result;
  };
  return panel(
    "New product",
    form({ label: "New product", fields, submit: "Create product", send, clears: true }),
    action.element,
  );
}

function detail(id) {
  const path = `${PATH}/${encodeURIComponent(id)}`;
  const action = actions();
  const view = record({ path, what: `product ${id}`, show });
  const sendAnd = async (request) => {
    const result = await action.send(request);
    if (result?.ok) view.load();
    return result;
  };

  function show(product) {
    return h(
      "div",
      {},
      h("h2", {}, `Product ${product.id}: ${product.name}`),
      h(
        "div",
        { class: "sides even" },
        panel(
          "The product",
          facts([
            ["Price", money(product.price)],
            ["In stock", [number(product.stock), " ", stockNote(product.stock)]],
            ["Reserved", product.reserved !== undefined ? number(product.reserved) : null],
            ["Seller", product.sellerId ? userLink(product.sellerId) : "none"],
            ["Since", moment(product.createdAt)],
            ["Changed", moment(product.updatedAt)],
          ]),
        ),
        panel("Change it", change(product)),
        panel("Take or add stock", stock()),
      ),
    );
  }

  function change(product) {
    const done = ({ name, price }) => `The product is ${name}, ${money(price)}.`;
    const send = (body) => sendAnd({ method: "PUT", path, body, done });
    const remove = () => action.send({ method: "DELETE", path, done: ({ message }) => message });
    return [
      form({ label: "Change the product", fields: fieldsOf(product), submit: "Save", send }),
      h("p", {}, h("button", { type: "button", click: remove }, "Delete this product")),
    ];
  }

  function stock() {
    const hint = "-2 takes two; it never goes below zero, whoever else takes at the same time";
    const delta = field({ name: "delta", label: "Change by", kind: "number", value: "-1", hint });
    const done = (product) => `${number(product.stock)} are in stock.`;
    const send = (body) =>
      sendAnd({ method: "PATCH", path: `${path}/stock`, body, keyed: true, done });
    return form({ label: "Take or add stock", fields: [delta], submit: "Change stock", send });
  }

  return h("div", {}, view.element, action.element);
}
