//! What of a study contradicts the rest of it.

use engram_core::Metric;

use super::{BASE, FetchSource, RANDOM, Study};

impl Study {
    /// What of the study contradicts the rest: the setting, and why.
    pub(super) fn contradictions(&self) -> Vec<(String, String)> {
        let mut found: Vec<(String, String)> = Vec::new();
        let mut add = |at: &str, why: String| found.push((at.to_owned(), why));
        if self.title.trim().is_empty() {
            add("title", "title is empty".to_owned());
        }
        let written = self.corpus.as_ref().is_some_and(|c| c.write.is_some());
        if let Some(corpus) = &self.corpus {
            let sources = [corpus.file.is_some(), corpus.fetch.is_some(), written];
            if sources.iter().filter(|is_given| **is_given).count() != 1 {
                let why = "corpus: give one of file, fetch (abstracts from PubMed) and write (texts from the fact table)";
                add("corpus", why.to_owned());
            }
            if let Some(Err((setting, why))) = corpus.fetch.as_ref().map(FetchSource::wanted) {
                let at = match setting {
                    "" => "corpus.fetch".to_owned(),
                    setting => format!("corpus.fetch.{setting}"),
                };
                add(&at, format!("{at}: {why}"));
            }
        }
        if self.corpus.is_none()
            && let Some(name) = self.train.keys().next()
        {
            let at = format!("train.{name}");
            add(&at, format!("{at}: there is no corpus to train on"));
        }
        if self.suite.file.is_some() && self.suite.counterfact.is_some() {
            add(
                "suite",
                "suite: give file or counterfact, not both".to_owned(),
            );
        }
        let built = self.suite.file.is_none() && self.suite.counterfact.is_none();
        let published = self.published.as_ref();
        let from_table = published.is_some_and(|p| p.pairs.is_some());
        if published.is_some_and(|p| p.questions.is_some() == from_table) {
            let why = "paper: give either questions (a file) or pairs (a number, from the fact table), not both or neither";
            add("paper", why.to_owned());
        }
        let calls = [
            (written, "corpus.write", "corpus.write"),
            (built, "suite", "a suite without a file"),
            (from_table, "paper.pairs", "paper.pairs"),
        ];
        if let (None, Some((_, at, what))) = (&self.facts, calls.iter().find(|(calls, ..)| *calls))
        {
            add(at, format!("{what} is made from a fact table; give facts"));
        }
        let known = self.models();
        let plain = |name: &str| {
            let letters = name.chars();
            let mut odd = letters.filter(|c| !c.is_ascii_alphanumeric() && !"-_".contains(*c));
            !name.is_empty() && odd.next().is_none()
        };
        for name in self.train.keys() {
            if [BASE, RANDOM].contains(&name.as_str()) || !plain(name) {
                let at = format!("train.{name}");
                let why = format!(
                    "{at}: a model's name has letters, digits, - and _, and is not \"{BASE}\" or \"{RANDOM}\""
                );
                add(&at, why);
            }
        }
        let asked = self
            .sweep
            .iter()
            .map(|(n, s)| (format!("sweep.{n}"), &s.models));
        let edited = self
            .edit
            .iter()
            .map(|(n, e)| (format!("edit.{n}"), &e.models));
        let asked = asked.chain(edited);
        let asked = asked.chain(
            self.published
                .iter()
                .map(|p| ("paper".to_owned(), &p.models)),
        );
        for (place, models) in asked {
            for unknown in models.iter().filter(|m| !known.contains(&m.as_str())) {
                let known = known.join(", ");
                let why = format!("{place}: no model is called \"{unknown}\"; known: {known}");
                add(&format!("{place}.models"), why);
            }
        }
        for (name, edit) in &self.edit {
            let at = format!("edit.{name}");
            if !plain(name) {
                add(&at, format!("{at}: a name has letters, digits, - and _"));
            }
            for (setting, why) in edit.faults(self) {
                add(&format!("{at}.{setting}"), format!("{at}: {why}"));
            }
        }
        for (name, sweep) in &self.sweep {
            if !sweep.metrics.contains(&Metric::LogitDiff) {
                let why = format!(
                    "sweep.{name}: metrics must hold logit_diff, which decides what pairs are eligible"
                );
                add(&format!("sweep.{name}.metrics"), why);
            }
        }
        found
    }
}
