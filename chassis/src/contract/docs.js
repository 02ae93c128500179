// A file of its own, so that a Content-Security-Policy can forbid scripts in the page.
const { service } = document.currentScript.dataset;

// Swagger UI has a dark mode, but leaves it to the page when to use it.
const dark = matchMedia("(prefers-color-scheme: dark)");
const follow = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
dark.addEventListener("change", follow);
follow();

// The page is read to its end, and Swagger UI is loaded.
addEventListener("DOMContentLoaded", () => {
  SwaggerUIBundle({
    url: "openapi.json",
    dom_id: "#ui",
    deepLinking: true,
    tryItOutEnabled: true,
    validatorUrl: null,
    defaultModelsExpandDepth: 0,
    // What every service has comes after its own.
    tagsSorter: (one, other) => (one === "operations") - (other === "operations"),
  });
  // Links to the services that answer. Their ports follow each other, from 8001 or another.
  const services = ["user-service", "product-service", "order-service", "notification-service", "analytics-service"];
  // The gateway has another port, and may load nothing from others.
  if (!services.includes(service)) return;
  const first = location.port ? location.port - services.indexOf(service) : 8001;
  for (const [index, name] of services.entries()) {
    const here = name === service;
    const port = first + index;
    const entry = document.createElement(here ? "b" : "a");
    entry.textContent = name;
    entry.hidden = !here;
    document.getElementById("services").append(entry);
    if (!here) {
      const url = `${location.protocol}//${location.hostname}:${port}`;
      entry.href = `${url}/docs`;
      fetch(`${url}/health`)
        .then((answer) => answer.json())
        .then((health) => { entry.hidden = health.service !== name; })
        .catch(() => {});
    }
  }
});
