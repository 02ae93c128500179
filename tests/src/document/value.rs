//! Whether a JSON value is as a schema describes it.

use regex_lite::Regex;
use serde_json::{Map, Value};

use super::{Document, list, types};

/// Keywords that say nothing about what is valid.
const ANNOTATIONS: [&str; 6] = [
    "description",
    "title",
    "examples",
    "default",
    "format",
    "deprecated",
];

impl Document {
    /// Whether `value` is as `schema` says. Stricter than JSON Schema: a field
    /// that the schema does not name is a fault.
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
            // As validators compute it: by a fraction such as 0.01, many multiples of it fail.
            "multipleOf" if value.as_f64().is_some_and(|n| (n / number).fract() != 0.0) => {
                return fail(format!("not a multiple of {rule}"));
            }
            // Kept; "additionalProperties" is checked together with "properties".
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

    use super::super::good;
    use super::*;

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
            "a keyword that is not looked at"
        );
    }
}
