//! `engram edit score`: what the edits of a folder change in what the model says.

use anyhow::{Result, bail};
use engram::corpus::counterfact;
use engram::edits::effect::Effect;
use engram::edits::read_suite;
use engram::{Model, Opening, overlay};
use engram_corpus::read_edits;
use engram_edit::overlay::short;
use engram_edit::{Case, Delta, Facts, Overlay, Reader, of_list};
use serde::Serialize;

use super::request::effect_rows;
use crate::args::EditScoreArgs;
use crate::progress::{Terminal, note};

#[derive(Serialize)]
struct Scores {
    /// The edits of the folder.
    edits: Vec<String>,
    /// What does not hold, in sentences.
    faults: Vec<String>,
    #[serde(flatten)]
    effect: Effect,
}

/// Scores the edits of a folder against its checkpoint.
pub fn score(args: &EditScoreArgs, json: bool) -> Result<()> {
    let mut terminal = Terminal::default();
    let laid = overlay::read(&args.folder)?;
    let edited = Opening::default()
        .bos(args.bos)
        .open(&args.folder, &mut terminal)?;
    let base: Model = Opening::default()
        .bos(args.bos)
        .open(&laid.base, &mut terminal)?;
    let (before, after) = (Reader::new(&base)?, Reader::new(&edited)?);
    let cases = asked(args, &laid, &before)?;
    let effect = Effect::of(&before, &after, &cases)?;
    let scores = Scores {
        edits: (laid.edits.iter())
            .map(|e| short(&e.hash).to_owned())
            .collect(),
        faults: effect.faults(),
        effect,
    };
    super::super::print(json, &scores, || {
        let mut rows = vec![
            ["edits".to_owned(), scores.edits.join(", ")],
            ["facts".to_owned(), scores.effect.facts.len().to_string()],
        ];
        rows.extend(effect_rows(&scores.effect));
        super::super::table(["edits", ""], rows)
    })?;
    for fault in &scores.faults {
        note(format!("notice: {fault}"));
    }
    Ok(())
}

/// The facts to score: those of a file, or what the edits ask for.
fn asked(args: &EditScoreArgs, laid: &Overlay, before: &Reader) -> Result<Vec<Case>> {
    if let Some(file) = &args.file {
        return Ok(of_list(read_edits(file)?));
    }
    let mut requests = Vec::new();
    for edit in &laid.edits {
        let (delta, _) = Delta::read(&Overlay::file(&args.folder, &edit.hash))?;
        requests.extend(delta.meta.requests);
    }
    let own = requests.into_iter().map(|request| Case {
        request,
        ..Case::default()
    });
    let of_file = match (&args.suite, &args.counterfact) {
        (Some(path), _) => Facts::Suite(&read_suite(path)?).cases(before, true)?,
        (None, Some(path)) => {
            let facts = counterfact(path, &mut Terminal::default())?;
            Facts::CounterFact(&facts).cases(before, true)?
        }
        (None, None) => return Ok(own.collect()),
    };
    // The new answer is the edit's; paraphrases and neighbours are the file's.
    let found = own.filter_map(|own| {
        let case = of_file.iter().find(|c| c.request.id == own.request.id)?;
        Some(Case {
            request: own.request,
            ..case.clone()
        })
    });
    let found: Vec<Case> = found.collect();
    if found.is_empty() {
        bail!("none of the edits' facts has the name of one of the file's");
    }
    Ok(found)
}
