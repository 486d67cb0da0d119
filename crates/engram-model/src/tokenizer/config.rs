//! What stands beside a tokenizer's vocabulary: `tokenizer_config.json` and `special_tokens_map.json`.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::END;
use super::special::Named;
use crate::error::{ModelError, Result, shown};

/// The files' keys; later files give way to earlier ones.
#[derive(Debug, Clone, Default)]
pub(crate) struct Config {
    path: PathBuf,
    values: Map<String, Value>,
}

impl Config {
    /// Reads what there is of both files.
    ///
    /// # Errors
    /// [`ModelError::Io`], [`ModelError::Config`].
    pub(crate) fn read(folder: &Path) -> Result<Config> {
        let path = folder.join("tokenizer_config.json");
        let mut values = object(&path)?;
        for (key, value) in object(&folder.join("special_tokens_map.json"))? {
            values.entry(key).or_insert(value);
        }
        Ok(Config { path, values })
    }

    /// A special token by its key, `bos_token`: a text, or an object with its `content`.
    pub(crate) fn token(&self, key: &str) -> Option<&str> {
        match self.values.get(key)? {
            Value::Object(token) => token.get("content")?.as_str(),
            value => value.as_str(),
        }
    }

    /// What is put around a text where no file of the library says so: `bos_token` and `eos_token` (by default GPT-2's),
    /// where `add_bos_token` and `add_eos_token` are true.
    ///
    /// # Errors
    /// [`ModelError::Config`] for a token that the vocabulary does not have.
    pub(crate) fn ends(&self, vocabulary: &tokenizers::Tokenizer) -> Result<[Option<Named>; 2]> {
        let end = |add: &str, key: &str| {
            if self.values.get(add) != Some(&Value::Bool(true)) {
                return Ok(None);
            }
            let token = self.token(key).unwrap_or(END);
            match vocabulary.token_to_id(token) {
                Some(id) => Ok(Some((token.to_owned(), id))),
                None => Err(ModelError::Config {
                    path: self.path.clone(),
                    why: format!(
                        "{add} is true, and {key}, \"{}\", is not in the vocabulary",
                        shown(token)
                    ),
                }),
            }
        };
        Ok([
            end("add_bos_token", "bos_token")?,
            end("add_eos_token", "eos_token")?,
        ])
    }
}

/// The keys of a JSON file; none where it is not there.
fn object(path: &Path) -> Result<Map<String, Value>> {
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Map::new()),
        Err(source) => {
            return Err(ModelError::Io {
                path: path.to_owned(),
                source,
            });
        }
    };
    serde_json::from_slice(&text).map_err(|e| ModelError::Config {
        path: path.to_owned(),
        why: format!("not a JSON object: {}", shown(&e.to_string())),
    })
}
