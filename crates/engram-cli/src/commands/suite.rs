//! `engram suite`.

use std::path::Path;

use anyhow::{Result, bail};
use engram::{Opening, UNEQUAL};
use engram_core::text::plain;
use engram_core::{Align, Bos, Clusters, Lock, NamedSite, Pair, Positions, Site, Suite};
use engram_corpus::{CounterFact, FactTable, read_suite};
use engram_findings::words::plural;
use engram_model::Shape;
use engram_patch::{
    Balance, BuildSettings, Fitness, Plan, PreparedPair, Reading, SweepSpec, build,
    build_counterfact, build_published, check,
};
use serde::Serialize;

use super::{print, table};
use crate::args::{Profile, SuiteCommand};
use crate::progress::{Terminal, note};

/// Runs a suite command.
///
/// # Errors
/// Any of the suite's, the fact table's or the checkpoint's.
pub fn suite(command: SuiteCommand, json: bool) -> Result<()> {
    match command {
        SuiteCommand::Build {
            facts,
            counterfact,
            model,
            profile,
            max_pairs_per_kind,
            seed,
            bos,
            out,
        } => {
            let _held = Lock::beside(&out)?;
            let most = (max_pairs_per_kind > 0).then_some(max_pairs_per_kind);
            let mut terminal = Terminal::default();
            let model = Opening::default().bos(bos).open(&model, &mut terminal)?;
            let Some(facts) = facts else {
                let facts =
                    engram::corpus::counterfact(&counterfact.unwrap_or_default(), &mut terminal)?;
                let suite = build_counterfact(&facts, model.tokenizer(), seed, most)?;
                suite.write(&out)?;
                for (fact, times) in facts.iter().filter_map(ambiguous) {
                    let (case, subject) = (fact.case, &fact.subject);
                    note(format!(
                        "notice: case {case}: the prompt has the subject \"{subject}\" {times} times, and the last is taken"
                    ));
                }
                note(format!(
                    "{}: {} pairs from {} facts",
                    out.display(),
                    suite.pairs.len(),
                    facts.len()
                ));
                return Ok(());
            };
            let facts = FactTable::read(&facts)?;
            let settings = BuildSettings {
                seed,
                max_pairs_per_kind: most,
                ..BuildSettings::default()
            };
            let built = match profile {
                None => build(&facts, model.tokenizer(), &settings)?,
                Some(Profile::Paper) => build_published(&facts, model.tokenizer(), &settings)?,
            };
            built.suite.write(&out)?;
            for unpaired in &built.unpaired {
                note(format!("left out: {} ({})", unpaired.fact, unpaired.reason));
            }
            note(format!(
                "{}: {} pairs, {} facts left out",
                out.display(),
                built.suite.pairs.len(),
                built.unpaired.len()
            ));
            print(json, &built.balance, || balance(&built.balance))
        }
        SuiteCommand::New { file } => super::new::suite(&file),
        SuiteCommand::Check {
            suite,
            model,
            align,
            bos,
        } => checks(&suite, &model, align, bos, json),
        SuiteCommand::Show {
            suite,
            model,
            most,
            bos,
        } => {
            let suite = read_suite(&suite)?;
            let (checked, shape) = checked(&suite, &model, bos, Align::Strict)?;
            let shown = &checked[..most.min(checked.len())];
            print(json, &shown, || {
                let shown = shown.iter().map(|f| tokens(f, shape.context));
                shown.map(|text| text + "\n").collect()
            })
        }
    }
}

/// A fact whose subject could be in several places of its prompt, and in how many.
fn ambiguous(fact: &CounterFact) -> Option<(&CounterFact, usize)> {
    let choices = fact.locate()?.choices;
    (choices > 1).then_some((fact, choices))
}

fn balance(found: &Balance) -> String {
    let rows = found.after.iter().map(|(kind, b)| {
        [
            kind.clone(),
            b.pairs.to_string(),
            format!("{:.2}", b.mean_chars),
            format!("{:.2}", b.sd_chars),
        ]
    });
    let header = [
        "kind",
        "pairs",
        "characters of the answer's first token",
        "SD",
    ];
    format!(
        "{}\ndifference between kinds: {:.2} SD ({:.2} before balancing); {} pairs dropped to balance, {} beyond what was asked for",
        table(header, rows),
        found.difference_after,
        found.difference_before,
        found.dropped_to_balance,
        found.dropped_to_cap
    )
}

/// A pair's fitness, and what a sweep does with it.
#[derive(Serialize)]
struct Checked<'a> {
    #[serde(flatten)]
    fitness: &'a Fitness,
    /// What `patch` does with the pair.
    patch: String,
    /// The number of its cluster.
    cluster: usize,
}

/// Runs `engram suite check`.
fn checks(path: &Path, model: &Path, align: Option<Align>, bos: Bos, json: bool) -> Result<()> {
    let asked = align.unwrap_or(Align::Strict);
    let suite = read_suite(path)?;
    let clusters = Clusters::of(&suite.pairs);
    let (checked, shape) = checked(&suite, model, bos, asked)?;
    let all: Vec<Checked<'_>> = (checked.iter().zip(&clusters.of))
        .map(|(fitness, &cluster)| Checked {
            patch: fate(fitness, &shape, asked),
            fitness,
            cluster,
        })
        .collect();
    let unfit = all.iter().filter(|c| !is_patched(c, asked, &shape)).count();
    let unequal = checked.iter().any(|c| is_unequal(&c.pair));
    print(json, &all, || {
        let mut text = String::new();
        for fitness in &checked {
            for problem in &fitness.problems {
                let line = format!("{}: {problem}", fitness.pair.id);
                text += &format!("{}\n", plain(&line));
            }
            for notice in &fitness.notices {
                let line = format!("{}: notice: {notice}", fitness.pair.id);
                text += &format!("{}\n", plain(&line));
            }
        }
        // Where prompts of a pair are equally long and nothing is asked, every pair has the same fate.
        if align.is_some() || unequal {
            text += &fates(&all, asked);
        }
        text += &format!("{} of {} pairs are fit", all.len() - unfit, all.len());
        let noticed = checked.iter().filter(|c| !c.notices.is_empty()).count();
        if noticed > 0 {
            text += &format!("; {noticed} with a notice");
        }
        text + "\n" + &dependence(&suite.pairs, &clusters)
    })?;
    if unfit > 0 {
        bail!(
            "{}: {unfit} of {} pairs cannot be patched{}",
            path.display(),
            all.len(),
            if unequal && asked == Align::Strict {
                format!("; {UNEQUAL}")
            } else {
                String::new()
            }
        );
    }
    Ok(())
}

fn is_unequal(pair: &PreparedPair) -> bool {
    pair.clean.len() != pair.corrupt.len()
}

fn is_patched(checked: &Checked<'_>, align: Align, shape: &Shape) -> bool {
    checked.fitness.is_fit() && planned(checked.fitness, shape, align).is_ok()
}

/// The positions that a sweep has of a pair that is fit, and the offset of their partners; why there is none.
fn planned(
    fitness: &Fitness,
    shape: &Shape,
    align: Align,
) -> std::result::Result<(usize, i64), String> {
    let site = NamedSite::canonical(Site::ResidPre, Some(0));
    let spec = SweepSpec {
        positions: Positions::Each,
        align,
        ..SweepSpec::new(vec![site])
    };
    let plan = Plan::of_fit(spec, shape.clone(), vec![fitness.pair.clone()]);
    let (plan, unfit) = plan.map_err(|e| e.to_string())?;
    match (plan.pairs.first(), unfit.first()) {
        (Some(pair), _) => Ok((pair.cells.len(), pair.shift)),
        (None, Some(unfit)) => Err(unfit.problems.join("; ")),
        (None, None) => Err("nothing is left to patch".to_owned()),
    }
}

/// What `patch` does with a pair.
fn fate(fitness: &Fitness, shape: &Shape, align: Align) -> String {
    if !fitness.is_fit() {
        return "refuses it, with the suite; --skip-unfit leaves it out".to_owned();
    }
    let length = fitness.pair.corrupt.len();
    match planned(fitness, shape, align) {
        Err(why) => format!("refuses it, with the suite ({why}); --skip-unfit leaves it out"),
        Ok((positions, 0)) if positions == length => {
            format!("patches it at {positions} positions")
        }
        Ok((positions, shift)) => format!(
            "patches it at {positions} of {length} positions; their partners are {} {} in the clean prompt",
            shift.unsigned_abs(),
            match shift {
                0 => "tokens away",
                1.. => "tokens later",
                _ => "tokens earlier",
            }
        ),
    }
}

fn fates(all: &[Checked<'_>], align: Align) -> String {
    let rows = all.iter().map(|c| {
        let pair = &c.fitness.pair;
        [
            pair.id.clone(),
            pair.clean.len().to_string(),
            pair.corrupt.len().to_string(),
            c.patch.clone(),
        ]
    });
    let what = format!("engram patch --align {align}");
    let header = ["pair", "tokens clean", "corrupted", &what];
    format!("{}\n", table(header, rows))
}

fn checked(suite: &Suite, model: &Path, bos: Bos, align: Align) -> Result<(Vec<Fitness>, Shape)> {
    let model = Opening::default()
        .bos(bos)
        .open(model, &mut Terminal::default())?;
    let shape = model.shape();
    let reading = Reading {
        unequal: align != Align::Strict,
        ..Reading::default()
    };
    let checked = check(suite, model.tokenizer(), &shape, &reading)?;
    Ok((checked, shape))
}

/// How many independent groups the pairs of a suite are; those that the suite does not give, and why.
fn dependence(pairs: &[Pair], clusters: &Clusters) -> String {
    const SHOWN: usize = 20;
    let count = format!(
        "{} in {}",
        plural(pairs.len(), "pair"),
        plural(clusters.count(), "cluster")
    );
    let together: Vec<Vec<usize>> = clusters.members();
    let together: Vec<&Vec<usize>> = together.iter().filter(|of| of.len() > 1).collect();
    if together.is_empty() {
        return count + ": no two share a prompt, or a fact and its foil";
    }
    let given = |of: &Vec<usize>| {
        let first = &pairs[of[0]].cluster;
        first.is_some() && of.iter().all(|i| pairs[*i].cluster == *first)
    };
    let found: Vec<&Vec<usize>> = together.into_iter().filter(|of| !given(of)).collect();
    if found.is_empty() {
        return count + ", as the suite gives them";
    }
    let mut text = count + "; pairs of one cluster are averaged before any test";
    for of in found.iter().take(SHOWN) {
        let shown = of.iter().take(SHOWN).map(|i| pairs[*i].id.as_str());
        let names = shown.collect::<Vec<_>>().join(", ");
        let more = match of.len().saturating_sub(SHOWN) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let mut shared = clusters.links.iter().filter(|(_, by)| of.contains(&by[0]));
        let first = shared
            .next()
            .map_or(String::new(), |(first, _)| first.to_string());
        let others = match shared.count() {
            0 => String::new(),
            others => format!(", and {others} more"),
        };
        text += "\n";
        text += &plain(&format!("{names}{more} share {first}{others}"));
    }
    if found.len() > SHOWN {
        text += &format!("\n… and {} more such clusters", found.len() - SHOWN);
    }
    text
}

/// A pair's two prompts token under token, the differing ones marked; of longer ones as many as the model's context has.
fn tokens(fitness: &Fitness, context: usize) -> String {
    let pair = &fitness.pair;
    let length = pair.clean.len().max(pair.corrupt.len());
    let rows = (0..length.min(context)).map(|i| {
        let text = |tokens: &[String]| tokens.get(i).map_or(String::new(), |t| format!("{t:?}"));
        let differs = pair.clean.get(i) != pair.corrupt.get(i);
        [
            i.to_string(),
            text(&pair.clean_tokens),
            text(&pair.corrupt_tokens),
            if differs { "*" } else { "" }.to_owned(),
        ]
    });
    let mut body = table(["position", "clean", "corrupt", "differs"], rows);
    if length > context {
        let more = length - context;
        body += &format!("\n… and {more} tokens more than the model's context has");
    }
    let head = format!("{} ({})", pair.id, pair.kind);
    let next = |tokens: &[String]| {
        let tokens: Vec<String> = tokens.iter().map(|t| format!("{t:?}")).collect();
        tokens.join(" ")
    };
    format!(
        "{}\n{body}\nanswer: {}\nfoil:   {}\n",
        plain(&head),
        next(&pair.answer_tokens),
        next(&pair.foil_tokens)
    )
}
