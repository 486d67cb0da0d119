//! `engram suite`.

use std::path::Path;

use anyhow::{Result, bail};
use engram::stage::free_file;
use engram::suites::{CheckedPair, CheckedSuite, found_clusters, of_counterfact};
use engram::{Model, Opening, UNEQUAL};
use engram_core::text::plain;
use engram_core::{Align, Bos, Clusters, Pair};
use engram_corpus::{FactTable, read_suite};
use engram_findings::words::plural;
use engram_patch::{Balance, BuildSettings, Fitness, build, build_published};

use super::{print, table};
use crate::args::{BuildArgs, ProfileName, SuiteCommand};
use crate::progress::{Terminal, note};

/// Runs a suite command.
///
/// # Errors
/// Any of the suite's, the fact table's or the checkpoint's.
pub fn suite(command: SuiteCommand, json: bool) -> Result<()> {
    match command {
        SuiteCommand::Build(args) => built(&args, json),
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
            let model = open(&model, bos)?;
            let checked = CheckedSuite::of(&suite, &model, Align::Strict)?;
            let shown: Vec<&Fitness> = (checked.pairs.iter().take(most))
                .map(|pair| &pair.fitness)
                .collect();
            print(json, &shown, || {
                let context = model.shape().context;
                let shown = shown.iter().map(|f| tokens(f, context));
                shown.map(|text| text + "\n").collect()
            })
        }
    }
}

fn open(model: &Path, bos: Bos) -> Result<Model> {
    let opening = Opening::default().bos(bos);
    Ok(opening.open(model, &mut Terminal::default())?)
}

/// Runs `engram suite build`.
fn built(args: &BuildArgs, json: bool) -> Result<()> {
    let _held = free_file(&args.out)?;
    let out = args.out.display();
    let most = (args.max_pairs_per_kind > 0).then_some(args.max_pairs_per_kind);
    let mut terminal = Terminal::default();
    let model = open(&args.model, args.bos)?;
    if let Some(path) = &args.counterfact {
        let (suite, facts) = of_counterfact(path, &model, (args.seed, most), &mut terminal)?;
        suite.write(&args.out)?;
        let pairs = suite.pairs.len();
        note(format!("{out}: {pairs} pairs from {facts} facts"));
        return Ok(());
    }
    let Some(facts) = &args.facts else {
        bail!("give --facts or --counterfact");
    };
    let facts = FactTable::read(facts)?;
    let settings = BuildSettings {
        seed: args.seed,
        max_pairs_per_kind: most,
        ..BuildSettings::default()
    };
    let built = match args.profile {
        None => build(&facts, model.tokenizer(), &settings)?,
        Some(ProfileName::Paper) => build_published(&facts, model.tokenizer(), &settings)?,
    };
    built.suite.write(&args.out)?;
    for unpaired in &built.unpaired {
        note(format!("left out: {} ({})", unpaired.fact, unpaired.reason));
    }
    let (pairs, unpaired) = (built.suite.pairs.len(), built.unpaired.len());
    note(format!("{out}: {pairs} pairs, {unpaired} facts left out"));
    print(json, &built.balance, || balance(&built.balance))
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

/// Runs `engram suite check`.
fn checks(path: &Path, model: &Path, align: Option<Align>, bos: Bos, json: bool) -> Result<()> {
    let suite = read_suite(path)?;
    let model = open(model, bos)?;
    let checked = CheckedSuite::of(&suite, &model, align.unwrap_or(Align::Strict))?;
    let (unfit, unequal) = (checked.unfit(), checked.is_unequal());
    print(json, &checked.pairs, || {
        let mut text: String = checked.pairs.iter().map(|p| faults(&p.fitness)).collect();
        // Where prompts of a pair are equally long and nothing is asked, every pair has the same fate.
        if align.is_some() || unequal {
            text += &fates(&checked.pairs, checked.align);
        }
        let all = checked.pairs.len();
        text += &format!("{} of {all} pairs are fit", all - unfit);
        if checked.noticed() > 0 {
            text += &format!("; {} with a notice", checked.noticed());
        }
        text + "\n" + &dependence(&suite.pairs, &checked.clusters)
    })?;
    if unfit > 0 {
        let what_to_do = match unequal && checked.align == Align::Strict {
            true => format!("; {UNEQUAL}"),
            false => String::new(),
        };
        bail!(
            "{}: {unfit} of {} pairs cannot be patched{what_to_do}",
            path.display(),
            checked.pairs.len()
        );
    }
    Ok(())
}

/// A line for each problem and notice of a pair.
fn faults(fitness: &Fitness) -> String {
    let id = &fitness.pair.id;
    let problems = fitness.problems.iter().map(|p| format!("{id}: {p}"));
    let notices = fitness.notices.iter();
    let notices = notices.map(|n| format!("{id}: notice: {n}"));
    let lines = problems.chain(notices);
    lines.map(|line| format!("{}\n", plain(&line))).collect()
}

fn fates(all: &[CheckedPair], align: Align) -> String {
    let rows = all.iter().map(|c| {
        let pair = &c.fitness.pair;
        [
            pair.id.clone(),
            pair.clean.len().to_string(),
            pair.corrupt.len().to_string(),
            c.patch.to_string(),
        ]
    });
    let what = format!("engram patch --align {align}");
    let header = ["pair", "tokens clean", "corrupted", &what];
    format!("{}\n", table(header, rows))
}

/// How many independent groups the pairs of a suite are; those that the suite does not give, and why.
fn dependence(pairs: &[Pair], clusters: &Clusters) -> String {
    const SHOWN: usize = 20;
    let count = format!(
        "{} in {}",
        plural(pairs.len(), "pair"),
        plural(clusters.count(), "cluster")
    );
    if clusters.count() == pairs.len() {
        return count + ": no two share a prompt, or a fact and its foil";
    }
    let found = found_clusters(pairs, clusters);
    if found.is_empty() {
        return count + ", as the suite gives them";
    }
    let mut text = count + "; pairs of one cluster are averaged before any test";
    for cluster in found.iter().take(SHOWN) {
        let named = &cluster.pairs[..SHOWN.min(cluster.pairs.len())];
        let more = match cluster.pairs.len() - named.len() {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let names = named.join(", ");
        let first = cluster.shared.first();
        let first = first.map_or(String::new(), ToString::to_string);
        let others = match cluster.shared.len() {
            0 | 1 => String::new(),
            shared => format!(", and {} more", shared - 1),
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
