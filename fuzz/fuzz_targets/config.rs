//! Any bytes as a `config.json`: the family, what it is made of, the names and shapes of its tensors.
#![no_main]

use engram_model::families;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Ok(family) = families::parse(data) else {
        return;
    };
    let architecture = family.architecture();
    assert_eq!(architecture.heads % architecture.kv_heads, 0);
    let _ = (family.parameters(), family.modules(), family.config());
    let _ = family.end_of_text();
});
