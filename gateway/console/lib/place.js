// Addresses within the console: #/shop/orders?before=40.

// The segments of the present address after the name of the page.
export function segments() {
  const [path] = location.hash.split("?");
  return path.split("/").slice(2).filter(Boolean).map(decoded);
}

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

function decoded(segment) {
  try {
    return decodeURIComponent(segment);
  } catch {
    return segment;
  }
}
