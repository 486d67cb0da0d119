//! Any bytes as a GGUF file: header, elements, configuration, tokenizer.
#![no_main]

use engram_model::families;
use engram_model::gguf::Gguf;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Ok(file) = Gguf::parse(data.to_vec()) else {
        return;
    };
    for name in file.tensors().keys() {
        let _ = file.tensor(name);
    }
    let _ = families::gguf_family(&file).map(|family| family.parameters());
    let _ = file
        .tokenizer()
        .map(|t| t.encode("The patient's 12 seizures\n<s> 次🙂"));
});
