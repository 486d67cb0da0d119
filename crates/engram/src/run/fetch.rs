//! The stage `fetch`: abstracts from PubMed.

use std::path::PathBuf;

use engram_core::files;
use engram_core::text::thousands;
use engram_corpus::fetch::{FetchProgress, Fetched, SystemClock, download};
use engram_corpus::read;
use serde_json::json;

use super::Run;
use crate::code::Code;
use crate::error::{Error, Result};
use crate::observe::Observer;
use crate::results::{ABSTRACTS, FETCHED};
use crate::stage::{done_with, partial, under_way};

impl Run<'_> {
    /// The file of the corpus: the study's own, or what is fetched from PubMed, where the study has either.
    pub(super) fn abstracts(&mut self) -> Result<Option<PathBuf>> {
        let Some(corpus) = &self.setup.study.corpus else {
            return Ok(None);
        };
        let Some(source) = corpus.fetch.clone() else {
            return Ok(corpus.file.clone());
        };
        let wanted = source
            .wanted()
            .map_err(|(setting, why)| Error::asked(format!("corpus.fetch.{setting}"), why))?;
        // No code: a download is not repeated because engram has changed.
        let (code, inputs) = (Code::new(), json!(source));
        let stage_folder = self.folder.path().join("fetch");
        let made = self.stage("fetch", code, inputs.clone(), |_, folder, observer| {
            let kept = under_way(&stage_folder, &inputs, observer)?;
            let mut told = Told {
                observer,
                is_begun: false,
            };
            let (abstracts, fetched) = download(
                &wanted,
                &kept.join("pubmed"),
                &SystemClock::default(),
                &mut |progress| told.told(progress),
            )?;
            told.end(&fetched);
            read::write(&folder.join(ABSTRACTS), &abstracts)?;
            files::write_json(&folder.join(FETCHED), &fetched)?;
            Ok(())
        })?;
        done_with(&partial(&stage_folder))?;
        let file = made.join(ABSTRACTS);
        self.setup
            .inputs
            .insert("corpus", files::sha256_file(&file)?);
        Ok(Some(file))
    }
}

/// Tells of a download.
struct Told<'a> {
    observer: &'a mut dyn Observer,
    is_begun: bool,
}

impl Told<'_> {
    fn told(&mut self, progress: FetchProgress<'_>) {
        let observer = &mut *self.observer;
        match progress {
            FetchProgress::Asking(service) => observer.note(format!("fetch: asking {service}")),
            FetchProgress::Searched(found, asked) => {
                observer.note(format!(
                    "fetch: PubMed has {} citations for the query",
                    thousands(found)
                ));
                observer.begins("fetch, citations", asked as u64);
                self.is_begun = true;
            }
            FetchProgress::At(done) => observer.at(done as u64, ""),
            FetchProgress::Damaged(path) => observer.note(format!(
                "fetch: {} is damaged and is downloaded again",
                path.display()
            )),
            FetchProgress::Again(pause, why) => observer.note(format!(
                "fetch: {why}; asked again in {} s",
                pause.as_secs()
            )),
        }
    }

    fn end(&mut self, fetched: &Fetched) {
        if self.is_begun {
            let written = thousands(fetched.written);
            self.observer.ends(&format!("{written} abstracts"));
        }
        let missing = fetched.missing.len();
        for (count, what) in [
            (fetched.empty, "with neither title nor abstract"),
            (missing, "that PubMed did not send"),
        ] {
            if count > 0 {
                let count = thousands(count);
                self.observer
                    .note(format!("fetch: {count} citations {what} are left out"));
            }
        }
    }
}
