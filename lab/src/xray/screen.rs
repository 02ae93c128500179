//! Lines for a terminal of 80 columns.

use std::fmt::Write as _;

/// The columns of a line.
pub const WIDTH: usize = 80;

/// How a drawing looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    /// Whether it has colours.
    pub colour: bool,
    /// Whether the terminal shows more than ASCII.
    pub unicode: bool,
}

impl Style {
    /// The style for standard output, by the variables of the environment. `is_terminal` says
    /// whether it is one.
    pub fn of(variable: impl Fn(&str) -> Option<String>, is_terminal: bool) -> Self {
        let set = |name| variable(name).filter(|value| !value.is_empty());
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(set);
        let is_dumb = set("TERM").is_none_or(|terminal| terminal == "dumb");
        Self {
            colour: is_terminal && set("NO_COLOR").is_none() && !is_dumb,
            // Without a word on it, a terminal of today does.
            unicode: locale.is_none_or(|locale| {
                let locale = locale.to_ascii_lowercase();
                locale.contains("utf") || matches!(&*locale, "c" | "posix")
            }),
        }
    }

    /// The characters that this style draws with.
    pub fn glyphs(self) -> &'static Glyphs {
        if self.unicode { &UNICODE } else { &ASCII }
    }
}

/// The characters of a drawing, each one column wide.
#[derive(Debug)]
pub struct Glyphs {
    /// A service works.
    pub work: char,
    /// A caller waits.
    pub wait: char,
    /// Where something failed.
    pub fail: char,
    /// Below the last child of a parent.
    pub last: &'static str,
    /// Below a child that is not the last.
    pub child: &'static str,
    /// Beside the children of another parent.
    pub line: &'static str,
    /// The life of a service in a sequence diagram.
    pub life: char,
    /// The same, while it works.
    pub busy: char,
    /// The tip of an arrow to the right.
    pub right: char,
    /// The tip of an arrow to the left.
    pub left: char,
    /// The shaft of an arrow that carries a request.
    pub shaft: char,
    /// The shaft of one that carries a response.
    pub back: char,
    /// What is left out.
    pub cut: char,
    /// No value.
    pub none: &'static str,
}

const UNICODE: Glyphs = Glyphs {
    work: '━',
    wait: '─',
    fail: '×',
    last: "└ ",
    child: "├ ",
    line: "│ ",
    life: '│',
    busy: '┃',
    right: '▶',
    left: '◀',
    shaft: '─',
    back: '╌',
    cut: '…',
    none: "—",
};

const ASCII: Glyphs = Glyphs {
    work: '=',
    wait: '-',
    fail: 'x',
    last: "` ",
    child: "+ ",
    line: "| ",
    life: '|',
    busy: '#',
    right: '>',
    left: '<',
    shaft: '-',
    back: '.',
    cut: '~',
    none: "-",
};

/// How a part of a line is set off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ink {
    /// As it is.
    Plain,
    /// The heading.
    Bold,
    /// What is less important.
    Dim,
    /// What went wrong.
    Red,
    /// What is unusual.
    Yellow,
    /// A service, by its name.
    Of(Hue),
}

/// The colour of a service: that of its log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hue(u8);

impl Hue {
    /// The colour of the service with this name.
    pub fn of(service: &str) -> Self {
        Self(match service {
            "user-service" => 36,
            "product-service" => 32,
            "order-service" => 35,
            "notification-service" => 33,
            "analytics-service" => 34,
            _ => 39,
        })
    }
}

/// A line in the making. It never gets longer than [`WIDTH`].
#[derive(Debug)]
pub struct Line {
    style: Style,
    text: String,
    used: usize,
}

impl Line {
    /// An empty line.
    pub fn new(style: Style) -> Self {
        Self {
            style,
            text: String::new(),
            used: 0,
        }
    }

    /// The same with `text` behind it, as far as there is room.
    #[must_use]
    pub fn add(mut self, ink: Ink, text: &str) -> Self {
        let shown = fitting(text, WIDTH - self.used, self.style);
        if shown.is_empty() {
            return self;
        }
        self.used += shown.chars().count();
        let code = match ink {
            Ink::Plain => None,
            Ink::Bold => Some(1),
            Ink::Dim => Some(2),
            Ink::Red => Some(31),
            Ink::Yellow => Some(33),
            Ink::Of(Hue(code)) => Some(code),
        };
        match code.filter(|_| self.style.colour && !shown.trim().is_empty()) {
            // Writing to a string cannot fail.
            Some(code) => drop(write!(self.text, "\u{1b}[{code}m{shown}\u{1b}[0m")),
            None => self.text.push_str(&shown),
        }
        self
    }

    /// The same, filled with spaces up to this column.
    #[must_use]
    pub fn to(mut self, column: usize) -> Self {
        while self.used < column.min(WIDTH) {
            self.text.push(' ');
            self.used += 1;
        }
        self
    }

    /// The line, without spaces at its end.
    pub fn end(self) -> String {
        let mut text = self.text;
        text.truncate(text.trim_end().len());
        text.push('\n');
        text
    }
}

/// `text` in at most `columns` columns; what does not fit is left out, and the last column says
/// so.
pub fn fitting(text: &str, columns: usize, style: Style) -> String {
    let mut shown: String = text.chars().map(|c| printable(c, style)).collect();
    let length = shown.chars().count();
    if length > columns {
        shown = shown.chars().take(columns.saturating_sub(1)).collect();
        if columns > 0 {
            shown.push(style.glyphs().cut);
        }
    }
    shown
}

/// A method and a path in at most `columns` columns, if leaving out the first parts of the path
/// helps: the last ones say more.
pub fn path_in(name: &str, columns: usize) -> String {
    if name.chars().count() <= columns {
        return name.to_owned();
    }
    let shorter = name.split_once(" /").and_then(|(method, path)| {
        let starts = path.match_indices('/').map(|(at, _)| &path[at..]);
        let mut shorter = starts.map(|end| format!("{method} …{end}"));
        shorter.find(|name| name.chars().count() <= columns)
    });
    shorter.unwrap_or_else(|| name.to_owned())
}

/// A character that takes exactly one column: others are replaced. A text from outside may have
/// control characters, characters of two columns, and such as nobody sees.
fn printable(character: char, style: Style) -> char {
    let is_latin = matches!(character, '\u{a1}'..='\u{24f}') && character != '\u{ad}';
    // Arrows, lines and the like, which the drawing itself has.
    let is_ours = matches!(character, '—' | '×' | '\u{2500}'..='\u{25ff}');
    if character.is_ascii_graphic() || character == ' ' {
        character
    } else if character == '…' {
        style.glyphs().cut
    } else if style.unicode && (is_latin || is_ours) {
        character
    } else {
        '?'
    }
}

/// `text` in lines of at most `columns` columns, broken at spaces.
pub fn folded(text: &str, columns: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let line = lines.last_mut().expect("one at least");
        let used = line.chars().count();
        if used > 0 && used + 1 + word.chars().count() > columns {
            lines.push(word.to_owned());
        } else {
            if used > 0 {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}

/// Milliseconds in at most seven columns.
pub fn milliseconds(ms: f64) -> String {
    if ms < 9.995 {
        format!("{ms:.2}")
    } else if ms < 999.95 {
        format!("{ms:.1}")
    } else {
        format!("{:.0}", ms.min(9_999_999.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Style = Style {
        colour: false,
        unicode: true,
    };

    #[test]
    fn a_line_has_eighty_columns_and_no_control_character() {
        for text in [
            "x".repeat(200),
            "\u{1b}[31mred\u{7}\r\n\t".to_owned(),
            "日本".repeat(60),
            "a\u{301}\u{200b}\u{202e}b".to_owned(),
            "👩‍👩‍👧".to_owned(),
        ] {
            for style in [
                PLAIN,
                Style {
                    unicode: false,
                    ..PLAIN
                },
            ] {
                let line = Line::new(style).add(Ink::Red, &text).to(100).end();
                let line = line.trim_end_matches('\n');
                assert!(line.chars().count() <= WIDTH, "{line:?}");
                assert!(!line.chars().any(char::is_control), "{line:?}");
                assert!(style.unicode || line.is_ascii(), "{line:?}");
            }
        }
    }

    #[test]
    fn a_text_that_does_not_fit_ends_with_a_mark() {
        for (columns, shown) in [(5, "abcde"), (4, "abc…"), (1, "…"), (0, "")] {
            assert_eq!(fitting("abcde", columns, PLAIN), shown);
        }
    }

    #[test]
    fn a_path_keeps_its_end() {
        let name = "PATCH /api/products/{id}/stock";
        for (columns, shown) in [
            (30, name),
            (29, "PATCH …/products/{id}/stock"),
            (20, "PATCH …/{id}/stock"),
            (14, "PATCH …/stock"),
            (5, name),
        ] {
            assert_eq!(path_in(name, columns), shown);
        }
        assert_eq!(path_in("call", 3), "call");
    }

    #[test]
    fn colours_are_for_terminals_that_want_them() {
        let style = |variables: &'static [(&str, &str)], is_terminal| {
            let value = |name: &str| {
                let found = variables.iter().find(|(known, _)| *known == name);
                found.map(|(_, value)| (*value).to_owned())
            };
            let Style { colour, unicode } = Style::of(value, is_terminal);
            (colour, unicode)
        };
        for (variables, is_terminal, expected) in [
            (&[("TERM", "xterm")][..], true, (true, true)),
            (&[("TERM", "xterm")], false, (false, true)),
            (&[("TERM", "xterm"), ("NO_COLOR", "1")], true, (false, true)),
            (&[("TERM", "xterm"), ("NO_COLOR", "")], true, (true, true)),
            (&[("TERM", "dumb")], true, (false, true)),
            (&[], true, (false, true)),
            (&[("LANG", "en_US.UTF-8")], false, (false, true)),
            (&[("LANG", "C")], false, (false, true)),
            (&[("LANG", "en_US.ISO-8859-1")], false, (false, false)),
            (
                &[("LC_ALL", "de_DE"), ("LANG", "en_US.UTF-8")],
                false,
                (false, false),
            ),
        ] {
            assert_eq!(style(variables, is_terminal), expected, "{variables:?}");
        }
    }

    #[test]
    fn a_coloured_line_says_the_same() {
        let coloured = Style {
            colour: true,
            ..PLAIN
        };
        let line = |style| {
            let line = Line::new(style).add(Ink::Bold, "a").to(4);
            line.add(Ink::Of(Hue::of("user-service")), "b").end()
        };
        assert_eq!(line(PLAIN), "a   b\n");
        assert_eq!(
            line(coloured),
            "\u{1b}[1ma\u{1b}[0m   \u{1b}[36mb\u{1b}[0m\n"
        );
    }

    #[test]
    fn milliseconds_have_three_digits_or_more() {
        for (ms, shown) in [
            (0.0, "0.00"),
            (1.234, "1.23"),
            (9.999, "10.0"),
            (123.45, "123.5"),
            (999.96, "1000"),
            (86_400_000.0, "9999999"),
        ] {
            assert_eq!(milliseconds(ms), shown);
        }
    }

    #[test]
    fn a_sentence_is_folded_at_its_spaces() {
        assert_eq!(folded("one two three", 7), ["one two", "three"]);
        assert_eq!(folded("", 7), [""]);
        assert_eq!(folded("longer than that", 4), ["longer", "than", "that"]);
    }
}
