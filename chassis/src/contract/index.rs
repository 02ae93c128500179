//! The answer to `GET /`: what is here.

use std::fmt::Write as _;

use serde::Serialize;
use utoipa::ToSchema;
use utoipa::openapi::OpenApi;

use crate::contract::accept::Accept;
use crate::contract::api::About;
use crate::contract::reply::Reply;

const TEXT: &str = "text/plain; charset=utf-8";
const HTML: &str = "text/html; charset=utf-8";
const JSON: &str = "application/json";

/// The service and its routes.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Index {
    /// The name of the service.
    #[schema(examples("user-service"))]
    service: &'static str,
    /// The web framework it is built on.
    #[schema(examples("axum"))]
    framework: &'static str,
    /// The version of the service.
    #[schema(examples("0.1.0"))]
    version: &'static str,
    /// Its purpose in one sentence.
    #[schema(examples("Users of the shop."))]
    description: &'static str,
    /// Its routes.
    routes: Vec<IndexRoute>,
}

/// A route of the service.
#[derive(Debug, Serialize, ToSchema)]
struct IndexRoute {
    /// The method.
    #[schema(examples("GET"))]
    method: &'static str,
    /// The path, with its parameters in braces.
    #[schema(examples("/api/users/{id}"))]
    path: String,
    /// What it does.
    #[schema(examples("One user"))]
    summary: String,
}

impl Index {
    /// The routes of `document`.
    pub(super) fn new(about: About, document: &OpenApi) -> Self {
        let mut routes = Vec::new();
        for (path, item) in &document.paths.paths {
            let operations = [
                ("GET", &item.get),
                ("POST", &item.post),
                ("PUT", &item.put),
                ("PATCH", &item.patch),
                ("DELETE", &item.delete),
            ];
            for (method, operation) in operations {
                // This answer, and the files of a page, are not what a reader looks for.
                if let Some(operation) = operation
                    && !["/", "/docs/{file}"].contains(&path.as_str())
                {
                    routes.push(IndexRoute {
                        method,
                        path: path.clone(),
                        summary: operation.summary.clone().unwrap_or_default(),
                    });
                }
            }
        }
        Self {
            service: about.name,
            framework: about.framework,
            version: about.version,
            description: about.description,
            routes,
        }
    }

    /// It in the form that the client prefers.
    pub(super) fn reply(&self, accept: &Accept) -> Reply {
        let reply = match accept.prefers(&[TEXT, HTML, JSON]) {
            JSON => Reply::json(200, self),
            HTML => Reply::ok(HTML, self.html().into_bytes()),
            _ => Reply::ok(TEXT, self.text().into_bytes()),
        };
        reply.with_header("vary", "Accept")
    }

    fn text(&self) -> String {
        let (name, version, framework) = (self.service, self.version, self.framework);
        let mut text = format!("{name} {version}, on {framework}\n{}\n\n", self.description);
        let width = self.routes.iter().map(|route| route.path.len()).max();
        for route in &self.routes {
            let (method, path, summary) = (route.method, &route.path, &route.summary);
            // Writing to a string never fails.
            let _ = writeln!(
                text,
                "{method:<6} {path:<width$}  {summary}",
                width = width.unwrap_or_default()
            );
        }
        text
    }

    fn html(&self) -> String {
        let mut routes = String::new();
        for route in &self.routes {
            let (method, path, summary) = (route.method, &route.path, &route.summary);
            // Relative, so that they work behind a path prefix.
            let relative = path.trim_start_matches('/');
            let path = if method == "GET" && !path.contains('{') {
                format!("<a href=\"{relative}\">{path}</a>")
            } else {
                path.clone()
            };
            let _ = writeln!(routes, "<li><code>{method} {path}</code> {summary}</li>");
        }
        include_str!("index.html")
            .replace("{service}", self.service)
            .replace("{description}", self.description)
            .replace("{routes}", &routes)
    }
}
