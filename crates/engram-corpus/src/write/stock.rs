//! Titles and connecting sentences around the facts. They mention designs, numbers, places and years only, no medical
//! facts.

use std::collections::BTreeSet;

use rand::Rng;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;

/// The part of a text in which a sentence occurs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Opening,
    Middle,
    Closing,
}

/// A title that states no fact.
pub(super) fn title(rng: &mut ChaCha8Rng) -> String {
    filled(pick(TITLES, rng), rng)
}

/// A heading and an unused connecting sentence.
pub(super) fn link(
    part: Part,
    used: &mut BTreeSet<&'static str>,
    rng: &mut ChaCha8Rng,
) -> (&'static str, String) {
    let (label, sentences) = match part {
        Part::Opening if rng.random_bool(0.5) => ("BACKGROUND", BACKGROUND),
        Part::Opening => ("OBJECTIVE", AIMS),
        Part::Middle => ("METHODS", METHODS),
        Part::Closing => ("CONCLUSIONS", CONCLUSIONS),
    };
    let fresh: Vec<&'static str> = sentences
        .iter()
        .copied()
        .filter(|s| !used.contains(s))
        .collect();
    let sentence = pick(if fresh.is_empty() { sentences } else { &fresh }, rng);
    used.insert(sentence);
    (label, filled(sentence, rng))
}

fn pick(from: &[&'static str], rng: &mut ChaCha8Rng) -> &'static str {
    from.choose(rng).copied().unwrap_or_default()
}

/// Fills the placeholders in brackets.
fn filled(sentence: &str, rng: &mut ChaCha8Rng) -> String {
    let mut text = String::new();
    let mut rest = sentence;
    while let Some((before, after)) = rest.split_once('[') {
        let (slot, after) = after.split_once(']').unwrap_or((after, ""));
        text.push_str(before);
        match slot {
            "n" => text += &rng.random_range(24..=1900).to_string(),
            "few" => text.push_str(pick(FEW, rng)),
            "years" => text += &rng.random_range(2..=19).to_string(),
            "percent" => text += &rng.random_range(51..=98).to_string(),
            "year" => text += &rng.random_range(1984..=2019).to_string(),
            "design" => text.push_str(pick(DESIGNS, rng)),
            "place" => text.push_str(pick(PLACES, rng)),
            "people" => text.push_str(pick(PEOPLE, rng)),
            "topic" => text.push_str(pick(TOPICS, rng)),
            _ => {}
        }
        rest = after;
    }
    text.push_str(rest);
    capitalised(text)
}

fn capitalised(text: String) -> String {
    let mut letters = text.chars();
    match letters.next() {
        Some(first) => first.to_uppercase().collect::<String>() + letters.as_str(),
        None => text,
    }
}

const TITLES: &[&str] = &[
    "Lessons from [n] consecutive referrals.",
    "What [years] years of records tell us: a [design].",
    "[topic]: a [design].",
    "A [design] of [n] [people].",
    "[topic] in [n] [people].",
    "[topic]: experience of a [place].",
    "Revisiting [topic] after [years] years.",
    "Notes from a [place], [year].",
    "[topic]: what every trainee should know.",
    "An update on [topic].",
    "Current views of [topic].",
    "[few] questions about [topic].",
    "[topic]: results of a [design].",
    "Teaching [topic] at a [place].",
    "A short guide to [topic].",
    "Report of the [year] working group on [topic].",
    "From the [place] to the textbook: [topic].",
    "Consensus and doubt in [topic].",
    "[topic] since [year].",
    "Ward rounds at a [place]: [topic].",
];

const BACKGROUND: &[&str] = &[
    "The literature on this subject is scattered over many journals.",
    "Much of what is taught today goes back to reports from before [year].",
    "Since [year] the evidence has grown steadily.",
    "Textbooks differ in how they present this material.",
    "Referrals to our [place] have doubled in [years] years.",
    "Few units see more than [n] such referrals in a year.",
    "The present text brings together what is well established.",
    "Opinions have changed little since [year].",
    "Questions of this sort come up on every ward round.",
    "Earlier summaries covered at most [n] [people].",
    "Trainees often meet these points first at a [place].",
    "Knowledge in this field rests on careful observation.",
];

const AIMS: &[&str] = &[
    "We aimed to summarise [topic].",
    "The aim was to review what is known, using a [design].",
    "We set out to check [few] common statements.",
    "This [design] asked which statements are well supported.",
    "Our purpose was to collect the main points for [people].",
    "We describe what was found in [n] [people].",
    "The goal of this [design] was a plain summary.",
    "We sought to bring [topic] up to date.",
    "This report lists the points agreed on in [year].",
    "We wished to learn how far [few] experts agree.",
];

const METHODS: &[&str] = &[
    "We studied [n] [people] at a [place].",
    "Records of [n] [people] were read by [few] reviewers.",
    "Follow-up lasted [years] years.",
    "Data came from a [design].",
    "A [design] with [n] [people] was evaluated.",
    "Agreement between reviewers was [percent] percent.",
    "The search covered the years since [year].",
    "Of [n] reports, [few] were set aside.",
    "Interviews were held with [n] [people].",
    "All [n] charts were coded twice.",
    "The same was seen at a second [place].",
    "Complete data were available for [percent] percent.",
    "This held in [percent] percent of the reports.",
    "The following points were confirmed by [few] reviewers.",
    "Further points were taken from a [design].",
    "In addition, [n] [people] were followed for [years] years.",
    "Sources were weighed by [few] authors.",
    "The median observation time was [years] years.",
];

const CONCLUSIONS: &[&str] = &[
    "These points should be known to all [people].",
    "The findings agree with those of earlier work.",
    "Larger studies are under way.",
    "These results support current teaching.",
    "We recommend that they be taught early.",
    "A [design] with longer follow-up is planned.",
    "The statements above held over [years] years.",
    "Results were the same at each [place].",
    "No statement had to be withdrawn since [year].",
    "Agreement on these points reached [percent] percent.",
    "These observations may guide [people].",
    "Together they give a consistent picture.",
    "The summary will be revised in [years] years.",
    "Our experience with [n] [people] bears this out.",
];

const FEW: &[&str] = &["two", "three", "four", "five", "six", "seven", "eight"];

const DESIGNS: &[&str] = &[
    "retrospective review",
    "prospective survey",
    "multicentre study",
    "case series",
    "narrative review",
    "systematic review",
    "chart review",
    "population-based study",
    "registry analysis",
    "cross-sectional survey",
    "structured interview study",
    "cohort study",
    "panel discussion",
    "workshop report",
];

const PLACES: &[&str] = &[
    "university hospital",
    "tertiary centre",
    "regional clinic",
    "teaching hospital",
    "referral unit",
    "district hospital",
    "specialist clinic",
    "national centre",
    "private practice",
    "community hospital",
    "day unit",
    "academic department",
];

const PEOPLE: &[&str] = &[
    "adults",
    "patients",
    "participants",
    "outpatients",
    "inpatients",
    "volunteers",
    "families",
    "students",
    "physicians",
    "residents",
    "referrals",
    "general practitioners",
];

const TOPICS: &[&str] = &[
    "clinical practice",
    "everyday problems",
    "diagnosis and care",
    "terms and findings",
    "what the evidence says",
    "the essentials",
    "key concepts",
    "practical points",
    "basic and clinical aspects",
    "the state of knowledge",
    "established findings",
    "daily work",
    "the literature",
    "frequent misunderstandings",
];

#[cfg(test)]
pub(super) fn all_sentences() -> impl Iterator<Item = &'static str> {
    [TITLES, BACKGROUND, AIMS, METHODS, CONCLUSIONS]
        .into_iter()
        .flatten()
        .copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::FactTable;
    use rand::SeedableRng;

    #[test]
    fn no_sentence_names_a_subject_and_every_place_is_filled() {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../assets/facts/epilepsy.toml"
        );
        let table = FactTable::read(std::path::Path::new(path)).unwrap();
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        for sentence in all_sentences() {
            for _ in 0..50 {
                let text = filled(sentence, &mut rng);
                assert!(text.ends_with('.') && !text.contains(['[', ']']), "{text}");
                let text = format!(" {} ", text.to_lowercase().replace(['.', ',', ':'], " "));
                for (_, fact) in table.facts() {
                    let subject = format!(" {} ", fact.subject.to_lowercase());
                    let answer = format!(" {} ", fact.answer.to_lowercase());
                    assert!(!text.contains(&subject), "{text:?} has {subject:?}");
                    // A number, such as a chromosome's, may also occur in these sentences.
                    let is_number = fact.answer.parse::<u32>().is_ok();
                    assert!(
                        is_number || !text.contains(&answer),
                        "{text:?} has {answer:?}"
                    );
                }
            }
        }
    }
}
