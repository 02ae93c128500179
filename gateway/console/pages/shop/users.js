// Users, with their orders and notifications.

import { actions } from "../../lib/action.js";
import { h } from "../../lib/dom.js";
import { field, form } from "../../lib/fields.js";
import { number } from "../../lib/format.js";
import { facts, panel } from "../../lib/parts.js";
import { isList, isObject } from "../../lib/verdict.js";
import { tableOf } from "./list.js";
import { COLUMNS as NOTIFICATION_COLUMNS } from "./notifications.js";
import { COLUMNS as ORDER_COLUMNS } from "./orders.js";
import { moment, record, userLink } from "./parts.js";

const PATH = "/api/users";

export const users = {
  name: "users",
  title: "Users",
  path: PATH,
  one: "user",
  all: "users",
  isNewestFirst: false,
  columns: [
    { name: "User", cell: ({ id }) => userLink(id, `#${id}`), text: ({ id }) => id },
    { name: "Name", cell: ({ name }) => name, isText: true },
    { name: "Email", cell: ({ email }) => email, isText: true },
    {
      name: "Since",
      cell: ({ createdAt }) => moment(createdAt),
      text: ({ createdAt }) => createdAt,
    },
  ],
  side,
  detail,
};

function fieldsOf({ name = "", email = "" } = {}) {
  return [
    field({ name: "name", label: "Name", value: name }),
    field({ name: "email", label: "Email", value: email }),
  ];
}

function side(load) {
  const action = actions();
  const send = async (body) => {
    const done = ({ id, name }) => [userLink(id, `User ${id}`), ` is ${name}.`];
    const result = await action.send({ method: "POST", path: PATH, body, keyed: true, done });
    if (result?.ok) load();
    return result;
  };
  const fields = fieldsOf();
  return panel(
    "New user",
    form({ label: "New user", fields, submit: "Create user", send, clears: true }),
    action.element,
  );
}

// The dashboard: the gateway asks three services, and says which did not answer.
function detail(id) {
  const path = `${PATH}/${encodeURIComponent(id)}`;
  const action = actions();
  const isWhole = (body) => isObject(body) && isObject(body.user);
  const view = record({ path: `${path}/dashboard`, what: `user ${id}`, isWhole, show });

  function show({ user, orders, notifications, totals, unavailable }) {
    return h(
      "div",
      {},
      h("h2", {}, `User ${user.id}: ${user.name}`),
      h(
        "div",
        { class: "sides" },
        panel(
          "The user",
          facts([
            ["Email", user.email],
            ["Since", moment(user.createdAt)],
            ["Changed", moment(user.updatedAt)],
          ]),
          change(user),
        ),
        h(
          "div",
          {},
          newest("Orders", orders, totals?.orders, ORDER_COLUMNS, unavailable, "order-service"),
          newest(
            "Notifications",
            notifications,
            totals?.notifications,
            NOTIFICATION_COLUMNS,
            unavailable,
            "notification-service",
          ),
        ),
      ),
    );
  }

  function change(user) {
    const send = async (body) => {
      const done = ({ name, email }) => `The user is ${name}, ${email}.`;
      const result = await action.send({ method: "PUT", path, body, done });
      if (result?.ok) view.load();
      return result;
    };
    const remove = () => action.send({ method: "DELETE", path, done: ({ message }) => message });
    return [
      form({ label: "Change the user", fields: fieldsOf(user), submit: "Save", send }),
      h(
        "p",
        { class: "row" },
        h("button", { type: "button", click: remove }, "Delete this user"),
        h("span", { class: "quiet" }, "the orders stay"),
      ),
    ];
  }

  return h("div", {}, view.element, action.element);
}

// The newest records of a part of the dashboard, or that its service did not answer.
function newest(title, records, total, columns, unavailable, service) {
  if (!isList(records)) {
    const isNamed = Array.isArray(unavailable) && unavailable.length > 0;
    const names = isNamed ? unavailable.join(", ") : service;
    return h(
      "section",
      { "aria-label": title },
      h("h2", {}, title),
      h(
        "div",
        { class: "result", "data-state": "outage" },
        h(
          "p",
          {},
          h("strong", { class: "verdict" }, "⚠ outage"),
          ` ${names} did not answer, so it is not known whether the user has any. `,
          "The rest of the page is right.",
        ),
      ),
    );
  }
  const own = columns.filter(({ name }) => name !== "User");
  return h(
    "section",
    { "aria-label": title },
    h("h2", {}, `${title}: ${number(total)}`),
    records.length === 0
      ? h("p", {}, "None yet.")
      : tableOf(own, records, `the newest ${title.toLowerCase()}`),
  );
}
