// Orders.

import { actions } from "../../lib/action.js";
import { h } from "../../lib/dom.js";
import { field, form } from "../../lib/fields.js";
import { money, number } from "../../lib/format.js";
import { facts, panel } from "../../lib/parts.js";
import { choice, userChoice } from "./choice.js";
import { moment, orderLink, productLink, record, status, userLink } from "./parts.js";

const PATH = "/api/orders";

// The columns of a table of orders.
export const COLUMNS = [
  { name: "Order", cell: ({ id }) => orderLink(id), text: ({ id }) => id },
  { name: "User", cell: ({ userId }) => userLink(userId), text: ({ userId }) => `user ${userId}` },
  {
    name: "Product",
    cell: ({ productId }) => (productId ? productLink(productId) : "several"),
    text: ({ productId }) => `product ${productId}`,
  },
  { name: "Pieces", cell: ({ quantity }) => number(quantity), isFigure: true },
  { name: "Total", cell: ({ totalPrice }) => money(totalPrice), isFigure: true },
  { name: "Status", cell: (order) => status(order.status), text: (order) => order.status },
  {
    name: "Notification",
    cell: ({ notification }) => status(notification),
    text: ({ notification }) => notification,
  },
  {
    name: "Placed",
    cell: ({ createdAt }) => moment(createdAt),
    text: ({ createdAt }) => createdAt,
  },
];

export const orders = {
  name: "orders",
  title: "Orders",
  path: PATH,
  one: "order",
  all: "orders",
  columns: COLUMNS,
  isNewestFirst: true,
  side,
  detail,
};

function side(load) {
  const action = actions();
  const user = userChoice();
  const product = choice({
    name: "productId",
    label: "Product",
    path: "/api/products",
    text: ({ id, name, price, stock }) => `${id} · ${name} · ${money(price)} · ${stock} left`,
  });
  const quantity = field({ name: "quantity", label: "Pieces", kind: "number", value: "1" });
  const send = async (body) => {
    const done = (order) => [
      orderLink(order.id, `Order ${order.id}`),
      ` is ${order.status}, for ${money(order.totalPrice)}. Notification: ${order.notification}.`,
    ];
    const result = await action.send({ method: "POST", path: PATH, body, keyed: true, done });
    if (result?.ok) {
      load();
      product.load();
    }
    return result;
  };
  return panel(
    "Place an order",
    form({ label: "Place an order", fields: [user, product, quantity], submit: "Place order", send }),
    action.element,
  );
}

function detail(id) {
  const path = `${PATH}/${encodeURIComponent(id)}`;
  const action = actions();
  const view = record({ path, what: `order ${id}`, show });

  function show(order) {
    return h(
      "div",
      {},
      h("h2", {}, `Order ${order.id} `, status(order.status)),
      h(
        "div",
        { class: "sides even" },
        panel("The order", facts(factsOf(order))),
        panel("Its life", life(order)),
      ),
    );
  }

  const cancel = async () => {
    const done = (order) => `The order is ${order.status}.`;
    const result = await action.send({ method: "POST", path: `${path}/cancel`, keyed: true, done });
    if (result?.ok) view.load();
  };
  return h(
    "div",
    {},
    view.element,
    h(
      "p",
      { class: "row" },
      h("button", { type: "button", click: cancel }, "Cancel this order"),
      h("span", { class: "quiet" }, "gives its stock back; a second time is a conflict"),
    ),
    action.element,
  );
}

function factsOf(order) {
  const items = Array.isArray(order.items) && order.items.length > 1 ? order.items : null;
  return [
    ["User", userLink(order.userId)],
    ["Product", order.productId && productLink(order.productId)],
    [
      "Items",
      items &&
        h(
          "ul",
          {},
          items.map((one) => h("li", {}, `${one.quantity} × ${one.name}, ${money(one.totalPrice)}`)),
        ),
    ],
    ["Pieces", order.quantity && number(order.quantity)],
    ["Price of one", order.unitPrice !== undefined ? money(order.unitPrice) : null],
    ["Total", money(order.totalPrice)],
    ["Payment", order.paymentId],
    ["Reason", order.reason],
  ];
}

// What has happened to an order, as far as the order itself says it.
function life({ status: now, notification, createdAt, updatedAt }) {
  const step = (word, text, at = null) =>
    h("li", {}, status(word), ` ${text} `, at && h("span", { class: "quiet" }, moment(at)));
  return h(
    "ol",
    { class: "life" },
    step("confirmed", "The user and the product exist, and the stock is taken.", createdAt),
    step(notification, NOTIFIED[notification] ?? ""),
    now !== "confirmed" && step(now, CHANGED[now] ?? "", updatedAt),
  );
}

const NOTIFIED = {
  sent: "notification-service took the message to the user.",
  queued: "The message to the user is on its way.",
  failed: "notification-service did not take the message. The order stands all the same.",
};

const CHANGED = {
  cancelled: "The stock is given back, and the order adds nothing to the revenue.",
};
