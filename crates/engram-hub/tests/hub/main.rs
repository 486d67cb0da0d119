//! Downloads from a local server that behaves like the hub.

mod cache;
mod fault;
mod fetch;
mod refusal;
mod server;
