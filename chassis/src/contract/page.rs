//! Pages of a list: which one a client asks for, and what it gets.

use std::fmt;
use std::iter;
use std::ops::{Bound, RangeInclusive};
use std::sync::Arc;

use utoipa::{IntoParams, ToSchema};

use crate::contract::error::{ApiError, FieldError};
use crate::values::id::Id;
use crate::values::money::Number;
use crate::values::text::shortened;

/// The most records on a page, and the number without `?limit=`.
const MAX_LIMIT: u32 = 1000;
const DEFAULT_LIMIT: usize = 100;

/// The page that a client asks for: `?limit=`, `?order=`, `?after=` and `?before=`.
///
/// `after` and `before` are bounds of the ids, `order` is the end at which the list begins. So
/// every combination has one meaning.
///
/// ```
/// use chassis::contract::page::Page;
///
/// assert_eq!(Page::parse(None).unwrap(), Page::default());
/// assert!(Page::parse(Some("limit=50&after=7")).is_ok());
/// assert!(Page::parse(Some("order=desc&before=7")).is_ok());
/// assert_eq!(Page::parse(Some("limit=0")).unwrap_err().status(), 400);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Page {
    /// The most records on the page.
    #[param(required = false, minimum = 1, maximum = 1000, default = 100)]
    pub(crate) limit: usize,
    /// Ascending ids, the oldest record first; or descending ids, the newest first.
    #[param(required = false, inline)]
    pub(crate) order: Order,
    /// Only records with a greater id. In ascending order: the last id of the previous page.
    #[param(required = false, value_type = String, pattern = "^(0|[1-9][0-9]{0,18})$")]
    pub(crate) after: Id,
    /// Only records with a smaller id. In descending order: the last id of the previous page.
    #[param(required = false, value_type = String, pattern = "^(0|[1-9][0-9]{0,18})$")]
    pub(crate) before: Option<Id>,
}

/// The order of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ToSchema)]
#[schema(rename_all = "lowercase", default = "asc")]
pub(crate) enum Order {
    Asc,
    Desc,
}

impl Default for Page {
    fn default() -> Self {
        Self {
            limit: DEFAULT_LIMIT,
            order: Order::Asc,
            after: Id::ZERO,
            before: None,
        }
    }
}

impl Page {
    /// Reads a query string; other parameters are ignored.
    pub fn parse(query: Option<&str>) -> Result<Self, ApiError> {
        let mut page = Self::default();
        let mut faults = Vec::new();
        for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            let mut refuse = |name, expected: &str| {
                let shown = shortened(&value);
                let message = format!("{name} is {shown:?}, expected {expected}");
                faults.push(FieldError::new(name, message));
            };
            match name.as_ref() {
                "limit" => match number(&value, 1..=MAX_LIMIT) {
                    Some(limit) => page.limit = limit as usize,
                    None => refuse("limit", &format!("1 to {MAX_LIMIT}")),
                },
                "order" => match value.as_ref() {
                    "asc" => page.order = Order::Asc,
                    "desc" => page.order = Order::Desc,
                    _ => refuse("order", "asc or desc"),
                },
                "after" => match bound(&value) {
                    Some(after) => page.after = after,
                    None => refuse("after", "the id of a record"),
                },
                "before" => match bound(&value) {
                    Some(before) => page.before = Some(before),
                    None => refuse("before", "the id of a record"),
                },
                _ => {}
            }
        }
        if faults.is_empty() {
            Ok(page)
        } else {
            Err(ApiError::validation(faults))
        }
    }

    /// The ids that records on this page may have.
    pub(crate) fn ids(self) -> (Bound<Id>, Bound<Id>) {
        match self.before {
            // No id is both; the other way round, a B-tree would panic.
            Some(before) if before <= self.after => {
                (Bound::Included(before), Bound::Excluded(before))
            }
            Some(before) => (Bound::Excluded(self.after), Bound::Excluded(before)),
            None => (Bound::Excluded(self.after), Bound::Unbounded),
        }
    }

    /// The page that follows this one, whose last record has this id.
    fn next(self, last: Id) -> Self {
        match self.order {
            Order::Asc => Self {
                after: last,
                ..self
            },
            Order::Desc => Self {
                before: Some(last),
                ..self
            },
        }
    }
}

/// As a query string.
impl fmt::Display for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "limit={}", self.limit)?;
        if self.order == Order::Desc {
            f.write_str("&order=desc")?;
        }
        if self.after != Id::ZERO {
            write!(f, "&after={}", self.after)?;
        }
        if let Some(before) = self.before {
            write!(f, "&before={before}")?;
        }
        Ok(())
    }
}

/// The id in a query parameter; 0 is before every record.
fn bound(value: &str) -> Option<Id> {
    if value == "0" {
        Some(Id::ZERO)
    } else {
        value.parse().ok()
    }
}

/// The whole number in a query parameter, in any notation, if it is in `range`.
pub fn number(value: &str, range: RangeInclusive<u32>) -> Option<u32> {
    value.parse::<Number>().ok()?.whole_in(range)
}

/// A page of a list.
#[derive(Debug)]
pub struct Listing<T> {
    /// The records, in the order of the page.
    pub records: Vec<Arc<T>>,
    /// The count of all, not only of this page.
    pub total: usize,
    /// The next page, if more records follow.
    pub next: Option<Page>,
}

impl<T> Listing<T> {
    /// An empty list.
    pub fn empty() -> Self {
        Self {
            records: Vec::new(),
            total: 0,
            next: None,
        }
    }

    /// The first records of `page` from those that it may have, which are in ascending id;
    /// `total` is the count of all in the list.
    pub(crate) fn take(
        page: Page,
        total: usize,
        mut ascending: impl DoubleEndedIterator<Item = (Id, Arc<T>)>,
    ) -> Self {
        let mut following = iter::from_fn(|| match page.order {
            Order::Asc => ascending.next(),
            Order::Desc => ascending.next_back(),
        });
        let mut records = Vec::with_capacity(page.limit.min(total));
        let mut last = Id::ZERO;
        for (id, record) in following.by_ref().take(page.limit) {
            last = id;
            records.push(record);
        }
        let next = following.next().map(|_| page.next(last));
        Self {
            records,
            total,
            next,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_parameter_is_refused_and_all_of_them_are_named() {
        for (query, faults, reason) in [
            ("limit=0", 1, "no page has no records"),
            ("limit=1001", 1, "more than a page may have"),
            ("limit=", 1, "empty"),
            ("limit=ten", 1, "not a number"),
            ("limit=1.5", 1, "not whole"),
            ("limit=%2B5", 1, "a sign, which JSON has not either"),
            ("limit=1e99999999999", 1, "far too many"),
            ("after=-1", 1, "not an id"),
            ("order=DESC", 1, "in capitals"),
            ("order=", 1, "empty"),
            ("before=1.0", 1, "not an id"),
            ("limit=0&order=up&after=x&before=x", 4, "all at once"),
        ] {
            let error = Page::parse(Some(query)).expect_err(reason);
            assert_eq!(error.status(), 400, "{reason}");
            assert_eq!(
                format!("{error:?}").matches("FieldError").count(),
                faults,
                "{reason}"
            );
        }
        for (query, reason) in [
            (None, "no query"),
            (Some(""), "an empty one"),
            (Some("q=1"), "another parameter"),
            (Some("order=asc&after=0"), "the beginning"),
        ] {
            assert_eq!(Page::parse(query), Ok(Page::default()), "{reason}");
        }
        for limit in ["50", "050", "50.0", "5e1", "500e-1"] {
            let page = Page::parse(Some(&format!("limit={limit}"))).expect(limit);
            assert_eq!(page.limit, 50, "{limit}");
        }
    }
}
