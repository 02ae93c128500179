//! What `docs/frameworks/` shows and no service of the shop needs: an answer that is
//! streamed, and the client that each framework brings for its tests.

mod streaming;
mod testing;
