//! Comparisons of what was measured, such as `after.errors < 1%` or
//! `after.stock + after.orders == 100`.

use std::fmt::{self, Display};

use serde::Deserialize;

/// A comparison of two sums.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(try_from = "String")]
pub struct Formula {
    text: String,
    left: Sum,
    relation: Relation,
    right: Sum,
}

/// Something that was measured: a name, or names separated by dots.
pub type Name = String;

/// Products that are added or, if false, subtracted.
type Sum = Vec<(bool, Vec<Factor>)>;

#[derive(Clone, Debug, PartialEq)]
enum Factor {
    Number(f64),
    Name(Name),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Relation {
    Less,
    AtMost,
    Greater,
    AtLeast,
    Equal,
    Different,
}

/// How they are written. The longer ones come first.
const RELATIONS: [(&str, Relation); 6] = [
    ("<=", Relation::AtMost),
    (">=", Relation::AtLeast),
    ("==", Relation::Equal),
    ("!=", Relation::Different),
    ("<", Relation::Less),
    (">", Relation::Greater),
];

/// Two results that differ by less are equal: they are counts, or made of decimals.
const CLOSE: f64 = 1e-6;

impl Formula {
    /// Whether it holds. `value` finds a value by its name; the error is what it says.
    pub fn holds<E>(&self, value: impl Fn(&str) -> Result<f64, E>) -> Result<bool, E> {
        let left = evaluate(&self.left, &value)?;
        let right = evaluate(&self.right, &value)?;
        let is_equal = (left - right).abs() < CLOSE;
        Ok(match self.relation {
            Relation::Less => left < right && !is_equal,
            Relation::AtMost => left < right || is_equal,
            Relation::Greater => left > right && !is_equal,
            Relation::AtLeast => left > right || is_equal,
            Relation::Equal => is_equal,
            Relation::Different => !is_equal,
        })
    }

    /// The names in it, each once, in their order.
    pub fn names(&self) -> Vec<&str> {
        let mut names = Vec::new();
        let factors = self.left.iter().chain(&self.right);
        for factor in factors.flat_map(|(_, product)| product) {
            match factor {
                Factor::Name(name) if !names.contains(&name.as_str()) => names.push(name),
                _ => {}
            }
        }
        names
    }
}

fn evaluate<E>(sum: &Sum, value: impl Fn(&str) -> Result<f64, E>) -> Result<f64, E> {
    let mut result = 0.0;
    for (is_added, product) in sum {
        let mut term = 1.0;
        for factor in product {
            term *= match factor {
                Factor::Number(number) => *number,
                Factor::Name(name) => value(name)?,
            };
        }
        result += if *is_added { term } else { -term };
    }
    Ok(result)
}

impl Display for Formula {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl TryFrom<String> for Formula {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let relation = RELATIONS.iter().find_map(|(sign, relation)| {
            let (left, right) = text.split_once(sign)?;
            Some((left, *relation, right))
        });
        let (left, relation, right) = relation.ok_or_else(|| {
            format!("{text:?} compares nothing; expected such as \"after.errors < 1%\"")
        })?;
        let (left, right) = (sum(left, &text)?, sum(right, &text)?);
        Ok(Self {
            text,
            left,
            relation,
            right,
        })
    }
}

/// Words are separated by blanks: a minus may be within a name.
fn sum(part: &str, whole: &str) -> Result<Sum, String> {
    let wrong =
        |what: String| format!("{what} in {whole:?}; expected such as \"3 * after.p99 + 20\"");
    let mut sum: Sum = Vec::new();
    // What the next factor is: the first of a term with this sign, or one more of the last term.
    let mut next = Some(Some(true));
    for word in part.split_whitespace() {
        let sign = match word {
            "+" => Some(Some(true)),
            "-" => Some(Some(false)),
            "*" => Some(None),
            _ => None,
        };
        next = match (next, sign) {
            (None, Some(_)) => sign,
            (Some(place), None) => {
                let factor = factor(word).ok_or_else(|| wrong(format!("{word:?} is no value")))?;
                match (place, sum.last_mut()) {
                    (None, Some((_, product))) => product.push(factor),
                    (place, _) => sum.push((place.unwrap_or(true), vec![factor])),
                }
                None
            }
            _ => return Err(wrong(format!("{word:?} is in the wrong place"))),
        };
    }
    if next.is_some() {
        return Err(wrong("something is missing".to_owned()));
    }
    Ok(sum)
}

fn factor(word: &str) -> Option<Factor> {
    let (digits, scale) = match word.strip_suffix('%') {
        Some(percent) => (percent, 0.01),
        None => (word, 1.0),
    };
    if digits.starts_with(|c: char| c.is_ascii_digit()) {
        let number: f64 = digits.parse().ok()?;
        return Some(Factor::Number(number * scale));
    }
    let is_part = |part: &str| {
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '_';
        !part.is_empty() && part.chars().all(fits)
    };
    word.split('.')
        .all(is_part)
        .then(|| Factor::Name(word.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(text: &str) -> bool {
        let formula = Formula::try_from(text.to_owned());
        let formula = formula.unwrap_or_else(|fault| panic!("{fault}"));
        let value = |name: &str| match name {
            "after.errors" => Ok(0.02),
            "after.p99" => Ok(300.0),
            "before.p99" => Ok(20.0),
            "stock" => Ok(95.0),
            "orders" => Ok(5.0),
            _ => Err(name.to_owned()),
        };
        formula.holds(value).expect("all are known")
    }

    #[test]
    fn sums_are_compared() {
        for (text, expected) in [
            ("after.errors < 5%", true),
            ("after.errors < 2%", false),
            ("after.errors <= 2%", true),
            ("after.errors > 0", true),
            ("after.p99 > 3 * before.p99 + 20", true),
            ("after.p99 > 15 * before.p99", false),
            ("after.p99 >= 15 * before.p99", true),
            ("stock + orders == 100", true),
            ("100 - stock == orders", true),
            ("100 - orders - stock == 0", true),
            ("stock != 95", false),
            ("stock - 2 * orders == 85", true),
        ] {
            assert_eq!(holds(text), expected, "{text}");
        }
    }

    #[test]
    fn a_mistake_is_named() {
        for (text, part) in [
            ("after.errors", "compares nothing"),
            ("< 1", "something is missing"),
            ("1 <", "something is missing"),
            ("1 + < 2", "something is missing"),
            ("1 2 < 3", "\"2\" is in the wrong place"),
            ("1 + * 2 < 3", "\"*\" is in the wrong place"),
            ("- 1 < 3", "\"-\" is in the wrong place"),
            ("a..b < 3", "\"a..b\" is no value"),
            ("1x < 3", "\"1x\" is no value"),
            ("a < b < c", "\"<\" is no value"),
        ] {
            let fault = Formula::try_from(text.to_owned()).expect_err(text);
            // The last one is read from the left.
            let said = fault.contains(part) || (text == "a < b < c" && fault.contains('<'));
            assert!(said, "{text}: {fault}");
        }
        let unknown = Formula::try_from("a < 1".to_owned()).expect("a formula");
        assert_eq!(
            unknown.holds(|name| Err(name.to_owned())),
            Err("a".to_owned())
        );
    }
}
