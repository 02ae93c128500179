//! The open connections of a service: their number, what each waits for, and what each holds.
//!
//! A connection that waits for its client can be given up for another one: the oldest idle one
//! when there are too many connections, and the one that has waited longest for its client to
//! read when another response does not fit.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::mem;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Waker;
use std::time::{Duration, Instant};

use futures_util::task::AtomicWaker;
use parking_lot::Mutex;

use crate::serve::limit::{Client, Taken, counted, share};

/// A client that has not read its response for so long may be disconnected if there is no memory
/// for another one.
const SLOW: Duration = Duration::from_millis(250);

/// What a connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waiting {
    /// The next request, or the end of a connection that is closing.
    Idle = 1,
    /// The rest of a head.
    Head = 2,
    /// That its client reads a response.
    Unread = 3,
}

/// A connection that was given up for another one.
const GIVEN_UP: u64 = u64::MAX;

/// The open connections of a service.
#[derive(Debug)]
pub(crate) struct Connections {
    most: usize,
    /// The most of one client address.
    share: usize,
    started: Instant,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    next: u64,
    /// In the order in which they were accepted.
    all: BTreeMap<u64, Arc<Holder>>,
    /// The requests of HTTP/2 in progress.
    streams: BTreeMap<u64, Arc<Holder>>,
    /// The clients by address, and the number of their connections.
    clients: HashMap<IpAddr, (Arc<Client>, usize)>,
}

/// One open connection, or one request of HTTP/2: what it waits for, and what it holds until its
/// client has read the response.
#[derive(Debug, Default)]
pub(crate) struct Holder {
    id: u64,
    /// The connection of a request of HTTP/2.
    connection: Option<Arc<Holder>>,
    /// The address of the other end.
    peer: Option<IpAddr>,
    /// What it counts as: see [`counted`].
    address: Option<IpAddr>,
    client: Arc<Client>,
    /// Whether there were too many connections and none could be given up for this one.
    is_refused: bool,
    /// Its wait for a request, and its wait for the client to read: 0, or [`GIVEN_UP`], or
    /// when the wait began and what for.
    waits: [AtomicU64; 2],
    waker: AtomicWaker,
    /// The bytes that have arrived.
    received: AtomicU64,
    held: Mutex<Held>,
    has_unread: AtomicBool,
    is_encrypted: AtomicBool,
}

#[derive(Debug, Default)]
struct Held {
    /// Of the request in progress.
    current: Vec<Taken>,
    /// Of answered requests whose responses have not been written in full.
    unread: Vec<Taken>,
}

/// Whether there are clients that do not read their responses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slow {
    /// Yes. One was disconnected, or will soon be slow enough for that.
    Some,
    /// No.
    None,
}

tokio::task_local! {
    static CURRENT: Arc<Holder>;
}

impl Connections {
    /// At most `most` connections, of which one client address gets `percent`.
    pub(crate) fn new(most: u32, percent: u32) -> Arc<Self> {
        Arc::new(Self {
            most: most as usize,
            share: share(most, percent) as usize,
            started: Instant::now(),
            open: Mutex::default(),
        })
    }

    /// Adds a connection from `peer`. If there are too many, the oldest idle one is given up,
    /// or else the one that has waited longest for its client. If none waits, the new one is.
    pub(crate) fn open(&self, peer: IpAddr) -> Arc<Holder> {
        let address = counted(peer);
        let mut open = self.open.lock();
        let (client, count) = open.clients.entry(address).or_default();
        *count += 1;
        let (client, is_over_share) = (Arc::clone(client), *count > self.share);
        let is_full = is_over_share || open.all.len() >= self.most;
        let among = is_over_share.then_some(&client);
        let oldest = |wait: Wait| Some((wait.what != Waiting::Idle, wait.since));
        let is_refused = is_full && !give_up(open.all.values(), among, oldest);
        open.next += 1;
        let holder = Arc::new(Holder {
            id: open.next,
            peer: Some(peer),
            address: Some(address),
            client,
            is_refused,
            ..Holder::default()
        });
        open.all.insert(holder.id, Arc::clone(&holder));
        holder
    }

    /// Removes a connection that was closed, and gives back what it holds.
    pub(crate) fn close(&self, holder: &Holder) {
        holder.written();
        let mut open = self.open.lock();
        open.all.remove(&holder.id);
        if let Some(address) = holder.address
            && let Entry::Occupied(mut client) = open.clients.entry(address)
        {
            client.get_mut().1 -= 1;
            if client.get().1 == 0 {
                client.remove();
            }
        }
    }

    /// Adds a request of HTTP/2 on the connection of `holder`.
    pub(crate) fn open_stream(&self, holder: &Arc<Holder>) -> Arc<Holder> {
        let mut open = self.open.lock();
        open.next += 1;
        let stream = Arc::new(Holder {
            id: open.next,
            connection: Some(Arc::clone(holder)),
            peer: holder.peer,
            client: Arc::clone(&holder.client),
            ..Holder::default()
        });
        open.streams.insert(stream.id, Arc::clone(&stream));
        stream
    }

    /// Removes a request of HTTP/2. The HTTP layer has its whole response; the connection holds
    /// what the request has held until all of that has been written.
    pub(crate) fn close_stream(&self, stream: &Holder) {
        stream.answered();
        let unread = mem::take(&mut stream.held.lock().unread);
        if let Some(connection) = &stream.connection
            && !unread.is_empty()
        {
            connection.held.lock().unread.extend(unread);
            connection.has_unread.store(true, Ordering::Relaxed);
        }
        self.open.lock().streams.remove(&stream.id);
    }

    /// `holder` begins to wait, or goes on after it has `waited`.
    pub(crate) fn wait(&self, holder: &Holder, what: Waiting, waited: Duration) {
        let waited = u64::try_from(waited.as_millis()).unwrap_or(u64::MAX);
        let since = (self.now().saturating_sub(waited) << 2) | what as u64;
        let unless_given_up = |word| (word != GIVEN_UP).then_some(since);
        let wait = holder.wait(what);
        let _ = wait.fetch_update(Ordering::Relaxed, Ordering::Relaxed, unless_given_up);
    }

    /// Another response does not fit, or none of `client` does: disconnects the client that
    /// has not read its response for the longest time.
    pub(crate) fn disconnect_slowest(&self, client: Option<&Arc<Client>>) -> Slow {
        let now = self.now();
        let mut some_wait = false;
        let slow = |wait: Wait| {
            let is_unread = wait.what == Waiting::Unread;
            some_wait |= is_unread;
            let waited = Duration::from_millis(now.saturating_sub(wait.since));
            (is_unread && waited >= SLOW).then_some(wait.since)
        };
        let open = self.open.lock();
        let given_up = give_up(open.all.values().chain(open.streams.values()), client, slow);
        if given_up || some_wait {
            Slow::Some
        } else {
            Slow::None
        }
    }

    /// Milliseconds since the service started.
    fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX >> 2)
    }
}

/// A wait for a client.
#[derive(Clone, Copy)]
struct Wait {
    what: Waiting,
    /// In milliseconds since the service started.
    since: u64,
}

/// Gives up that of the `holders`, all or those of `client`, whose rank is the lowest. Returns
/// whether there was one; one without a rank is kept.
fn give_up<'a, R: Ord>(
    holders: impl Iterator<Item = &'a Arc<Holder>>,
    client: Option<&Arc<Client>>,
    mut rank: impl FnMut(Wait) -> Option<R>,
) -> bool {
    let of_client =
        |holder: &&Arc<Holder>| client.is_none_or(|client| Arc::ptr_eq(client, &holder.client));
    let holders = holders.filter(of_client);
    let waits = holders.flat_map(|holder| holder.waits.iter().map(move |wait| (holder, wait)));
    let ranked = waits.filter_map(|(holder, wait)| {
        let word = wait.load(Ordering::Relaxed);
        Some((rank(wait_in(word)?)?, holder, wait, word))
    });
    let first = ranked.min_by(|(one, ..), (other, ..)| one.cmp(other));
    first.is_some_and(|(_, holder, wait, word)| {
        // It may just have stopped waiting.
        let (relaxed, release) = (Ordering::Relaxed, Ordering::Release);
        let exchanged = wait.compare_exchange(word, GIVEN_UP, release, relaxed);
        holder.waker.wake();
        exchanged.is_ok()
    })
}

fn wait_in(word: u64) -> Option<Wait> {
    let what = match word & 3 {
        _ if word == GIVEN_UP => return None,
        1 => Waiting::Idle,
        2 => Waiting::Head,
        3 => Waiting::Unread,
        _ => return None,
    };
    let since = word >> 2;
    Some(Wait { what, since })
}

impl Holder {
    /// The connection of the current request; a new one outside of a request.
    pub(crate) fn current() -> Arc<Self> {
        CURRENT.try_with(Arc::clone).unwrap_or_default()
    }

    /// What `read` reads of the connection of the current request; none outside of a request.
    pub(crate) fn of_current<T>(read: impl FnOnce(&Self) -> T) -> Option<T> {
        CURRENT.try_with(|holder| read(holder)).ok()
    }

    /// Runs `work` as part of a request on this connection.
    pub(crate) fn scope<F: Future>(
        self: &Arc<Self>,
        work: F,
    ) -> impl Future<Output = F::Output> + use<F> {
        CURRENT.scope(Arc::clone(self), work)
    }

    /// The address of the other end.
    pub(crate) fn peer(&self) -> Option<IpAddr> {
        self.peer
    }

    /// The client.
    pub(crate) fn client(&self) -> &Arc<Client> {
        &self.client
    }

    /// `bytes` have arrived.
    pub(crate) fn arrived(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// The number of bytes that have arrived. For a request of HTTP/2 these are the bytes of its
    /// connection.
    pub(crate) fn received(&self) -> u64 {
        let connection = self.connection.as_deref().unwrap_or(self);
        connection.received.load(Ordering::Relaxed)
    }

    /// From now on, its bytes are within TLS.
    pub(crate) fn encrypt(&self) {
        self.is_encrypted.store(true, Ordering::Relaxed);
    }

    /// Whether its bytes are within TLS.
    pub(crate) fn is_encrypted(&self) -> bool {
        let connection = self.connection.as_deref().unwrap_or(self);
        connection.is_encrypted.load(Ordering::Relaxed)
    }

    /// Wakes the task that waits.
    pub(crate) fn wake(&self) {
        self.waker.wake();
    }

    /// Whether it holds something of a response that has not been written in full.
    pub(crate) fn has_unread(&self) -> bool {
        self.has_unread.load(Ordering::Relaxed)
    }

    fn wait(&self, what: Waiting) -> &AtomicU64 {
        &self.waits[usize::from(what == Waiting::Unread)]
    }

    /// It no longer waits for that.
    pub(crate) fn goes_on(&self, what: Waiting) {
        self.wait(what).store(0, Ordering::Relaxed);
    }

    /// Whether there were too many connections, and none could be given up for this one.
    pub(crate) fn is_refused(&self) -> bool {
        self.is_refused
    }

    /// Whether this wait was given up for another connection. If not, `waker` is woken when
    /// it is.
    pub(crate) fn is_given_up(&self, what: Waiting, waker: &Waker) -> bool {
        self.waker.register(waker);
        self.wait(what).load(Ordering::Acquire) == GIVEN_UP
    }

    /// Keeps `taken` until the response to the current request has been written.
    pub(crate) fn keep(&self, taken: Taken) {
        self.held.lock().current.push(taken);
    }

    /// Keeps `taken` for as long, even if the current request [gives back](Self::give_back) what
    /// it holds.
    pub(crate) fn keep_aside(&self, taken: Taken) {
        self.held.lock().unread.push(taken);
    }

    /// Gives back what the current request holds. Returns whether it held something.
    pub(crate) fn give_back(&self) -> bool {
        !mem::take(&mut self.held.lock().current).is_empty()
    }

    /// The body of the response is with the HTTP layer, which may have to wait for the client.
    pub(crate) fn answered(&self) {
        let mut held = self.held.lock();
        let Held { current, unread } = &mut *held;
        unread.append(current);
        self.has_unread.store(true, Ordering::Relaxed);
    }

    /// The HTTP layer has written all of what it had.
    pub(crate) fn written(&self) {
        if self.has_unread.load(Ordering::Relaxed) {
            self.has_unread.store(false, Ordering::Relaxed);
            self.held.lock().unread.clear();
        }
    }
}
