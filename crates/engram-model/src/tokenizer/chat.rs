//! Chat templates, rendered as by the transformers library (5.24): Jinja with trimmed blocks, its own `tojson`,
//! `raise_exception` and `strftime_now`, Python's methods of strings, lists and dictionaries, and values printed as in
//! Python.

use std::collections::BTreeMap;
use std::path::PathBuf;

use chrono::format::StrftimeItems;
use chrono::{DateTime, Local};
use engram_core::Message;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Serde, ValueKind};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, Value};

use crate::error::{ModelError, Result, shown};

/// Maximum work of a template in minijinja's units: about one per instruction, or per 64 bytes of text.
const FUEL: u64 = 1_000_000;

/// A checkpoint's chat templates and the special tokens that they use.
#[derive(Debug, Clone, Default)]
pub(crate) struct Chat {
    /// The file of the templates.
    pub(crate) path: PathBuf,
    /// Templates by name; a single one is called `default`.
    pub(crate) templates: BTreeMap<String, String>,
    /// Special tokens by key, such as `bos_token`.
    pub(crate) tokens: BTreeMap<String, String>,
}

impl Chat {
    /// Renders a conversation up to the beginning of the model's answer.
    ///
    /// # Errors
    /// [`ModelError::NoChatTemplate`] if there is none; [`ModelError::Chat`] for a template that does not parse,
    /// rejects the messages, or does not end.
    pub(crate) fn render(&self, messages: &[Message]) -> Result<String> {
        let wrong = |why: String| ModelError::Chat {
            path: self.path.clone(),
            why,
        };
        let source = match (self.templates.get("default"), self.templates.is_empty()) {
            (Some(source), _) => source,
            (None, true) => {
                return Err(ModelError::NoChatTemplate {
                    path: self.path.clone(),
                });
            }
            (None, false) => {
                let names: Vec<&str> = self.templates.keys().map(String::as_str).collect();
                let names = shown(&names.join(", "));
                return Err(wrong(format!(
                    "none of its templates ({names}) is the default"
                )));
            }
        };
        if messages.is_empty() {
            return Err(wrong("there is no message".to_owned()));
        }
        let source = without_generation(source);
        let told = |e: Error| wrong(message(&e));
        let environment = environment().map_err(told)?;
        let template = environment.template_from_str(&source).map_err(told)?;
        let given = [
            ("messages", Value::from(Serde(messages))),
            ("add_generation_prompt", Value::from(true)),
            ("tools", Value::from(())),
            ("documents", Value::from(())),
        ];
        let given = given.map(|(key, value)| (key.to_owned(), value));
        let mut context = BTreeMap::from(given);
        for (key, token) in &self.tokens {
            context.insert(key.clone(), Value::from(token.as_str()));
        }
        template.render(context).map_err(told)
    }
}

/// A template's error on one line.
fn message(error: &Error) -> String {
    let place = error
        .line()
        .map_or(String::new(), |l| format!(" (line {l})"));
    match error.detail() {
        Some(detail) => format!("{}{place}", shown(detail)),
        None => format!("{}{place}", error.kind()),
    }
}

fn environment<'a>() -> Result<Environment<'a>, Error> {
    let mut environment = Environment::new();
    let syntax = SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .build();
    environment.set_syntax(syntax?);
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_fuel(Some(FUEL));
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    environment.set_formatter(|out, _, value| {
        let text = printed(value);
        out.write_str(&text).map_err(Error::from)
    });
    environment.add_filter("tojson", tojson);
    environment.add_filter("string", |value: Value| printed(&value));
    environment.add_function(
        "raise_exception",
        |message: String| -> Result<Value, Error> {
            Err(Error::new(ErrorKind::InvalidOperation, message))
        },
    );
    environment.add_function("strftime_now", strftime_now);
    Ok(environment)
}

/// The time as Python's `strftime` formats it: local time, or UTC at `SOURCE_DATE_EPOCH` if that environment variable
/// is set.
fn strftime_now(format: &str) -> Result<String, Error> {
    let items = StrftimeItems::new(format).parse().map_err(|_| {
        let why = format!("strftime_now: \"{}\" is no format", shown(format));
        Error::new(ErrorKind::InvalidOperation, why)
    })?;
    let fixed = std::env::var("SOURCE_DATE_EPOCH").ok();
    let fixed = fixed.and_then(|seconds| DateTime::from_timestamp(seconds.parse().ok()?, 0));
    Ok(match fixed {
        Some(time) => time.format_with_items(items.iter()).to_string(),
        None => Local::now().format_with_items(items.iter()).to_string(),
    })
}

/// A value as Python's `str` prints it.
fn printed(value: &Value) -> String {
    match value.kind() {
        ValueKind::Undefined => String::new(),
        ValueKind::String => value.to_string(),
        _ => repr(value),
    }
}

/// A value as Python's `repr` prints it.
fn repr(value: &Value) -> String {
    let items = |value: &Value| -> Vec<Value> {
        value.try_iter().map(Iterator::collect).unwrap_or_default()
    };
    match value.kind() {
        ValueKind::Undefined => "Undefined".to_owned(),
        ValueKind::None => "None".to_owned(),
        ValueKind::Bool if value.is_true() => "True".to_owned(),
        ValueKind::Bool => "False".to_owned(),
        ValueKind::String => {
            let text = value.to_string();
            let quote = match text.contains('\'') && !text.contains('"') {
                true => '"',
                false => '\'',
            };
            let mut quoted = String::from(quote);
            for c in text.chars() {
                match c {
                    '\n' => quoted.push_str("\\n"),
                    '\r' => quoted.push_str("\\r"),
                    '\t' => quoted.push_str("\\t"),
                    '\\' => quoted.push_str("\\\\"),
                    c if c == quote => quoted.extend(['\\', c]),
                    c if c.is_control() => quoted.push_str(&format!("\\x{:02x}", c as u32)),
                    c => quoted.push(c),
                }
            }
            quoted.push(quote);
            quoted
        }
        ValueKind::Seq => {
            let items: Vec<String> = items(value).iter().map(repr).collect();
            format!("[{}]", items.join(", "))
        }
        ValueKind::Map => {
            let entry = |key: &Value| {
                let value = value.get_item(key).unwrap_or_default();
                format!("{}: {}", repr(key), repr(&value))
            };
            let entries: Vec<String> = items(value).iter().map(entry).collect();
            format!("{{{}}}", entries.join(", "))
        }
        _ => value.to_string(),
    }
}

/// Python's `json.dumps(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False)`.
fn tojson(value: &Value, kwargs: Kwargs) -> Result<Value, Error> {
    let indent: Option<usize> = kwargs.get("indent")?;
    let _: Option<bool> = kwargs.get("ensure_ascii")?;
    let _: Option<bool> = kwargs.get("sort_keys")?;
    let separators: Option<Vec<String>> = kwargs.get("separators")?;
    kwargs.assert_all_used()?;
    let json = serde_json::to_value(value)
        .map_err(|e| Error::new(ErrorKind::BadSerialization, shown(&e.to_string())))?;
    let (item, key) = match (separators.as_deref(), indent) {
        (Some([item, key]), _) => (item.clone(), key.clone()),
        (_, Some(_)) => (",".to_owned(), ": ".to_owned()),
        (_, None) => (", ".to_owned(), ": ".to_owned()),
    };
    let style = Style { item, key, indent };
    let mut text = String::new();
    style.dump(&json, 0, &mut text);
    Ok(Value::from(text))
}

/// The layout of JSON text.
struct Style {
    item: String,
    key: String,
    indent: Option<usize>,
}

impl Style {
    fn dump(&self, value: &serde_json::Value, depth: usize, out: &mut String) {
        let entries: Vec<(Option<&String>, &serde_json::Value)> = match value {
            serde_json::Value::Array(items) => items.iter().map(|v| (None, v)).collect(),
            serde_json::Value::Object(items) => items.iter().map(|(k, v)| (Some(k), v)).collect(),
            plain => {
                out.push_str(&plain.to_string());
                return;
            }
        };
        let (open, close) = match value.is_array() {
            true => ('[', ']'),
            false => ('{', '}'),
        };
        out.push(open);
        for (index, (key, value)) in entries.iter().enumerate() {
            if index > 0 {
                out.push_str(&self.item);
            }
            self.line(depth + 1, out);
            if let Some(key) = key {
                out.push_str(&serde_json::Value::from(key.as_str()).to_string());
                out.push_str(&self.key);
            }
            self.dump(value, depth + 1, out);
        }
        if !entries.is_empty() {
            self.line(depth, out);
        }
        out.push(close);
    }

    fn line(&self, depth: usize, out: &mut String) {
        if let Some(indent) = self.indent {
            out.push('\n');
            out.extend(std::iter::repeat_n(' ', indent * depth));
        }
    }
}

/// A template without `{% generation %}` blocks, which mark the model's own text: their content stays, and blanks are
/// trimmed as before.
fn without_generation(source: &str) -> String {
    let mut text = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(start) = rest.find("{%") {
        let Some(length) = rest[start..].find("%}") else {
            break;
        };
        let tag = &rest[start + 2..start + length];
        let word = tag.trim_matches(|c: char| c == '-' || c == '+' || c.is_whitespace());
        let instead = match word {
            "generation" => Some("if true"),
            "endgeneration" => Some("endif"),
            _ => None,
        };
        text.push_str(&rest[..start]);
        match instead {
            Some(instead) => text.push_str(&format!("{{%{}%}}", tag.replace(word, instead))),
            None => text.push_str(&rest[start..start + length + 2]),
        }
        rest = &rest[start + length + 2..];
    }
    text + rest
}
