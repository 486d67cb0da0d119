//! The files beside a tokenizer's vocabulary: `tokenizer_config.json`, `special_tokens_map.json`, `added_tokens.json`,
//! `chat_template.jinja`, and the family from `config.json`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use tokenizers::AddedToken;

use super::END;
use super::chat::Chat;
use super::special::SpelledToken;
use crate::error::{ModelError, Result, shown};

/// Keys of special tokens, in the order in which the transformers library adds them.
const SPECIAL: [&str; 7] = [
    "bos_token",
    "eos_token",
    "unk_token",
    "sep_token",
    "pad_token",
    "cls_token",
    "mask_token",
];
/// Name of the file that is written.
const FILE: &str = "tokenizer_config.json";

/// The keys of these files; the first file with a key wins.
#[derive(Debug, Clone, Default)]
pub(crate) struct Config {
    path: PathBuf,
    values: Map<String, Value>,
    /// `config.json`.
    model: Map<String, Value>,
    /// `chat_template.jinja`.
    template: Option<String>,
}

impl Config {
    /// Reads those of the files that exist.
    ///
    /// # Errors
    /// [`ModelError::Io`] if one cannot be read; [`ModelError::Config`] if one does not parse.
    pub(crate) fn read(folder: &Path) -> Result<Config> {
        let path = folder.join(FILE);
        let mut values = object(&path)?;
        for (key, value) in object(&folder.join("special_tokens_map.json"))? {
            values.entry(key).or_insert(value);
        }
        let template = bytes(&folder.join("chat_template.jinja"))?;
        Ok(Config {
            path,
            values,
            model: object(&folder.join("config.json"))?,
            template: template.map(|t| String::from_utf8_lossy(&t).into_owned()),
        })
    }

    /// The same keys from another source; errors name it.
    pub(crate) fn of(path: PathBuf, values: Map<String, Value>) -> Config {
        Config {
            path,
            values,
            ..Config::default()
        }
    }

    /// Writes `tokenizer_config.json` if it has any content.
    ///
    /// # Errors
    /// As [`write_atomic`](engram_core::files::write_atomic).
    pub(crate) fn write(&self, folder: &Path) -> Result<()> {
        let mut values = self.values.clone();
        if let Some(template) = &self.template {
            values.insert("chat_template".to_owned(), template.as_str().into());
        }
        if !values.is_empty() {
            engram_core::files::write_json(&folder.join(FILE), &values)?;
        }
        Ok(())
    }

    /// An error that names the file.
    pub(crate) fn wrong(&self, why: String) -> ModelError {
        ModelError::Config {
            path: self.path.clone(),
            why,
        }
    }

    /// Whether a key is true.
    pub(crate) fn is_true(&self, key: &str) -> bool {
        self.values.get(key) == Some(&Value::Bool(true))
    }

    /// The name of the tokenizer's class.
    pub(crate) fn class(&self) -> Option<&str> {
        let mut files = [&self.values, &self.model].into_iter();
        files.find_map(|file| file.get("tokenizer_class")?.as_str())
    }

    /// The model's family.
    pub(crate) fn model_type(&self) -> Option<&str> {
        self.model.get("model_type")?.as_str()
    }

    /// A special token by its key, `bos_token`: a text, or an object with its `content`.
    pub(crate) fn token(&self, key: &str) -> Option<&str> {
        content(self.values.get(key)?)
    }

    /// The named special tokens, as added tokens.
    pub(crate) fn special_tokens(&self) -> Vec<AddedToken> {
        let named = SPECIAL.iter().filter_map(|key| self.values.get(*key));
        let lists = ["additional_special_tokens", "extra_special_tokens"].iter();
        let lists = lists.filter_map(|key| self.values.get(*key)?.as_array());
        let tokens = named.chain(lists.flatten());
        tokens.filter_map(|value| added(value, true)).collect()
    }

    /// The added tokens by id, and the file that lists them: `added_tokens_decoder`, otherwise `added_tokens.json`.
    ///
    /// # Errors
    /// [`ModelError::Io`] if a file cannot be read; [`ModelError::Config`] if it does not parse.
    pub(crate) fn added_tokens(
        &self,
        folder: &Path,
    ) -> Result<(BTreeMap<u32, AddedToken>, PathBuf)> {
        let mut tokens = BTreeMap::new();
        if let Some(listed) = self
            .values
            .get("added_tokens_decoder")
            .and_then(Value::as_object)
        {
            for (id, value) in listed {
                let token = id.parse().ok().zip(added(value, false));
                let (id, token) = token.ok_or_else(|| {
                    self.wrong(format!(
                        "added_tokens_decoder: \"{}\" is no id of a token",
                        shown(id)
                    ))
                })?;
                tokens.insert(id, token);
            }
            return Ok((tokens, self.path.clone()));
        }
        let path = folder.join("added_tokens.json");
        let special: Vec<String> = (self.special_tokens().into_iter())
            .map(|t| t.content)
            .collect();
        for (token, id) in object(&path)? {
            let id = id.as_u64().and_then(|id| u32::try_from(id).ok());
            let id = id.ok_or_else(|| ModelError::Config {
                path: path.clone(),
                why: format!("\"{}\" has no id", shown(&token)),
            })?;
            let is_special = special.contains(&token);
            if let Some(other) = tokens.insert(id, AddedToken::from(token, is_special)) {
                let why = format!(
                    "id {id} is given to two tokens, \"{}\" is one",
                    shown(&other.content)
                );
                return Err(ModelError::Config { path, why });
            }
        }
        Ok((tokens, path))
    }

    /// The chat templates: `chat_template.jinja`, otherwise `chat_template` (one, or several by name).
    pub(crate) fn chat(&self) -> Chat {
        let pair = |value: &Value| {
            let text = |key: &str| value.get(key)?.as_str().map(str::to_owned);
            Some((text("name")?, text("template")?))
        };
        let default = |text: &str| BTreeMap::from([("default".to_owned(), text.to_owned())]);
        let templates = match (&self.template, self.values.get("chat_template")) {
            (Some(text), _) => default(text),
            (None, Some(Value::String(text))) => default(text),
            (None, Some(Value::Array(named))) => named.iter().filter_map(pair).collect(),
            (None, Some(Value::Object(named))) => {
                let text =
                    |(name, v): (&String, &Value)| Some((name.clone(), v.as_str()?.to_owned()));
                named.iter().filter_map(text).collect()
            }
            _ => BTreeMap::new(),
        };
        let token = |(key, value): (&String, &Value)| {
            let token = content(value).filter(|_| key.ends_with("_token"))?;
            Some((key.clone(), token.to_owned()))
        };
        Chat {
            path: self.path.clone(),
            templates,
            tokens: self.values.iter().filter_map(token).collect(),
        }
    }

    /// Tokens around a text, if no file of the library says: `bos_token` and `eos_token` (GPT-2's by default), where
    /// `add_bos_token` and `add_eos_token` are true.
    ///
    /// # Errors
    /// [`ModelError::Config`] for a token that the vocabulary lacks.
    pub(crate) fn ends(
        &self,
        vocabulary: &tokenizers::Tokenizer,
    ) -> Result<[Option<SpelledToken>; 2]> {
        let end = |add: &str, key: &str| {
            if !self.is_true(add) {
                return Ok(None);
            }
            let token = self.token(key).unwrap_or(END);
            match vocabulary.token_to_id(token) {
                Some(id) => Ok(Some((token.to_owned(), id))),
                None => Err(self.wrong(format!(
                    "{add} is true, and {key}, \"{}\", is not in the vocabulary",
                    shown(token)
                ))),
            }
        };
        Ok([
            end("add_bos_token", "bos_token")?,
            end("add_eos_token", "eos_token")?,
        ])
    }
}

fn content(value: &Value) -> Option<&str> {
    match value {
        Value::Object(token) => token.get("content")?.as_str(),
        value => value.as_str(),
    }
}

/// A token as text, or as an object with its flags.
fn added(value: &Value, special: bool) -> Option<AddedToken> {
    let flag = |key: &str| value.get(key).and_then(Value::as_bool);
    let special = special || flag("special").unwrap_or(false);
    let token = AddedToken::from(content(value)?, special);
    Some(AddedToken {
        single_word: flag("single_word").unwrap_or(token.single_word),
        lstrip: flag("lstrip").unwrap_or(token.lstrip),
        rstrip: flag("rstrip").unwrap_or(token.rstrip),
        normalized: flag("normalized").unwrap_or(token.normalized),
        ..token
    })
}

/// A file's bytes; `None` if it does not exist.
fn bytes(path: &Path) -> Result<Option<Vec<u8>>> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(ModelError::Io {
            path: path.to_owned(),
            source,
        }),
    }
}

/// The keys of a JSON file; none if it does not exist.
fn object(path: &Path) -> Result<Map<String, Value>> {
    let Some(text) = bytes(path)? else {
        return Ok(Map::new());
    };
    serde_json::from_slice(&text).map_err(|e| ModelError::Config {
        path: path.to_owned(),
        why: format!("not a JSON object: {}", shown(&e.to_string())),
    })
}
