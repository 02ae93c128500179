//! Whether a request and its response are as the document describes them.

use chassis::testkit::Got;
use serde_json::Value;

use super::{Document, entries};

impl Document {
    /// Whether a request that the service took, and its answer, are as the
    /// document says.
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
            let optional = ["Link", "Idempotency-Replayed"].contains(&name);
            if !optional && got.header(name).is_empty() {
                return Err(format!("the documented header {name} is missing"));
            }
        }
        for name in [
            "location",
            "x-total-count",
            "link",
            "retry-after",
            "allow",
            "idempotency-replayed",
        ] {
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

    /// The example of an error with this code.
    pub fn example(&self, method: &str, path: &str, status: u16, code: &str) -> Option<&Value> {
        let operation = self.operation(method, path)?;
        let response = operation.value["responses"].get(status.to_string())?;
        let content = &self.resolved(response)["content"]["application/json"];
        content["examples"].get(code)?.get("value")
    }

    /// Whether a JSON body is one that the document lets be sent.
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
}
