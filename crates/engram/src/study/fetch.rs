//! `[corpus.fetch]` of a study file: abstracts that are fetched from PubMed.

use engram_corpus::fetch::{self, Day, Days, EUTILS, Fetch};
use serde::{Deserialize, Serialize};

/// The variable with NCBI's API key.
const KEY: &str = "NCBI_API_KEY";

fn eutils() -> String {
    EUTILS.to_owned()
}

/// A search of PubMed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FetchSource {
    /// The query, as PubMed's search field takes it.
    pub query: String,
    /// How many abstracts, the first ones that PubMed gives. A query with fewer is refused.
    pub most: usize,
    /// The first day of publication: YYYY, YYYY-MM or YYYY-MM-DD.
    #[serde(default)]
    pub from: Option<Day>,
    /// The last day of publication.
    #[serde(default)]
    pub to: Option<Day>,
    /// The address that NCBI asks for. No result depends on it.
    #[serde(default, skip_serializing)]
    pub email: String,
    /// NCBI's API key (by default the variable NCBI_API_KEY). It is stored nowhere.
    #[serde(default, skip_serializing)]
    pub api_key: Option<String>,
    /// The address of the E-utilities.
    #[serde(default = "eutils")]
    pub base_url: String,
}

impl FetchSource {
    /// The download, resumed where one is unfinished.
    ///
    /// # Errors
    /// The setting, and why it cannot be.
    pub fn wanted(&self) -> Result<Fetch, (&'static str, String)> {
        if self.email.is_empty() {
            let why = "NCBI asks for an e-mail address; give it with --set corpus.fetch.email=you@example.org";
            return Err(("email", why.to_owned()));
        }
        let wanted = Fetch {
            base: self.base_url.clone(),
            query: self.query.clone(),
            published: Days::between(self.from, self.to).map_err(|why| ("from", why))?,
            max: self.most,
            least: self.most,
            email: self.email.clone(),
            api_key: self.api_key.clone().or_else(|| std::env::var(KEY).ok()),
            resume: true,
        };
        fetch::check(&wanted).map_err(|e| ("", e.to_string()))?;
        Ok(wanted)
    }
}
