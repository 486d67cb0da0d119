//! Options: the address of the hub, the cache folder, the token. Environment variables have the names that the Python
//! tools use.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use ureq::http::{HeaderValue, Uri};

use crate::error::{HubError, Result};

/// The address of the Hugging Face hub.
pub const HUB: &str = "https://huggingface.co";

/// Where the hub is, and where its files are cached.
#[derive(Debug, Clone)]
pub struct Options {
    /// The hub's address: [`HUB`], or a server with the same API.
    pub endpoint: String,
    /// The folder of the cache.
    pub cache: PathBuf,
    /// The access token. It is sent to the endpoint only.
    pub token: Option<Token>,
    /// Offline mode: no request is made, only the cache is used.
    pub offline: bool,
    /// Waits between attempts; tests replace it.
    pub sleep: fn(Duration),
    /// The time since a fixed moment, from which slow downloads are detected.
    pub now: fn() -> Duration,
}

/// An access token. It is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// A token, without surrounding white space; `None` if nothing is left.
    pub fn new(text: &str) -> Option<Token> {
        let text = text.trim();
        (!text.is_empty()).then(|| Token(text.to_owned()))
    }

    /// The value of the header `Authorization`.
    pub(crate) fn header(&self) -> Result<HeaderValue> {
        let value = HeaderValue::from_str(&format!("Bearer {}", self.0));
        let mut value = value.map_err(|_| HubError::Setting {
            name: "HF_TOKEN",
            why: format!("the token has characters that no token has; {NEW_TOKEN}"),
        })?;
        value.set_sensitive(true);
        Ok(value)
    }
}

const NEW_TOKEN: &str = "copy it anew from the hub's settings, under Access Tokens";

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

impl Options {
    /// Options from the environment, with huggingface_hub's names and defaults: `HF_ENDPOINT`; `HF_TOKEN`, or the file
    /// at `HF_TOKEN_PATH` or `$HF_HOME/token`; `HF_HUB_CACHE`, or `$HF_HOME/hub`; `HF_HUB_OFFLINE`.
    ///
    /// # Errors
    /// [`HubError::Setting`] for an endpoint that is not an address, or if there is no folder for the cache.
    pub fn from_env() -> Result<Options> {
        Options::from(|name| std::env::var(name).ok(), std::env::home_dir())
    }

    fn from(variable: impl Fn(&str) -> Option<String>, home: Option<PathBuf>) -> Result<Options> {
        let set = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
        let path = |name: &str| set(name).map(|value| expand(&value, home.as_deref()));
        let on = |name: &str| set(name).is_some_and(|value| is_on(&value));
        let hub_home = path("HF_HOME")
            .or_else(|| path("XDG_CACHE_HOME").map(|cache| cache.join("huggingface")))
            .or_else(|| home.as_ref().map(|home| home.join(".cache/huggingface")));
        let cache = path("HF_HUB_CACHE")
            .or_else(|| path("HUGGINGFACE_HUB_CACHE"))
            .or_else(|| hub_home.as_ref().map(|home| home.join("hub")));
        let token_file = path("HF_TOKEN_PATH").or_else(|| Some(hub_home?.join("token")));
        let token = match on("HF_HUB_DISABLE_IMPLICIT_TOKEN") {
            true => None,
            false => set("HF_TOKEN")
                .or_else(|| std::fs::read_to_string(token_file?).ok())
                .and_then(|text| Token::new(&text)),
        };
        Ok(Options {
            endpoint: endpoint(set("HF_ENDPOINT").as_deref().unwrap_or(HUB))?,
            cache: cache.ok_or(HubError::Setting {
                name: "HF_HUB_CACHE",
                why: "there is no home folder to keep models in; name a folder".to_owned(),
            })?,
            token,
            offline: on(match set("HF_HUB_OFFLINE") {
                Some(_) => "HF_HUB_OFFLINE",
                None => "TRANSFORMERS_OFFLINE",
            }),
            sleep: std::thread::sleep,
            now,
        })
    }
}

fn now() -> Duration {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed()
}

fn endpoint(text: &str) -> Result<String> {
    let text = text.trim().trim_end_matches('/');
    let address: Option<Uri> = text.parse().ok();
    let good = address.is_some_and(|address| {
        matches!(address.scheme_str(), Some("http" | "https")) && address.query().is_none()
    });
    match good {
        true => Ok(text.to_owned()),
        false => Err(HubError::Setting {
            name: "HF_ENDPOINT",
            why: format!("{text:?} is no address such as {HUB}"),
        }),
    }
}

/// A path in which `~` at the beginning is the home folder.
fn expand(text: &str, home: Option<&Path>) -> PathBuf {
    match (text.strip_prefix('~'), home) {
        (Some(""), Some(home)) => home.to_owned(),
        (Some(rest), Some(home)) if rest.starts_with('/') => home.join(&rest[1..]),
        _ => PathBuf::from(text),
    }
}

fn is_on(value: &str) -> bool {
    let value = value.trim().to_ascii_lowercase();
    matches!(value.as_str(), "1" | "true" | "yes" | "on")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(variables: &[(&str, &str)]) -> Result<Options> {
        let value = |name: &str| variables.iter().find(|(n, _)| *n == name);
        Options::from(
            |name| value(name).map(|(_, value)| (*value).to_owned()),
            Some(PathBuf::from("/home/someone")),
        )
    }

    #[test]
    fn the_cache_is_where_the_python_tools_have_it() {
        let cache = |variables: &[_]| options(variables).unwrap().cache;
        let is = |variables: &[_], path: &str| assert_eq!(cache(variables), Path::new(path));
        is(&[], "/home/someone/.cache/huggingface/hub");
        is(&[("HF_HOME", "")], "/home/someone/.cache/huggingface/hub");
        is(&[("XDG_CACHE_HOME", "/x")], "/x/huggingface/hub");
        is(&[("HF_HOME", "/h"), ("XDG_CACHE_HOME", "/x")], "/h/hub");
        is(&[("HF_HOME", "~/h")], "/home/someone/h/hub");
        is(&[("HUGGINGFACE_HUB_CACHE", "/old")], "/old");
        is(&[("HF_HUB_CACHE", "/c"), ("HF_HOME", "/h")], "/c");
        let none = Options::from(|_| None, None).unwrap_err().to_string();
        assert!(none.contains("HF_HUB_CACHE") && none.contains("name a folder"));
    }

    #[test]
    fn the_token_is_the_variable_or_the_file_and_never_shown() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().to_str().unwrap();
        let token = |variables: &[_]| options(variables).unwrap().token;
        assert_eq!(token(&[("HF_HOME", home)]), None);
        std::fs::write(folder.path().join("token"), "hf_file\n").unwrap();
        assert_eq!(token(&[("HF_HOME", home)]), Token::new("hf_file"));
        let both = [("HF_HOME", home), ("HF_TOKEN", " hf_variable ")];
        assert_eq!(token(&both), Token::new("hf_variable"));
        let other = folder.path().join("other");
        std::fs::write(&other, "hf_other").unwrap();
        let path = [
            ("HF_HOME", home),
            ("HF_TOKEN_PATH", other.to_str().unwrap()),
        ];
        assert_eq!(token(&path), Token::new("hf_other"));
        let off = [("HF_TOKEN", "x"), ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")];
        assert_eq!(token(&off), None);
        let shown = format!("{:?}", options(&both).unwrap());
        assert!(!shown.contains("variable"), "{shown}");
        let broken = Token::new("a\nb")
            .unwrap()
            .header()
            .unwrap_err()
            .to_string();
        assert!(broken.contains("HF_TOKEN") && !broken.contains('\n'));
    }

    #[test]
    fn endpoint_and_offline_are_read() {
        let set = |name, value| options(&[(name, value)]);
        assert_eq!(set("X", "").unwrap().endpoint, HUB);
        let mirror = set("HF_ENDPOINT", "http://mirror.example:8080/hub/").unwrap();
        assert_eq!(mirror.endpoint, "http://mirror.example:8080/hub");
        for wrong in ["mirror.example", "ftp://a", "/x", "http://"] {
            let error = set("HF_ENDPOINT", wrong).unwrap_err().to_string();
            assert!(error.contains("is no address"), "{error}");
        }
        for (value, on) in [
            ("1", true),
            ("TRUE", true),
            ("yes", true),
            ("On", true),
            ("0", false),
            ("", false),
        ] {
            assert_eq!(set("HF_HUB_OFFLINE", value).unwrap().offline, on, "{value}");
            assert_eq!(set("TRANSFORMERS_OFFLINE", value).unwrap().offline, on);
        }
        let both = [("HF_HUB_OFFLINE", "0"), ("TRANSFORMERS_OFFLINE", "1")];
        assert!(!options(&both).unwrap().offline);
    }
}
