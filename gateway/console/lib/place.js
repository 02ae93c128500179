// Addresses within the console: #/shop/orders?before=40.

// The parameters of the present address.
export function parameters() {
  const [, query = ""] = location.hash.split("?");
  return new URLSearchParams(query);
}

// An address: its segments, and its parameters, of which those without a value are left out.
export function place(segments, parameters = {}) {
  const given = Object.entries(parameters).filter(([, value]) => value !== null && value !== "");
  const query = new URLSearchParams(given).toString();
  return `#/${segments.map(encodeURIComponent).join("/")}${query ? `?${query}` : ""}`;
}
