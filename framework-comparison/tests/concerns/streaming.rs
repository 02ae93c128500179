//! A stream of products as lines of JSON. It never ends, so a server that collects the whole
//! response before it sends it never answers.

mod actix;
mod axum;
mod poem;
mod rocket;
mod warp;

use bytes::Bytes;
use futures_util::stream::{self, Stream, StreamExt};

const NDJSON: &str = "application/x-ndjson";

const FIRST_THREE: &str = "{\"id\":\"1\"}\n{\"id\":\"2\"}\n{\"id\":\"3\"}\n";

fn products() -> impl Stream<Item = Bytes> + Send + Sync {
    stream::iter(1_u64..).map(|id| Bytes::from(format!("{{\"id\":\"{id}\"}}\n")))
}
