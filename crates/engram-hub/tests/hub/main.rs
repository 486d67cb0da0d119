//! The hub on loopback, and what is fetched from it.

mod cache;
mod fault;
mod fetch;
mod refusal;
mod server;
