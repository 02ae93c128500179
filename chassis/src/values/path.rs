//! Paths of URLs.

use std::borrow::Cow;

/// Decodes percent-encoded characters that need no encoding, so that two
/// spellings of a path are one
/// ([RFC 3986, 6.2.2.2](https://www.rfc-editor.org/rfc/rfc3986#section-6.2.2.2)).
pub(crate) fn decode_unreserved(path: &str) -> Cow<'_, str> {
    if !path.contains('%') {
        return Cow::Borrowed(path);
    }
    let mut decoded = String::with_capacity(path.len());
    let mut rest = path;
    while let Some(at) = rest.find('%') {
        decoded.push_str(&rest[..at]);
        if let Some(character) = rest.get(at + 1..at + 3).and_then(unreserved) {
            decoded.push(character);
            rest = &rest[at + 3..];
        } else {
            decoded.push('%');
            rest = &rest[at + 1..];
        }
    }
    decoded.push_str(rest);
    Cow::Owned(decoded)
}

fn unreserved(hex: &str) -> Option<char> {
    let octet = u8::from_str_radix(hex, 16).ok()?;
    let unreserved = octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'.' | b'_' | b'~');
    unreserved.then_some(char::from(octet))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_needs_no_encoding_is_decoded() {
        for (path, expected, reason) in [
            ("/health", "/health", "nothing to decode"),
            ("/%68ealth", "/health", "a letter"),
            ("/api/users/%37", "/api/users/7", "a digit"),
            ("/a%2Fb", "/a%2Fb", "a slash would make two segments of one"),
            ("/a%20b%c3%bc", "/a%20b%c3%bc", "neither a space nor UTF-8"),
            ("/100%", "/100%", "not an encoding"),
            ("/%+1x%zz%", "/%+1x%zz%", "nor are these"),
            ("/%25%37%37", "/%2577", "decoded once, not twice"),
            ("/%ü1", "/%ü1", "no character is cut in half"),
        ] {
            assert_eq!(decode_unreserved(path), expected, "{reason}");
        }
    }
}
