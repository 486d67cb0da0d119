//! The crate's code as a hash, for the keys of what it computes.

fn main() {
    engram_source::tell();
}
