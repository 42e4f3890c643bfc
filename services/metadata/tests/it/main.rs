//! What guests see: the documents against Nova's shapes, and the server against guests that lie, dawdle and flood.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod documents;
mod sample;
mod serving;
