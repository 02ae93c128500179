//! An OpenAPI document: whether it is valid, and whether an answer matches it.
//!
//! Only the keywords that the services' documents use are known. Any other keyword is a fault, so
//! that nothing passes unchecked.

use std::collections::BTreeSet;

use chassis::testkit::Got;
use regex_lite::Regex;
use serde_json::{Map, Value};

/// A document from `/openapi.json`.
#[derive(Clone, Debug)]
pub struct Document(Value);

/// An operation: a method on a path.
#[derive(Clone, Copy, Debug)]
pub struct Operation<'a> {
    /// The method in upper case.
    pub method: &'a str,
    /// The path, with its parameters in braces.
    pub template: &'a str,
    /// The operation in the document.
    pub value: &'a Value,
}

const METHODS: [(&str, &str); 5] = [
    ("get", "GET"),
    ("post", "POST"),
    ("put", "PUT"),
    ("patch", "PATCH"),
    ("delete", "DELETE"),
];

/// Keywords that do not affect validity.
const ANNOTATIONS: [&str; 6] = [
    "description",
    "title",
    "examples",
    "default",
    "format",
    "deprecated",
];

impl Document {
    /// A document from the answer of a service.
    pub fn new(document: Value) -> Self {
        Self(document)
    }

    /// All operations.
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

    /// The violations of the rules of OpenAPI 3.1.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let document = &self.0;
        let version = document["openapi"].as_str().unwrap_or_default();
        if !version.starts_with("3.1.") {
            faults.push(format!("openapi is {version:?}"));
        }
        for field in ["title", "version"] {
            if document["info"][field].as_str().is_none_or(str::is_empty) {
                faults.push(format!("info.{field} is not set"));
            }
        }
        self.check_references(document, "#", &mut faults);
        self.check_paths(&mut faults);
        for operation in self.operations() {
            self.check_operation(operation, &mut faults);
        }
        let name = Regex::new("^[A-Za-z0-9._-]+$").expect("a pattern");
        for (key, schema) in entries(&document["components"]["schemas"]) {
            if !name.is_match(key) {
                faults.push(format!("components: {key:?} is no name for a schema"));
            }
            self.check_schema(schema, &format!("components.{key}"), &mut faults);
        }
        faults
    }

    /// Checks a request that the service accepted, and its answer, against the document.
    pub fn check(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
        got: &Got,
    ) -> Result<(), String> {
        let operation = self
            .operation(method, path)
            .ok_or("the document has no such operation")?;
        let status = got.status.to_string();
        let response = operation.value["responses"]
            .get(&status)
            .ok_or_else(|| format!("{status} is not documented"))?;
        let response = self.resolved(response);
        for (name, _) in entries(&response["headers"]) {
            let optional = name == "Link";
            if !optional && got.header(name).is_empty() {
                return Err(format!("the documented header {name} is missing"));
            }
        }
        for name in ["location", "x-total-count", "link", "retry-after", "allow"] {
            let documented =
                entries(&response["headers"]).any(|(known, _)| known.eq_ignore_ascii_case(name));
            if !got.header(name).is_empty() && !documented {
                return Err(format!("the header {name} is not documented for {status}"));
            }
        }
        self.check_body(&response["content"], got)?;
        match (body, got.status) {
            (Some(body), 200..=299) => self.check_request(method, path, body),
            _ => Ok(()),
        }
    }

    /// Checks whether the document allows a JSON body.
    pub fn check_request(&self, method: &str, path: &str, body: &Value) -> Result<(), String> {
        let operation = self
            .operation(method, path)
            .ok_or("the document has no such operation")?;
        let content = &self.resolved(&operation.value["requestBody"])["content"];
        self.check_value(body, &content["application/json"]["schema"], "the request")
    }

    fn check_body(&self, content: &Value, got: &Got) -> Result<(), String> {
        let documented: Vec<&str> = entries(content).map(|(name, _)| name).collect();
        let essence = got
            .header("content-type")
            .split(';')
            .next()
            .unwrap_or_default();
        if documented.is_empty() {
            return if got.body.is_empty() {
                Ok(())
            } else {
                Err("there is a body, and none is documented".to_owned())
            };
        }
        if !documented.contains(&essence) {
            return Err(format!(
                "content type {essence:?}, documented is {documented:?}"
            ));
        }
        let body = if essence == "application/json" {
            serde_json::from_slice(&got.body).map_err(|cause| format!("not JSON: {cause}"))?
        } else {
            Value::String(String::from_utf8_lossy(&got.body).into_owned())
        };
        self.check_value(&body, &content[essence]["schema"], "the answer")
    }

    /// Checks `value` against `schema`. Stricter than JSON Schema: a field that the schema does
    /// not name is a fault.
    pub fn check_value(&self, value: &Value, schema: &Value, at: &str) -> Result<(), String> {
        let schema = match schema {
            Value::Bool(true) => return Ok(()),
            Value::Object(schema) => schema,
            other => return Err(format!("{at}: {other} is no schema")),
        };
        for (keyword, rule) in schema {
            self.check_keyword(value, schema, keyword, rule, at)?;
        }
        Ok(())
    }

    fn check_keyword(
        &self,
        value: &Value,
        schema: &Map<String, Value>,
        keyword: &str,
        rule: &Value,
        at: &str,
    ) -> Result<(), String> {
        let fail = |what: String| Err(format!("{at}: {what}, got {value}"));
        let number = rule.as_f64().unwrap_or_default();
        let length =
            |text: &str| u32::try_from(text.chars().count()).map_or(f64::INFINITY, f64::from);
        match keyword {
            "$ref" => return self.check_value(value, self.target(rule)?, at),
            "type" if !types(rule).any(|name| is_a(value, name)) => {
                return fail(format!("expected {rule}"));
            }
            "enum" if !list(rule).any(|one| one == value) => {
                return fail(format!("expected one of {rule}"));
            }
            "const" if value != rule => return fail(format!("expected {rule}")),
            "properties" => return self.check_properties(value, schema, at),
            "required" => {
                if let Value::Object(object) = value {
                    for name in list(rule).filter_map(Value::as_str) {
                        if !object.contains_key(name) {
                            return fail(format!("{name} is missing"));
                        }
                    }
                }
            }
            "items" => {
                for (index, item) in list(value).enumerate() {
                    self.check_value(item, rule, &format!("{at}[{index}]"))?;
                }
            }
            "oneOf" | "anyOf" => {
                let fitting = list(rule)
                    .filter(|one| self.check_value(value, one, at).is_ok())
                    .count();
                if fitting == 0 || (keyword == "oneOf" && fitting > 1) {
                    return fail(format!("{fitting} of {keyword} fit"));
                }
            }
            "allOf" => {
                for one in list(rule) {
                    self.check_value(value, one, at)?;
                }
            }
            "pattern" => {
                let pattern = rule.as_str().unwrap_or_default();
                let pattern =
                    Regex::new(pattern).map_err(|cause| format!("{at}: {pattern}: {cause}"))?;
                if value.as_str().is_some_and(|text| !pattern.is_match(text)) {
                    return fail(format!("expected {rule}"));
                }
            }
            "minLength" if value.as_str().is_some_and(|text| length(text) < number) => {
                return fail(format!("shorter than {rule}"));
            }
            "maxLength" if value.as_str().is_some_and(|text| length(text) > number) => {
                return fail(format!("longer than {rule}"));
            }
            "minimum" if value.as_f64().is_some_and(|n| n < number) => {
                return fail(format!("below {rule}"));
            }
            "maximum" if value.as_f64().is_some_and(|n| n > number) => {
                return fail(format!("above {rule}"));
            }
            // 0.01 has no exact binary form, so the remainder is not exact either.
            "multipleOf"
                if value
                    .as_f64()
                    .is_some_and(|n| ((n / number).round() * number - n).abs() > 1e-6) =>
            {
                return fail(format!("not a multiple of {rule}"));
            }
            // Checked elsewhere; "additionalProperties" together with "properties".
            "type"
            | "enum"
            | "const"
            | "minLength"
            | "maxLength"
            | "minimum"
            | "maximum"
            | "multipleOf"
            | "additionalProperties" => {}
            name if ANNOTATIONS.contains(&name) => {}
            name => {
                return Err(format!(
                    "{at}: the keyword {name:?} is not one that these tests know"
                ));
            }
        }
        Ok(())
    }

    fn check_properties(
        &self,
        value: &Value,
        schema: &Map<String, Value>,
        at: &str,
    ) -> Result<(), String> {
        let Value::Object(object) = value else {
            return Ok(());
        };
        for (name, field) in object {
            let at = format!("{at}.{name}");
            match (
                schema["properties"].get(name),
                schema.get("additionalProperties"),
            ) {
                (Some(schema), _) | (None, Some(schema)) => self.check_value(field, schema, &at)?,
                (None, None) => return Err(format!("{at} is not documented")),
            }
        }
        Ok(())
    }

    fn check_references(&self, value: &Value, at: &str, faults: &mut Vec<String>) {
        match value {
            Value::Object(object) => {
                for (key, value) in object {
                    let at = format!("{at}/{key}");
                    if key == "$ref" && self.target(value).is_err() {
                        faults.push(format!("{at}: {value} is nowhere"));
                    }
                    self.check_references(value, &at, faults);
                }
            }
            Value::Array(array) => {
                for (index, value) in array.iter().enumerate() {
                    self.check_references(value, &format!("{at}/{index}"), faults);
                }
            }
            _ => {}
        }
    }

    fn check_paths(&self, faults: &mut Vec<String>) {
        let (mut shapes, mut ids) = (BTreeSet::new(), BTreeSet::new());
        for (template, item) in entries(&self.0["paths"]) {
            if !template.starts_with('/') {
                faults.push(format!("{template} does not begin with a slash"));
            }
            if !shapes.insert(shape(template)) {
                faults.push(format!(
                    "{template} differs from another path only in the name of a parameter"
                ));
            }
            for (key, _) in entries(item) {
                if !METHODS.iter().any(|(known, _)| *known == key) {
                    faults.push(format!("{template}: {key:?} is not expected here"));
                }
            }
        }
        for operation in self.operations() {
            match operation.value["operationId"].as_str() {
                None => faults.push(format!("{operation} has no operationId")),
                Some(id) => {
                    if !ids.insert(id) {
                        faults.push(format!("{operation}: another operation is called {id} too"));
                    }
                }
            }
        }
    }

    fn check_operation(&self, operation: Operation<'_>, faults: &mut Vec<String>) {
        let mut fault = |what: String| faults.push(format!("{operation}: {what}"));
        let mut declared = BTreeSet::new();
        for parameter in list(&operation.value["parameters"]) {
            let parameter = self.resolved(parameter);
            let name = parameter["name"].as_str().unwrap_or_default();
            match parameter["in"].as_str() {
                Some("path") if parameter["required"] != true => {
                    fault(format!("the path parameter {name} is not required"));
                }
                Some("path") => {
                    declared.insert(name);
                }
                Some("query" | "header") => {}
                other => fault(format!("a parameter in {other:?}")),
            }
            if parameter.get("schema").is_none() {
                fault(format!("the parameter {name} has no schema"));
            }
        }
        if declared != parameters(operation.template) {
            fault(format!("declares the path parameters {declared:?}"));
        }
        if entries(&operation.value["responses"]).next().is_none() {
            fault("no responses".to_owned());
        }
        let status = Regex::new("^([1-5][0-9][0-9]|default)$").expect("a pattern");
        for (code, response) in entries(&operation.value["responses"]) {
            let response = self.resolved(response);
            if !status.is_match(code) {
                fault(format!("{code:?} is no status"));
            }
            if response["description"].as_str().is_none_or(str::is_empty) {
                fault(format!("{code} has no description"));
            }
        }
        let mut schemas = Vec::new();
        for (code, response) in entries(&operation.value["responses"]) {
            for (kind, content) in entries(&self.resolved(response)["content"]) {
                schemas.push((format!("{operation} {code} {kind}"), content));
            }
        }
        for (kind, content) in entries(&self.resolved(&operation.value["requestBody"])["content"]) {
            schemas.push((format!("{operation} request {kind}"), content));
        }
        for (at, content) in schemas {
            match content.get("schema") {
                Some(schema) => self.check_schema(schema, &at, faults),
                None => faults.push(format!("{at} has no schema")),
            }
        }
        for parameter in list(&operation.value["parameters"]) {
            let at = format!("{operation} {}", parameter["name"]);
            self.check_schema(&self.resolved(parameter)["schema"], &at, faults);
        }
    }

    /// Checks a schema, and its own examples against it.
    fn check_schema(&self, schema: &Value, at: &str, faults: &mut Vec<String>) {
        let Value::Object(keywords) = schema else {
            if !schema.is_boolean() {
                faults.push(format!("{at}: {schema} is no schema"));
            }
            return;
        };
        for example in keywords.get("examples").into_iter().flat_map(list) {
            if let Err(fault) = self.check_value(example, schema, at) {
                faults.push(format!("its own example does not fit: {fault}"));
            }
        }
        if let Some(default) = keywords.get("default")
            && let Err(fault) = self.check_value(default, schema, at)
        {
            faults.push(format!("its own default does not fit: {fault}"));
        }
        for (keyword, rule) in keywords {
            match keyword.as_str() {
                "type" => {
                    for name in types(rule) {
                        if ![
                            "object", "array", "string", "integer", "number", "boolean", "null",
                        ]
                        .contains(&name)
                        {
                            faults.push(format!("{at}: {name} is no type"));
                        }
                    }
                }
                "required" => {
                    for name in list(rule).filter_map(Value::as_str) {
                        if schema["properties"].get(name).is_none() {
                            faults.push(format!("{at}: {name} is required and not described"));
                        }
                    }
                }
                "properties" => {
                    for (name, schema) in entries(rule) {
                        self.check_schema(schema, &format!("{at}.{name}"), faults);
                    }
                }
                "items" => self.check_schema(rule, &format!("{at}[]"), faults),
                "oneOf" | "anyOf" | "allOf" => {
                    for one in list(rule) {
                        self.check_schema(one, at, faults);
                    }
                }
                "nullable" | "example" => faults.push(format!("{at}: {keyword} is of OpenAPI 3.0")),
                _ => {}
            }
        }
    }

    /// The operation of a request. A literal segment matches before a parameter.
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

/// A path template without the names of its parameters.
pub fn shape(template: &str) -> String {
    let segments: Vec<_> = template
        .split('/')
        .map(|segment| {
            if segment.starts_with('{') {
                "{}"
            } else {
                segment
            }
        })
        .collect();
    segments.join("/")
}

fn parameters(template: &str) -> BTreeSet<&str> {
    template
        .split('/')
        .filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'))
        .collect()
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

fn is_a(value: &Value, name: &str) -> bool {
    match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.as_f64().is_some_and(|n| n.fract() == 0.0),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn good() -> Value {
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

    #[test]
    fn a_fault_of_a_document_is_found() {
        assert_eq!(Document::new(good()).faults(), Vec::<String>::new());
        let operation = "/paths/~1a~1{id}/get";
        for (pointer, value, reason) in [
            ("/openapi", json!("3.0.3"), "an older version"),
            ("/info/title", json!(""), "no title"),
            (
                &format!("{operation}/responses/200/description"),
                json!(""),
                "no description",
            ),
            (&format!("{operation}/responses"), json!({}), "no responses"),
            (&format!("{operation}/operationId"), json!(null), "no id"),
            (
                &format!("{operation}/parameters"),
                json!([]),
                "an undeclared parameter",
            ),
            (
                &format!("{operation}/parameters/0/required"),
                json!(false),
                "an optional one in a path",
            ),
            (
                &format!("{operation}/responses/200/content/application~1json/schema/$ref"),
                json!("#/nowhere"),
                "a reference to nothing",
            ),
            (
                "/components/schemas/A/required",
                json!(["other"]),
                "required, but not described",
            ),
            (
                "/components/schemas/A/properties/n/examples",
                json!([-1]),
                "an example that does not fit",
            ),
            (
                "/components/schemas/A/properties/n/type",
                json!("int"),
                "no such type",
            ),
        ] {
            let mut document = good();
            *document.pointer_mut(pointer).expect(reason) = value;
            assert!(!Document::new(document).faults().is_empty(), "{reason}");
        }
        let mut twice = good();
        twice["paths"]["/a/{other}"] = twice["paths"]["/a/{id}"].clone();
        assert!(
            Document::new(twice).faults().len() >= 2,
            "the same path and the same id twice"
        );
    }

    #[test]
    fn a_value_that_does_not_fit_is_found() {
        let document = Document::new(good());
        let schema = json!({"$ref": "#/components/schemas/A"});
        for (value, fits, reason) in [
            (json!({"id": "1", "n": 2}), true, "all fields"),
            (json!({"id": "1", "n": null}), true, "one of two types"),
            (json!({"n": 2}), false, "a field is missing"),
            (json!({"id": 1}), false, "another type"),
            (json!({"id": "x"}), false, "another pattern"),
            (json!({"id": "1", "n": -1}), false, "too small"),
            (json!({"id": "1", "n": 1.5}), false, "not whole"),
            (json!({"id": "1", "more": 1}), false, "not described"),
            (json!([]), false, "a list"),
        ] {
            assert_eq!(
                document.check_value(&value, &schema, "it").is_ok(),
                fits,
                "{reason}"
            );
        }
        let unknown = json!({"not": {"type": "string"}});
        assert!(
            document.check_value(&json!(1), &unknown, "it").is_err(),
            "an unknown keyword"
        );
    }
}
