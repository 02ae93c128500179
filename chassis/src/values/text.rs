//! Text from people, who paste characters that nobody sees.

use std::borrow::Cow;
use std::ops::RangeInclusive;

/// Unicode's `Default_Ignorable_Code_Point`: characters that are not shown, such as the
/// zero-width space and the soft hyphen
/// ([DerivedCoreProperties](https://www.unicode.org/Public/UCD/latest/ucd/DerivedCoreProperties.txt)).
/// Some ranges are reserved for more of them.
const IGNORABLE: [RangeInclusive<char>; 17] = [
    '\u{ad}'..='\u{ad}',
    '\u{34f}'..='\u{34f}',
    '\u{61c}'..='\u{61c}',
    '\u{115f}'..='\u{1160}',
    '\u{17b4}'..='\u{17b5}',
    '\u{180b}'..='\u{180f}',
    '\u{200b}'..='\u{200f}',
    '\u{202a}'..='\u{202e}',
    '\u{2060}'..='\u{206f}',
    '\u{3164}'..='\u{3164}',
    '\u{fe00}'..='\u{fe0f}',
    '\u{feff}'..='\u{feff}',
    '\u{ffa0}'..='\u{ffa0}',
    '\u{fff0}'..='\u{fff8}',
    '\u{1bca0}'..='\u{1bca3}',
    '\u{1d173}'..='\u{1d17a}',
    '\u{e0000}'..='\u{e0fff}',
];

/// Whether nobody sees this character: white space, a control character or one of
/// Unicode's default ignorables.
pub fn is_invisible(character: char) -> bool {
    character.is_whitespace()
        || character.is_control()
        || IGNORABLE.iter().any(|range| range.contains(&character))
}

/// The text without the characters around it that nobody sees. The one rule for every
/// text field of a request.
///
/// ```
/// use chassis::values::text::trim;
///
/// assert_eq!(trim("\u{200b} Ada\tLovelace\u{0}\n"), "Ada\tLovelace");
/// ```
pub fn trim(text: &str) -> &str {
    text.trim_matches(is_invisible)
}

/// The longest text of a client that is logged, recorded or repeated in an error, in bytes. A
/// client can send one that is far longer.
const MAX_SHOWN: usize = 1024;

const ELLIPSIS: &str = "…";

/// `text`, or the beginning of it and an ellipsis where it is too long to show.
pub fn shortened(text: &str) -> Cow<'_, str> {
    if text.len() <= MAX_SHOWN {
        return Cow::Borrowed(text);
    }
    let kept = text.floor_char_boundary(MAX_SHOWN - ELLIPSIS.len());
    Cow::Owned(format!("{}{ELLIPSIS}", &text[..kept]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_sees_is_trimmed_and_what_somebody_sees_is_not() {
        for (text, trimmed, reason) in [
            ("Ada", "Ada", "nothing to trim"),
            ("\u{200b}", "", "a zero-width space alone"),
            (" \u{a0}\u{2003}\u{3000}Ada\r\n", "Ada", "white space"),
            (
                "\u{0}\u{1f}\u{7f}\u{85}Ada\u{9f}",
                "Ada",
                "control characters",
            ),
            (
                "\u{feff}Ada\u{ad}",
                "Ada",
                "a byte order mark and a soft hyphen",
            ),
            ("\u{202e}Ada\u{2066}", "Ada", "marks of direction"),
            (
                "\u{3164}\u{115f}\u{ffa0}",
                "",
                "fillers, which are letters to Unicode",
            ),
            ("\u{e0001}Ada\u{e0fff}", "Ada", "tags"),
            (
                "A\u{200d} \u{0}b",
                "A\u{200d} \u{0}b",
                "what is inside stays",
            ),
            ("राम", "राम", "a vowel sign at the end is seen"),
            ("u\u{308}", "u\u{308}", "so is a combining mark"),
            (
                "-\u{2800}-",
                "-\u{2800}-",
                "a symbol that looks like a space",
            ),
        ] {
            assert_eq!(trim(text), trimmed, "{reason}");
        }
    }

    #[test]
    fn a_text_that_is_too_long_to_show_is_cut_between_two_characters() {
        let longest = "/".repeat(MAX_SHOWN);
        assert_eq!(shortened(&longest), longest);
        let kept = &longest[..MAX_SHOWN - ELLIPSIS.len()];
        assert_eq!(shortened(&format!("{longest}x")), format!("{kept}…"));
        let kept = &kept[1..];
        assert_eq!(shortened(&format!("{kept}ü{longest}")), format!("{kept}…"));
    }
}
