//! What `docs/frameworks/` shows or says and no service of the shop needs: an answer that
//! is streamed, a server that stops by its framework's own means, the client that each
//! framework brings for its tests, and more of their own means.

mod own_means;
mod shutdown;
mod streaming;
mod testing;
