//! Records in ascending id, up to a limit.
//!
//! A page is a range of a B-tree, so its cost does not grow with the number of records. A hash
//! map would have to be sorted for each page.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use prometheus_client::metrics::gauge::Gauge;

use crate::contract::error::ApiError;
use crate::contract::page::{Listing, Page};
use crate::values::id::Id;

/// The limit of one table, and the gauge of how full it is. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Capacity {
    most: usize,
    records: Gauge,
}

impl Capacity {
    pub(crate) fn new(most: usize, records: Gauge) -> Self {
        Self { most, records }
    }
}

/// No limit, for tests.
impl Default for Capacity {
    fn default() -> Self {
        Self::new(usize::MAX, Gauge::default())
    }
}

/// The table is full: it holds this many records, the most allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full(usize);

impl From<Full> for ApiError {
    fn from(Full(most): Full) -> Self {
        Self::store_full(most)
    }
}

/// Records of one kind, with ids that count up from 1. Each store keeps its table and its
/// indexes under one lock.
///
/// Records are reference-counted, so a page is cheap to take and is serialised after the
/// lock is released.
///
/// ```
/// use chassis::contract::page::Page;
/// use chassis::store::Table;
///
/// let mut names = Table::default();
/// for name in ["Ada", "Grace", "Edsger"] {
///     names.insert(|_id| name).unwrap();
/// }
/// let page = names.page(Page::parse(Some("limit=2")).unwrap());
/// assert_eq!(page.records.len(), 2);
/// assert_eq!(page.total, 3);
/// ```
#[derive(Debug)]
pub struct Table<T> {
    last: Id,
    records: BTreeMap<Id, Arc<T>>,
    capacity: Capacity,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self::new(Capacity::default())
    }
}

impl<T> Table<T> {
    /// An empty table with this capacity.
    pub fn new(capacity: Capacity) -> Self {
        Self {
            last: Id::ZERO,
            records: BTreeMap::new(),
            capacity,
        }
    }

    /// Fails if the table is full.
    pub fn check_capacity(&self) -> Result<(), Full> {
        let most = self.capacity.most;
        if self.len() < most {
            Ok(())
        } else {
            Err(Full(most))
        }
    }

    /// Adds the record that `make` returns for the new id.
    pub fn insert(&mut self, make: impl FnOnce(Id) -> T) -> Result<Arc<T>, Full> {
        self.check_capacity()?;
        self.last = self.last.next();
        let record = Arc::new(make(self.last));
        self.records.insert(self.last, Arc::clone(&record));
        self.capacity.records.inc();
        Ok(record)
    }

    /// The record with this id.
    pub fn get(&self, id: Id) -> Option<&Arc<T>> {
        self.records.get(&id)
    }

    /// The record with this id, to change.
    pub fn get_mut(&mut self, id: Id) -> Option<&mut Arc<T>> {
        self.records.get_mut(&id)
    }

    /// Removes a record. Its id is never used again.
    pub fn remove(&mut self, id: Id) -> Option<Arc<T>> {
        let removed = self.records.remove(&id)?;
        self.capacity.records.dec();
        Some(removed)
    }

    /// Removes all records. The next id is 1 again.
    pub fn clear(&mut self) {
        self.last = Id::ZERO;
        self.records.clear();
        self.capacity.records.set(0);
    }

    /// Whether an id was given to a record, even if the record is gone.
    pub fn was_used(&self) -> bool {
        self.last != Id::ZERO
    }

    /// How many records there are.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there are no records.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// A page of all records.
    pub fn page(&self, page: Page) -> Listing<T> {
        let records = self.records.range(page.ids());
        Listing::take(
            page,
            self.len(),
            records.map(|(id, record)| (*id, Arc::clone(record))),
        )
    }

    /// A page of the records that an index names.
    pub fn page_of(&self, index: &BTreeSet<Id>, page: Page) -> Listing<T> {
        let ids = index.range(page.ids());
        let records = ids.filter_map(|id| self.records.get_key_value(id));
        Listing::take(
            page,
            index.len(),
            records.map(|(id, record)| (*id, Arc::clone(record))),
        )
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use proptest::prelude::*;

    use super::*;

    fn ids<T: Copy>(listing: &Listing<T>) -> Vec<T> {
        listing.records.iter().map(|record| **record).collect()
    }

    #[test]
    fn ids_count_up_from_one_and_are_never_used_again() {
        let mut table = Table::default();
        let add = |table: &mut Table<Id>| *table.insert(|id| id).expect("capacity");
        assert_eq!(add(&mut table).to_string(), "1");
        let second = add(&mut table);
        table.remove(second);
        assert_eq!(add(&mut table).to_string(), "3");
        assert_eq!(table.len(), 2);
    }

    #[test]
    fn a_full_table_accepts_a_record_after_a_removal_and_the_gauge_follows() {
        let records = Gauge::default();
        let mut table = Table::new(Capacity::new(2, records.clone()));
        let first = *table.insert(|id| id).expect("capacity for two");
        table.insert(|id| id).expect("capacity for one more");
        assert_eq!(table.insert(|id| id), Err(Full(2)));
        assert_eq!(records.get(), 2);

        table.remove(first);
        assert!(table.remove(first).is_none(), "it is gone already");
        assert_eq!((records.get(), table.check_capacity()), (1, Ok(())));
        let third = table.insert(|id| id).expect("capacity again");
        assert_eq!(third.to_string(), "3", "a refused record uses no id");
    }

    /// How long a page of 100 takes in a table and in an index of it: the fastest of many,
    /// which nothing else disturbed.
    fn fastest((table, index): &(Table<Id>, BTreeSet<Id>), query: &str) -> [Duration; 2] {
        let page = Page::parse(Some(query)).expect("a page");
        let time = |list: &dyn Fn() -> Listing<Id>| {
            let times = (0..50).map(|_| {
                let begun = Instant::now();
                let listing = list();
                let took = begun.elapsed();
                assert_eq!(listing.records.len(), 100, "{query}");
                took
            });
            times.min().expect("fifty")
        };
        [
            time(&|| table.page(page)),
            time(&|| table.page_of(index, page)),
        ]
    }

    #[test]
    fn a_page_costs_the_same_at_a_million_records() {
        let table_of = |count| {
            let mut table = Table::default();
            let ids = (0..count).map(|_| *table.insert(|id| id).expect("capacity"));
            let index = ids.collect();
            (table, index)
        };
        // The first page and the last one, in both orders.
        let queries = |count: u32| {
            [
                "limit=100".to_owned(),
                format!("limit=100&after={}", count - 100),
                "limit=100&order=desc".to_owned(),
                "limit=100&order=desc&before=101".to_owned(),
            ]
        };
        let (few, many) = (1_000, 1_000_000);
        let (small, big) = (table_of(few), table_of(many));
        for (few, many) in queries(few).iter().zip(&queries(many)) {
            let (small, big) = (fastest(&small, few), fastest(&big, many));
            // To visit every record would take hundreds of times as long.
            let same = small
                .iter()
                .zip(&big)
                .all(|(small, big)| *big < *small * 20);
            assert!(same, "{many}: {small:?} and {big:?}");
        }
    }

    proptest! {
        #[test]
        fn following_the_pages_visits_every_record_once_in_order(
            count in 0..200_usize,
            removed in prop::collection::btree_set(1..200_u64, 0..60),
            limit in 1..=50_usize,
            descending: bool,
            after in 0..210_u64,
            before in prop::option::of(0..210_u64),
        ) {
            let mut table = Table::default();
            let mut all: BTreeSet<Id> = (0..count).map(|_| *table.insert(|id| id).expect("capacity")).collect();
            for n in removed {
                let id = n.to_string().parse().expect("an id");
                table.remove(id);
                all.remove(&id);
            }
            let number = |id: &Id| id.to_string().parse::<u64>().expect("a number");
            let within = |id: &&Id| number(id) > after && before.is_none_or(|before| number(id) < before);
            let mut expected: Vec<Id> = all.iter().filter(within).copied().collect();
            let mut order = "asc";
            if descending {
                expected.reverse();
                order = "desc";
            }
            let before = before.map_or_else(String::new, |before| format!("&before={before}"));

            let mut next = Some(format!("limit={limit}&order={order}&after={after}{before}"));
            let mut visited = Vec::new();
            while let Some(query) = next {
                let page = Page::parse(Some(&query)).expect("a page");
                let listing = table.page(page);
                prop_assert_eq!(listing.total, all.len());
                prop_assert!(listing.records.len() <= limit);
                prop_assert_eq!(ids(&listing), ids(&table.page_of(&all, page)));
                visited.extend(ids(&listing));
                next = listing.next.map(|next| next.to_string());
                prop_assert!(next.is_none() || visited.len() < expected.len(), "{next:?}");
            }
            prop_assert_eq!(visited, expected);
        }
    }
}
