//! What an email is, and when two are the same.
//!
//! An email is a mailbox at a host name, such as `ada@example.com`, in letters of any script
//! ([RFC 6531](https://www.rfc-editor.org/rfc/rfc6531)). The README lists where this rule
//! differs from the rules of others.

use chassis::values::text::is_invisible;
use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

/// The longest email that mail can be delivered to, in characters
/// ([RFC 5321, erratum 1690](https://www.rfc-editor.org/errata/eid1690)).
const MAX_EMAIL: usize = 254;

/// The longest name of a mailbox, in characters.
const MAX_MAILBOX: usize = 64;

/// The longest label of a host name, in characters.
const MAX_LABEL: usize = 63;

/// Returns the email, or what is wrong with it.
pub(crate) fn email(email: String) -> Result<String, String> {
    let normal: String = email.nfc().collect();
    let parts = normal.rsplit_once('@');
    let valid = parts.is_some_and(|(mailbox, host)| is_mailbox(mailbox) && is_host_name(host));
    if valid && email.chars().count() <= MAX_EMAIL {
        Ok(email)
    } else {
        Err(format!(
            "must be a valid address of at most {MAX_EMAIL} characters, such as ada@example.com"
        ))
    }
}

/// What is equal for two spellings of one email: in another letter case, or with another
/// encoding of the same characters.
pub(crate) fn key(email: &str) -> String {
    email.to_lowercase().nfc().collect()
}

fn is_mailbox(mailbox: &str) -> bool {
    let quoted = mailbox
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'));
    let valid = match quoted {
        Some(quoted) => is_quoted(quoted),
        None => mailbox.split('.').all(is_atom),
    };
    valid && mailbox.chars().count() <= MAX_MAILBOX
}

/// A part of a mailbox between dots.
fn is_atom(atom: &str) -> bool {
    let allowed = |c: char| {
        c.is_ascii_alphanumeric()
            || "!#$%&'*+-/=?^_`{|}~".contains(c)
            || (!c.is_ascii() && !is_invisible(c))
    };
    !atom.is_empty() && atom.chars().all(allowed)
}

/// The inside of a mailbox in double quotes, which may have spaces, and quotes after a
/// backslash.
fn is_quoted(quoted: &str) -> bool {
    let mut characters = quoted.chars();
    while let Some(character) = characters.next() {
        let shown = match character {
            '"' => None,
            '\\' => characters.next(),
            other => Some(other),
        };
        if shown.is_none_or(|c| c != ' ' && is_invisible(c)) {
            return false;
        }
    }
    true
}

/// At least two labels. The last one starts with a letter: no top-level domain is a number,
/// but the end of an IP address is. Characters that stand for others, such as ⒈ for 1 and a
/// dot, are in no host name.
fn is_host_name(host: &str) -> bool {
    let top = host.rsplit_once('.').map(|(_, top)| top);
    top.is_some_and(|top| top.starts_with(char::is_alphabetic))
        && host.split('.').all(is_label)
        && host.nfkc().eq(host.chars())
}

/// Letters and digits of any script, with the marks that some scripts put on them, and
/// hyphens inside.
fn is_label(label: &str) -> bool {
    let is_letter = |c: char| c.is_alphanumeric() && !is_invisible(c) && !is_combining_mark(c);
    let allowed = |c: char| is_letter(c) || c == '-' || (is_combining_mark(c) && !is_invisible(c));
    label.starts_with(is_letter)
        && !label.ends_with('-')
        && label.chars().all(allowed)
        && label.chars().count() <= MAX_LABEL
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_email(text: &str) -> bool {
        email(text.to_owned()).is_ok()
    }

    #[test]
    fn an_email_is_a_mailbox_at_a_host_name() {
        let label = "b".repeat(63);
        let longest = format!("{}@{label}.{label}.{}", "a".repeat(64), "b".repeat(61));
        assert_eq!(longest.chars().count(), 254);
        for good in [
            "ada@example.com",
            "a@b.cc",
            "ada+shop@mail.example.org",
            "Ada.O'Neil/x=1@Example.COM",
            "ada@exa--mple.co.uk",
            "ada@xn--mnchen-3ya.de",
            "ada@1.example",
            "ada@127.0.0.example",
            // Quoted.
            r#""Ada Lovelace"@example.com"#,
            r#""a\"d@a"@example.com"#,
            r#"""@example.com"#,
            // Of any script, composed and decomposed.
            "ünï@exämple.com",
            "u\u{308}@exa\u{308}mple.com",
            "राम@मोहन.ईन्फो",
            "伊昭傑@郵件.商務",
            "юзер@екзампл.ком",
            "θσερ@εχαμπλε.ψομ",
            "عربي@مثال.مصر",
            "ada@١٢٣.example",
            r#""λ..λ"@example.com"#,
            // Where others refuse: the README says why.
            "ada@shop.local",
            "ada@bad.tld-2",
            "ada@xn--0.example",
            "ada@1.xn--4dbc.com",
            "ada@λ11111111111111111111111111111111111111111111111111111111111111.example",
            "<\u{338}ada@example.com",
            "\u{e000}@example.com",
            // The limits count characters.
            &longest,
            &longest.replace('b', "ü"),
        ] {
            assert!(is_email(good), "{good}");
        }
        for (bad, reason) in [
            ("", "empty"),
            ("ada", "no domain"),
            ("@example.com", "no mailbox"),
            ("ada@", "no domain after the @"),
            ("ada@example", "one label"),
            ("ada@@example.com", "two @"),
            ("ada@example@example.com", "two @ with something between"),
            ("ada.@example.com", "a dot at the end"),
            (".ada@example.com", "a dot at the start"),
            ("a..da@example.com", "two dots"),
            ("a da@example.com", "a space"),
            ("a(comment)da@example.com", "a comment"),
            ("a\u{200b}da@example.com", "a character that nobody sees"),
            ("a\u{7f}da@example.com", "a control character"),
            ("Ada <ada@example.com>", "a name is not part of an address"),
            (r#""ada@example.com"#, "an open quote"),
            (r#""a"da"@example.com"#, "a quote inside quotes"),
            (r#""ada\"@example.com"#, "an escaped closing quote"),
            (r#""@example.com"#, "one quote"),
            (
                "me.\u{37e}@example.com",
                "a Greek question mark, which is a semicolon",
            ),
            ("ada@exa mple.com", "a space in the domain"),
            ("ada@example.com/x", "a path"),
            ("ada@exa!mple.com", "a symbol"),
            ("ada@exa_mple.com", "an underscore"),
            ("ada@example.com:25", "a port"),
            ("ada@💩.la", "an emoji is no letter"),
            ("ada@-example.com", "a hyphen at the start of a label"),
            ("ada@example-.com", "a hyphen at its end"),
            ("ada@.example.com", "a dot at the start of the domain"),
            ("ada@example..com", "two dots in it"),
            ("ada@example.com.", "a dot at its end"),
            ("ada@example。com", "another dot"),
            ("ada@⒈example.com", "a dot in a character"),
            ("ada@²³.com", "raised digits"),
            ("ada@exa\u{ad}mple.com", "a soft hyphen"),
            (
                "ada@exa\u{3164}mple.com",
                "a filler, which Unicode calls a letter",
            ),
            ("ada@\u{308}example.com", "a mark without a letter"),
            ("ada@127.0.0.1", "an IP address"),
            ("ada@0x7f.0x1", "another spelling of it"),
            ("ada@١٢٧.٠.٠.١", "the same in other digits"),
            ("ada@[127.0.0.1]", "in brackets"),
            ("ada@[IPv6:::1]", "an IPv6 address"),
            ("ada@::1", "without brackets"),
            ("ada@example.123", "a number at the top"),
            (&format!("a{longest}"), "a mailbox of 65 characters"),
            (&format!("{longest}b"), "255 characters"),
            (&format!("ada@{label}b.com"), "a label of 64 characters"),
        ] {
            assert!(!is_email(bad), "{reason}: {bad}");
        }
    }

    #[test]
    fn two_spellings_of_an_email_have_one_key() {
        for other in ["ÜNÏ@Exämple.COM", "u\u{308}ni\u{308}@exa\u{308}mple.com"] {
            assert_eq!(key(other), key("ünï@exämple.com"), "{other}");
        }
        assert_ne!(key("uni@example.com"), key("ünï@example.com"));
    }
}
