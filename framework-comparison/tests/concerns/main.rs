//! Tests of features that `docs/frameworks/` shows and no service of the shop uses: a streamed
//! response, each framework's own graceful shutdown, its test client, and other features of its
//! own.

mod own_means;
mod shutdown;
mod streaming;
mod testing;
