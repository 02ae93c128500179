// Notifications: sent, marked as read, deleted.

import { actions } from "../../lib/action.js";
import { h } from "../../lib/dom.js";
import { field, form } from "../../lib/fields.js";
import { panel } from "../../lib/parts.js";
import { userChoice } from "./choice.js";
import { moment, userLink } from "./parts.js";

const PATH = "/api/notifications";

// The columns of a table of notifications.
export const COLUMNS = [
  { name: "#", cell: ({ id }) => id },
  { name: "User", cell: ({ userId }) => userLink(userId), text: ({ userId }) => `user ${userId}` },
  { name: "Message", cell: ({ message }) => message, isText: true },
  { name: "Type", cell: ({ type }) => type },
  { name: "Read", cell: ({ read }) => (read ? "✓ read" : "unread") },
  { name: "Sent", cell: ({ createdAt }) => moment(createdAt), text: ({ createdAt }) => createdAt },
];

// The latest action: its place is beside the list, its buttons are in it.
let action = null;
let reload = () => {};

export const notifications = {
  name: "notifications",
  title: "Notifications",
  path: PATH,
  one: "notification",
  all: "notifications",
  isNewestFirst: true,
  columns: [...COLUMNS, { name: "Change", cell: buttons, text: () => "" }],
  side,
};

function buttons({ id, read }) {
  const path = `${PATH}/${encodeURIComponent(id)}`;
  const send = async (request) => {
    const result = await action.send(request);
    if (result?.ok) reload();
  };
  const mark = () =>
    send({ method: "PATCH", path: `${path}/read`, keyed: true, done: () => `Notification ${id} is read.` });
  const remove = () => send({ method: "DELETE", path, done: ({ message }) => message });
  const button = (text, click) =>
    h(
      "button",
      { type: "button", class: "small", click, "aria-label": `${text} notification ${id}` },
      text,
    );
  return h(
    "span",
    { class: "small-row" },
    !read && button("Mark read", mark),
    button("Delete", remove),
  );
}

function side(load) {
  action = actions();
  reload = load;
  const fields = [
    userChoice(),
    field({ name: "message", label: "Message" }),
    field({ name: "type", label: "Type", hint: "info if it is empty" }),
  ];
  const send = async (body) => {
    const done = ({ id }) => `Notification ${id} is sent.`;
    const path = `${PATH}/send`;
    const result = await action.send({ method: "POST", path, body, keyed: true, done });
    if (result?.ok) load();
    return result;
  };
  return panel(
    "Send a notification",
    form({ label: "Send a notification", fields, submit: "Send", send }),
    action.element,
  );
}
