//! Pages of a list: which one a client asks for, and what it gets.

use std::ops::RangeInclusive;
use std::sync::Arc;

use utoipa::IntoParams;

use crate::contract::error::{ApiError, FieldError};
use crate::values::id::Id;
use crate::values::money::Number;
use crate::values::text::shortened;

/// The most records on a page, and the number without `?limit=`.
const MAX_LIMIT: u32 = 1000;
const DEFAULT_LIMIT: usize = 100;

/// The page that a client asks for: `?limit=` and `?after=`.
///
/// ```
/// use chassis::contract::page::Page;
///
/// assert_eq!(Page::parse(None).unwrap(), Page::default());
/// assert!(Page::parse(Some("limit=50&after=7")).is_ok());
/// assert_eq!(Page::parse(Some("limit=0")).unwrap_err().status(), 400);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Page {
    /// The most records on the page.
    #[param(required = false, minimum = 1, maximum = 1000, default = 100)]
    pub(crate) limit: usize,
    /// The id of the last record of the previous page.
    #[param(required = false, value_type = String, pattern = "^(0|[1-9][0-9]{0,18})$")]
    pub(crate) after: Id,
}

impl Default for Page {
    fn default() -> Self {
        Self {
            limit: DEFAULT_LIMIT,
            after: Id::ZERO,
        }
    }
}

impl Page {
    /// Reads a query string; other parameters are ignored.
    pub fn parse(query: Option<&str>) -> Result<Self, ApiError> {
        let mut page = Self::default();
        let mut faults = Vec::new();
        for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            let shown = shortened(&value);
            match name.as_ref() {
                "limit" => match number(&value, 1..=MAX_LIMIT) {
                    Some(limit) => page.limit = limit as usize,
                    None => faults.push(FieldError::new(
                        "limit",
                        format!("limit is {shown:?}, expected 1 to {MAX_LIMIT}"),
                    )),
                },
                "after" => match value.parse() {
                    Ok(after) => page.after = after,
                    // Where every list starts.
                    Err(_) if value == "0" => page.after = Id::ZERO,
                    Err(_) => faults.push(FieldError::new(
                        "after",
                        format!("after is {shown:?}, expected the id of a record"),
                    )),
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
}

/// The whole number in a query parameter, in any notation, if it is in `range`.
pub fn number(value: &str, range: RangeInclusive<u32>) -> Option<u32> {
    value.parse::<Number>().ok()?.whole_in(range)
}

/// A page of a list.
#[derive(Debug)]
pub struct Listing<T> {
    /// The records, in ascending id.
    pub records: Vec<Arc<T>>,
    /// The count of all, not only of this page.
    pub total: usize,
    /// The next page, if more records follow.
    pub next: Option<Next>,
}

/// Where the next page of a list starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Next {
    /// The most records on the page.
    pub limit: usize,
    /// The id of the last record of this page.
    pub after: Id,
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

    /// The records of `page` from those that follow its start; `total` is the count of
    /// all in the list.
    pub(crate) fn take(
        page: Page,
        total: usize,
        mut following: impl Iterator<Item = (Id, Arc<T>)>,
    ) -> Self {
        let mut records = Vec::with_capacity(page.limit.min(total));
        let mut last = page.after;
        for (id, record) in following.by_ref().take(page.limit) {
            last = id;
            records.push(record);
        }
        let next = following.next().map(|_| Next {
            limit: page.limit,
            after: last,
        });
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
            ("limit=0&after=x", 2, "both at once"),
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
            (Some("after=0"), "the beginning"),
        ] {
            assert_eq!(Page::parse(query), Ok(Page::default()), "{reason}");
        }
        for limit in ["50", "050", "50.0", "5e1", "500e-1"] {
            let page = Page::parse(Some(&format!("limit={limit}"))).expect(limit);
            assert_eq!(page.limit, 50, "{limit}");
        }
    }
}
