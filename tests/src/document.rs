//! An OpenAPI document: what it describes.
//!
//! | module | what it checks |
//! |---|---|
//! | `rules` | the document itself, by the rules of OpenAPI 3.1 |
//! | `exchange` | a request and its response, by the document |
//! | `value` | a JSON value, by a schema |
//!
//! Only what the services' documents use is understood; an unknown keyword is itself a
//! fault, so that nothing passes unchecked.

mod exchange;
mod rules;
mod value;

pub use rules::shape;

use serde_json::Value;

/// A document that was read from `/openapi.json`.
#[derive(Clone, Debug)]
pub struct Document(Value);

/// An operation: a method on a path.
#[derive(Clone, Copy, Debug)]
pub struct Operation<'a> {
    /// In upper case.
    pub method: &'a str,
    /// With its parameters in braces.
    pub template: &'a str,
    /// What the document says of it.
    pub value: &'a Value,
}

const METHODS: [(&str, &str); 5] = [
    ("get", "GET"),
    ("post", "POST"),
    ("put", "PUT"),
    ("patch", "PATCH"),
    ("delete", "DELETE"),
];

impl Document {
    /// Takes what a service answered.
    pub fn new(document: Value) -> Self {
        Self(document)
    }

    /// Every operation.
    pub fn operations(&self) -> Vec<Operation<'_>> {
        let mut operations = Vec::new();
        for (template, item) in entries(&self.0["paths"]) {
            for (key, method) in METHODS {
                if let Some(value) = item.get(key) {
                    operations.push(Operation {
                        method,
                        template,
                        value,
                    });
                }
            }
        }
        operations
    }

    /// The operation that a request belongs to. A literal segment is a better
    /// match than a parameter.
    fn operation(&self, method: &str, path: &str) -> Option<Operation<'_>> {
        let path = path.split('?').next().unwrap_or_default();
        let method = if method == "HEAD" { "GET" } else { method };
        self.operations()
            .into_iter()
            .filter(|operation| matches(operation.template, path))
            .min_by_key(|operation| operation.template.matches('{').count())
            .map(|best| best.template)
            .and_then(|template| {
                self.operations()
                    .into_iter()
                    .find(|operation| operation.template == template && operation.method == method)
            })
    }

    fn resolved<'a>(&'a self, value: &'a Value) -> &'a Value {
        match value.get("$ref") {
            Some(reference) => self.target(reference).unwrap_or(value),
            None => value,
        }
    }

    fn target(&self, reference: &Value) -> Result<&Value, String> {
        let pointer = reference.as_str().and_then(|text| text.strip_prefix('#'));
        pointer
            .and_then(|pointer| self.0.pointer(pointer))
            .ok_or_else(|| format!("{reference} is nowhere"))
    }
}

impl std::fmt::Display for Operation<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.method, self.template)
    }
}

fn matches(template: &str, path: &str) -> bool {
    let (template, path): (Vec<_>, Vec<_>) =
        (template.split('/').collect(), path.split('/').collect());
    template.len() == path.len()
        && template
            .iter()
            .zip(&path)
            .all(|(expected, segment)| expected.starts_with('{') || expected == segment)
}

fn entries(value: &Value) -> impl Iterator<Item = (&str, &Value)> {
    value
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, value)| (key.as_str(), value))
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn types(rule: &Value) -> impl Iterator<Item = &str> {
    rule.as_str()
        .into_iter()
        .chain(list(rule).filter_map(Value::as_str))
}

/// A small document without faults.
#[cfg(test)]
fn good() -> Value {
    use serde_json::json;

    json!({
        "openapi": "3.1.0",
        "info": {"title": "a", "version": "1"},
        "paths": {"/a/{id}": {"get": {
            "operationId": "a",
            "parameters": [{"name": "id", "in": "path", "required": true, "schema": {"type": "string"}}],
            "responses": {"200": {"description": "good", "content": {
                "application/json": {"schema": {"$ref": "#/components/schemas/A"}},
            }}},
        }}},
        "components": {"schemas": {"A": {
            "type": "object",
            "required": ["id"],
            "properties": {
                "id": {"type": "string", "pattern": "^[1-9]$"},
                "n": {"type": ["integer", "null"], "minimum": 0, "examples": [1]},
            },
        }}},
    })
}
