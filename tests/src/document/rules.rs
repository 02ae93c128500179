//! Whether a document keeps the rules of OpenAPI 3.1.

use std::collections::BTreeSet;

use regex_lite::Regex;
use serde_json::Value;

use super::{Document, METHODS, Operation, entries, list, types};

impl Document {
    /// What the document breaks of the rules of OpenAPI 3.1.
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
                Some(schema) => {
                    self.check_schema(schema, &at, faults);
                    for (name, example) in entries(&content["examples"]) {
                        if let Err(fault) = self.check_value(&example["value"], schema, &at) {
                            faults.push(format!("its example {name} does not fit: {fault}"));
                        }
                    }
                }
                None => faults.push(format!("{at} has no schema")),
            }
        }
        for parameter in list(&operation.value["parameters"]) {
            let at = format!("{operation} {}", parameter["name"]);
            self.check_schema(&self.resolved(parameter)["schema"], &at, faults);
        }
    }

    /// Whether a schema is one, and its own examples are as it says.
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
}

/// A template without the names of its parameters.
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::good;
    use super::*;

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
}
