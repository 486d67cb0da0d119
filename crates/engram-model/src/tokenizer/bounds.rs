//! Protects against malicious tokenizer files: parts on which the tokenizers library is known to panic are rejected,
//! the growth of a text is bounded, and remaining panics become errors.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use tokenizers::Tokenizer;

use super::wrong;
use crate::error::{ModelError, Result, shown};

/// Maximum number of bytes of a text, after normalisation.
const MOST_BYTES: usize = 64 << 20;
/// Maximum factor by which normaliser and pre-tokenizer together may lengthen a text. NFKC makes up to 18 characters of
/// one, SentencePiece 3 bytes of a space.
const MOST_GROWTH: usize = 8192;
/// Maximum number of parts in a sequence.
const MOST_PARTS: usize = 64;

/// The parts of `tokenizer.json` that are checked before the library reads it.
#[derive(Deserialize)]
struct Parts {
    normalizer: Option<Value>,
    pre_tokenizer: Option<Value>,
    post_processor: Option<Value>,
    decoder: Option<Value>,
    #[serde(default)]
    model: Option<LanguageModel>,
}

#[derive(Deserialize)]
struct LanguageModel {
    #[serde(default)]
    continuing_subword_prefix: Option<String>,
    #[serde(default)]
    merges: Option<IgnoredAny>,
}

/// Calls the library; a panic becomes an error that names the file.
///
/// # Errors
/// [`ModelError::Tokenizer`].
pub(super) fn caught<T>(path: &Path, work: impl FnOnce() -> T) -> Result<T> {
    engram_core::panics::caught(work).map_err(|panic| {
        let why = shown(&panic);
        damaged(path, format!("the tokenizers library fails on it ({why})"))
    })
}

fn damaged(path: &Path, why: String) -> ModelError {
    ModelError::Tokenizer {
        path: path.to_owned(),
        why,
    }
}

/// Reads `tokenizer.json`.
///
/// # Errors
/// [`ModelError::Io`] if it cannot be read; [`ModelError::Tokenizer`] if the library or the checks reject it.
pub(super) fn read(path: &Path) -> Result<Tokenizer> {
    let text = std::fs::read_to_string(path).map_err(|source| ModelError::Io {
        path: path.to_owned(),
        source,
    })?;
    check(&text).map_err(|why| damaged(path, why))?;
    caught(path, || text.parse::<Tokenizer>())?.map_err(wrong(path))
}

/// Fails for parts on which the library would panic.
fn check(text: &str) -> std::result::Result<(), String> {
    // Text that does not parse here is left to the library's own error.
    let Ok(parts) = serde_json::from_str::<Parts>(text) else {
        return Ok(());
    };
    let model = parts.model.as_ref();
    if model.is_some_and(|m| m.merges.is_some()) {
        let prefix = model.and_then(|m| m.continuing_subword_prefix.as_deref());
        if prefix.is_some_and(|p| p.len() > 64) {
            return Err("continuing_subword_prefix has more than 64 bytes".to_owned());
        }
    }
    for (name, part) in [
        ("post_processor", &parts.post_processor),
        ("decoder", &parts.decoder),
    ] {
        for part in flat(part.as_ref(), name)? {
            refuse(part)?;
        }
    }
    growth_of(&parts).map(drop)
}

fn growth_of(parts: &Parts) -> std::result::Result<usize, String> {
    let mut growth = 1usize;
    for (name, part) in [
        ("normalizer", &parts.normalizer),
        ("pre_tokenizer", &parts.pre_tokenizer),
    ] {
        for part in flat(part.as_ref(), name)? {
            refuse(part)?;
            growth = growth.saturating_mul(growth_of_one(part));
        }
    }
    match growth > MOST_GROWTH {
        true => Err(format!(
            "normalizer and pre_tokenizer may make a text {growth} times as long; {MOST_GROWTH} times is the most"
        )),
        false => Ok(growth),
    }
}

/// The factor by which normaliser and pre-tokenizer may lengthen a text.
pub(super) fn growth(tokenizer: &Tokenizer) -> usize {
    let value = |part: serde_json::Result<Value>| part.ok();
    let parts = Parts {
        normalizer: tokenizer
            .get_normalizer()
            .and_then(|n| value(serde_json::to_value(n))),
        pre_tokenizer: tokenizer
            .get_pre_tokenizer()
            .and_then(|p| value(serde_json::to_value(p))),
        post_processor: None,
        decoder: None,
        model: None,
    };
    growth_of(&parts).unwrap_or(MOST_GROWTH)
}

/// Fails for a text that could become too long.
///
/// # Errors
/// [`ModelError::Text`].
pub(super) fn text(path: &Path, text: &str, growth: usize) -> Result<()> {
    let most = MOST_BYTES / growth.max(1);
    match text.len() > most {
        true => Err(ModelError::Text {
            path: path.to_owned(),
            bytes: text.len(),
            most,
        }),
        false => Ok(()),
    }
}

/// The parts of a sequence, including those of nested sequences.
fn flat<'a>(part: Option<&'a Value>, name: &str) -> std::result::Result<Vec<&'a Value>, String> {
    let mut flat = Vec::new();
    let mut rest: Vec<&Value> = part.into_iter().collect();
    while let Some(part) = rest.pop() {
        let lists = ["normalizers", "pretokenizers", "processors", "decoders"];
        match lists.iter().find_map(|key| part.get(key)?.as_array()) {
            Some(parts) => rest.extend(parts.iter().rev()),
            None => flat.push(part),
        }
        if flat.len() + rest.len() > MOST_PARTS {
            return Err(format!("{name} has more than {MOST_PARTS} parts"));
        }
    }
    Ok(flat)
}

fn kind(part: &Value) -> &str {
    part.get("type").and_then(Value::as_str).unwrap_or_default()
}

/// Fails for a part on which the library panics when reading or using it.
fn refuse(part: &Value) -> std::result::Result<(), String> {
    let pattern = part.get("pattern");
    let text = pattern.and_then(|p| p.get("String").or_else(|| p.get("Regex")));
    match kind(part) {
        kind @ ("Replace" | "Split") if text.and_then(Value::as_str) == Some("") => {
            Err(format!("{kind} has an empty pattern"))
        }
        "Precompiled" => {
            let map = part.get("precompiled_charsmap").and_then(Value::as_str);
            let bytes = map.and_then(|map| STANDARD.decode(map).ok());
            match bytes.is_some_and(|bytes| longest_replacement(&bytes).is_some()) {
                true => Ok(()),
                false => Err("Precompiled: precompiled_charsmap is damaged".to_owned()),
            }
        }
        "FixedLength" if part.get("length") == Some(&Value::from(0)) => {
            Err("FixedLength has a length of 0".to_owned())
        }
        "TemplateProcessing" => template(part),
        _ => Ok(()),
    }
}

/// Fails for a template with special tokens that it does not list.
fn template(part: &Value) -> std::result::Result<(), String> {
    let listed = part.get("special_tokens").and_then(Value::as_object);
    let pieces = ["single", "pair"].into_iter();
    let pieces = pieces.filter_map(|key| part.get(key)?.as_array()).flatten();
    for piece in pieces {
        let name = piece.pointer("/SpecialToken/id").and_then(Value::as_str);
        let Some(name) = name else { continue };
        let token = listed.and_then(|listed| listed.get(name));
        let count = |key: &str| token.and_then(|t| Some(t.get(key)?.as_array()?.len()));
        if count("ids").is_none() || count("ids") != count("tokens") {
            return Err(format!(
                "TemplateProcessing: special token \"{}\" has no ids",
                shown(name)
            ));
        }
    }
    Ok(())
}

/// The factor by which one part may lengthen a text.
fn growth_of_one(part: &Value) -> usize {
    let length = |key: &str| part.get(key).and_then(Value::as_str).map_or(0, str::len);
    match kind(part) {
        // A pattern may match between any two bytes.
        "Replace" => {
            let pattern = part.pointer("/pattern/String").and_then(Value::as_str);
            match pattern {
                Some(pattern) => length("content").div_ceil(pattern.len().max(1)).max(1),
                None => length("content").max(1),
            }
        }
        "Prepend" => 1 + length("prepend"),
        "NFKC" | "NFKD" => 12,
        "NFC" | "NFD" | "Lowercase" => 3,
        "BertNormalizer" => 9,
        "Metaspace" => 4,
        "ByteLevel" => 2,
        "Precompiled" => {
            let map = part.get("precompiled_charsmap").and_then(Value::as_str);
            let bytes = map.and_then(|map| STANDARD.decode(map).ok());
            bytes
                .and_then(|bytes| longest_replacement(&bytes))
                .map_or(1, |most| most.max(1))
        }
        _ => 1,
    }
}

/// The longest replacement in a SentencePiece character map, in bytes; `None` if a lookup could leave the map. The map
/// is the length of a trie in bytes, the trie (Darts' double array of 32-bit units) and replacements that end in 0;
/// offset and label of a unit are as in Darts-clone.
fn longest_replacement(bytes: &[u8]) -> Option<usize> {
    let size = u32::from_le_bytes(bytes.get(..4)?.try_into().ok()?) as usize;
    let (trie, replacements) = bytes.get(4..)?.split_at_checked(size / 4 * 4)?;
    let replacements = std::str::from_utf8(replacements).ok()?;
    let units: Vec<usize> = (trie.chunks_exact(4))
        .map(|unit| u32::from_le_bytes([unit[0], unit[1], unit[2], unit[3]]) as usize)
        .collect();
    let offset = |unit: usize| (unit >> 10) << ((unit & (1 << 9)) >> 6);
    let mut seen = vec![false; units.len()];
    let mut rest = vec![offset(*units.first()?)];
    let mut longest = 0;
    while let Some(base) = rest.pop() {
        for byte in 1..=255usize {
            // The library reads the unit before it checks its label.
            let place = base ^ byte;
            let unit = *units.get(place)?;
            if unit & ((1 << 31) | 0xFF) != byte || std::mem::replace(&mut seen[place], true) {
                continue;
            }
            let next = place ^ offset(unit);
            if (unit >> 8) & 1 == 1 {
                let start = *units.get(next)? & ((1 << 31) - 1);
                let tail = replacements.get(start..)?;
                longest = longest.max(tail.find('\0').unwrap_or(tail.len()));
            }
            rest.push(next);
        }
    }
    Some(longest)
}
