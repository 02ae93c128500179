//! A line of metrics.

/// A line of metrics after its name: the labels that are needed, and the value.
pub(super) struct Line<'a> {
    pub(super) route: &'a str,
    pub(super) status: &'a str,
    pub(super) le: &'a str,
    pub(super) dependency: &'a str,
    pub(super) outcome: &'a str,
    pub(super) state: &'a str,
    pub(super) value: f64,
}

impl<'a> Line<'a> {
    /// Reads `{label="value",…} value`; a time or an exemplar may follow.
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        let mut line = Self {
            route: "",
            status: "",
            le: "",
            dependency: "",
            outcome: "",
            state: "",
            value: 0.0,
        };
        let mut rest = text;
        if let Some(labels) = text.strip_prefix('{') {
            rest = labels;
            while !rest.starts_with('}') {
                let (label, quoted) = rest.split_once("=\"")?;
                let (value, after) = quoted.split_at(closing_quote(quoted)?);
                match label {
                    "route" => line.route = value,
                    "status" => line.status = value,
                    "le" => line.le = value,
                    "dependency" => line.dependency = value,
                    "outcome" => line.outcome = value,
                    "state" => line.state = value,
                    _ => {}
                }
                let after = &after[1..];
                rest = after.strip_prefix(',').unwrap_or(after);
            }
            rest = &rest[1..];
        }
        let value = rest.split_ascii_whitespace().next()?.parse().ok();
        line.value = value.filter(|value: &f64| value.is_finite() && *value >= 0.0)?;
        Some(line)
    }
}

/// The position of the quote that ends a label's value. Escapes are skipped, not decoded:
/// no label that is needed has any.
fn closing_quote(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.bytes().position(|byte| {
        let closing = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        closing
    })
}
