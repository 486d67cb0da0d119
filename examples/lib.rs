//! Programs that use the library; run one with `cargo run --release --example sweep`.
