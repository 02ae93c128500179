//! Which of several representations a client prefers, by its `Accept` header
//! ([RFC 9110, 12.5.1](https://www.rfc-editor.org/rfc/rfc9110#section-12.5.1)).

/// The media ranges that a client accepts, in its order.
///
/// ```
/// use chassis::contract::accept::Accept;
///
/// let offers = ["text/plain", "text/html", "application/json"];
/// let curl = Accept::parse([b"*/*".as_slice()]);
/// assert_eq!(curl.prefers(&offers), "text/plain");
/// let browser = Accept::parse([b"text/html, */*;q=0.8".as_slice()]);
/// assert_eq!(browser.prefers(&offers), "text/html");
/// ```
#[derive(Clone, Debug, Default)]
pub struct Accept(Vec<Range>);

#[derive(Clone, Debug)]
struct Range {
    /// Such as `text/plain`, `text/*` or `*/*`, in lower case.
    name: String,
    version: Option<String>,
    quality: f32,
}

impl Accept {
    /// Reads the lines of the header. What is no media range is ignored.
    pub fn parse<'a>(lines: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let lines = lines
            .into_iter()
            .filter_map(|line| str::from_utf8(line).ok());
        let ranges = lines.flat_map(|line| line.split(','));
        Self(ranges.filter_map(Range::parse).collect())
    }

    /// The one of `offers` that the client prefers: by the quality it gives, then by how
    /// exactly it names the type, then by its order, then by ours. The first if it
    /// accepts none.
    ///
    /// # Panics
    ///
    /// Without an offer.
    pub fn prefers<'o>(&self, offers: &[&'o str]) -> &'o str {
        let mut best = (offers[0], self.wants(offers[0]));
        for offer in &offers[1..] {
            let wanted = self.wants(offer);
            if wanted > best.1 {
                best = (offer, wanted);
            }
        }
        best.0
    }

    /// How much the client wants an offer: the quality in thousandths, how exactly it names
    /// the offer, and how early.
    fn wants(&self, offer: &str) -> Option<(f32, u8, isize)> {
        let (name, version) = parameters(offer);
        let ranges = self.0.iter().zip((0..).map(|place: isize| -place));
        let matching = ranges.filter_map(|(range, place)| {
            let exactness = range.exactness(name, version)?;
            Some((exactness, place, range.quality))
        });
        // The range that names it most exactly says how much it is wanted.
        let (exactness, place, quality) =
            matching.max_by_key(|(exactness, place, _)| (*exactness, *place))?;
        (quality > 0.0).then_some((quality, exactness, place))
    }
}

impl Range {
    fn parse(text: &str) -> Option<Self> {
        let (name, version) = parameters(text);
        name.contains('/').then(|| Self {
            name: name.to_ascii_lowercase(),
            version: version.map(str::to_owned),
            quality: parameter(text, "q")
                .and_then(|quality| quality.parse().ok())
                .filter(|quality| (0.0..=1.0).contains(quality))
                .unwrap_or(1.0),
        })
    }

    /// How exactly it names a media type; `None` if it does not.
    fn exactness(&self, name: &str, version: Option<&str>) -> Option<u8> {
        if self.name == "*/*" {
            return Some(0);
        }
        if let Some(kind) = self.name.strip_suffix("/*") {
            return (name.split('/').next() == Some(kind)).then_some(1);
        }
        if self.name != name {
            return None;
        }
        match self.version.as_deref() {
            None => Some(2),
            wanted => (wanted == version).then_some(3),
        }
    }
}

/// The name of a media type, and its version. Other parameters do not tell one
/// representation of the shop from another.
fn parameters(text: &str) -> (&str, Option<&str>) {
    let name = text.split(';').next().unwrap_or_default().trim();
    (name, parameter(text, "version"))
}

fn parameter<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.split(';').skip(1).find_map(|parameter| {
        let (known, value) = parameter.split_once('=')?;
        let value = value.trim().trim_matches('"');
        known.trim().eq_ignore_ascii_case(name).then_some(value)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
    const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

    #[test]
    fn openmetrics_is_for_those_who_ask_for_it() {
        // The first three are those of Prometheus 2.53, 3.0, and 2.53 with native histograms.
        for (header, expected) in [
            (
                "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
                OPENMETRICS,
            ),
            (
                "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1",
                OPENMETRICS,
            ),
            (
                "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.5,application/openmetrics-text;version=1.0.0;q=0.4,application/openmetrics-text;version=0.0.1;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1",
                OPENMETRICS,
            ),
            ("", TEXT),
            ("*/*", TEXT),
            (
                "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
                TEXT,
            ),
            ("application/openmetrics-text", OPENMETRICS),
            ("Application/OpenMetrics-Text; Version=1.0.0", OPENMETRICS),
            (
                "application/openmetrics-text; version=\"1.0.0\"",
                OPENMETRICS,
            ),
            ("application/openmetrics-text, */*", OPENMETRICS),
            ("application/*", OPENMETRICS),
            ("application/openmetrics-text;version=0.0.1", TEXT),
            ("application/openmetrics-text;q=0.3, text/plain;q=0.7", TEXT),
            (
                "application/openmetrics-text;q=0.7, text/plain;q=0.3",
                OPENMETRICS,
            ),
            ("application/openmetrics-text;q=0.3, */*;q=0.7", TEXT),
            ("application/openmetrics-text;q=0", TEXT),
            ("application/openmetrics-text;q=0, */*", TEXT),
            ("text/plain;q=0, */*", OPENMETRICS),
            ("text/plain, application/openmetrics-text", TEXT),
            ("application/openmetrics-text, text/plain", OPENMETRICS),
            ("application/json", TEXT),
            ("nonsense;;q=,=", TEXT),
            ("application/openmetrics-text;q=NaN", OPENMETRICS),
        ] {
            let accept = Accept::parse([header.as_bytes()]);
            assert_eq!(accept.prefers(&[TEXT, OPENMETRICS]), expected, "{header}");
            let reversed = Accept::parse(header.split(',').map(str::as_bytes));
            assert_eq!(
                reversed.prefers(&[TEXT, OPENMETRICS]),
                expected,
                "{header} in several lines"
            );
        }
    }

    #[test]
    fn of_equally_wanted_types_the_one_named_first_is_preferred() {
        let offers = ["text/plain", "text/html", "application/json"];
        for (header, expected) in [
            ("application/json, text/plain, */*", "application/json"),
            ("text/*", "text/plain"),
            ("application/json", "application/json"),
            ("application/json;q=0.1, text/html;q=0.2", "text/html"),
            ("image/png", "text/plain"),
        ] {
            let accept = Accept::parse([header.as_bytes()]);
            assert_eq!(accept.prefers(&offers), expected, "{header}");
        }
    }
}
