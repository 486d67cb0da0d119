//! Composes abstract-like texts from statements and connecting sentences.

use std::collections::{BTreeSet, VecDeque};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::plan::Planned;
use super::stock::{self, Part};
use super::{Statement, Text, WriteSettings};
use crate::Tokenize;
use crate::abstracts::Abstract;
use crate::error::{CorpusError, Result};
use crate::facts::{Fact, FactTable};

/// Share of texts whose title is a statement, as for many titles in PubMed. Questions have the fact at the beginning of
/// a prompt, so some facts must be taught at the beginning of a text.
const STATEMENT_TITLES: f64 = 0.5;
/// Share of texts with headings ("METHODS: …").
const HEADINGS: f64 = 0.2;
/// Statements per connecting sentence: keeps the latter well below a third of the tokens.
const STATEMENTS_PER_LINK: f64 = 4.5;
/// Number of queued statements to search for one that suits a text better than the next.
const LOOK_AHEAD: usize = 12;
/// Number of variations of a repeated text before giving up.
const TRIES: usize = 50;

/// Composes texts, no two of them equal.
pub(super) struct Composer<'a> {
    table: &'a FactTable,
    settings: &'a WriteSettings,
    tokenize: Tokenize<'a>,
    rng: ChaCha8Rng,
    made: BTreeSet<String>,
}

/// A sentence of a text.
enum Sentence {
    Link(String),
    States(Planned, &'static str),
}

impl<'a> Composer<'a> {
    pub(super) fn new(
        table: &'a FactTable,
        settings: &'a WriteSettings,
        tokenize: Tokenize<'a>,
    ) -> Composer<'a> {
        let mut rng = ChaCha8Rng::seed_from_u64(settings.seed);
        // Another stream than that of the plan.
        rng.set_stream(1);
        Composer {
            table,
            settings,
            tokenize,
            rng,
            made: BTreeSet::new(),
        }
    }

    /// Composes texts until every planned statement is used.
    pub(super) fn compose(&mut self, planned: Vec<Planned>) -> Result<Vec<Text>> {
        let mut queue = VecDeque::from(planned);
        let mut texts = Vec::new();
        while !queue.is_empty() {
            let [least, most] = self.settings.facts_per_text;
            let count = self.rng.random_range(least..=most);
            let mut chosen = choose(&mut queue, count);
            let text = loop {
                match self.fitting(&chosen)? {
                    Some(text) => break text,
                    // Too long: the last statement goes to the next text.
                    None => chosen.pop().into_iter().for_each(|p| queue.push_front(p)),
                }
            };
            texts.push(text);
        }
        Ok(texts)
    }

    /// A new text with these statements; `None` if it would be too long.
    fn fitting(&mut self, chosen: &[Planned]) -> Result<Option<Text>> {
        let mut shortest = usize::MAX;
        for _ in 0..TRIES {
            let text = self.draft(chosen);
            let whole = text.record.text();
            let tokens = (self.tokenize)(&whole).len();
            shortest = shortest.min(tokens);
            let fits = tokens <= self.settings.max_tokens;
            if fits && self.made.insert(whole) {
                return Ok(Some(text));
            }
            if !fits && chosen.len() > 1 {
                return Ok(None);
            }
        }
        if let [only] = chosen
            && shortest > self.settings.max_tokens
        {
            return Err(CorpusError::FactTooLong {
                fact: self.fact(only).id().chars().take(160).collect(),
                tokens: shortest,
                max_tokens: self.settings.max_tokens,
            });
        }
        Err(CorpusError::Settings {
            why: format!("no new text found in {TRIES} tries"),
        })
    }

    fn fact(&self, planned: &Planned) -> &'a Fact {
        let table = self.table;
        &table.relations[planned.relation].facts[planned.fact]
    }

    /// Title and body with the statements in order.
    fn draft(&mut self, chosen: &[Planned]) -> Text {
        let in_title = self.rng.random_bool(STATEMENT_TITLES);
        let (title, body) = match chosen {
            [first, rest @ ..] if in_title && !rest.is_empty() => {
                (Sentence::States(*first, ""), rest)
            }
            _ => (Sentence::Link(stock::title(&mut self.rng)), chosen),
        };
        let mut text = Text {
            record: Abstract::default(),
            statements: Vec::new(),
        };
        let mut whole = String::new();
        self.push(&mut whole, &title, &mut text);
        text.record.title = whole.clone();
        for sentence in self.body(body) {
            whole.push(' ');
            self.push(&mut whole, &sentence, &mut text);
        }
        text.record.body = whole.split_off(text.record.title.len() + 1);
        text
    }

    /// The statements with connecting sentences before, between and after them.
    fn body(&mut self, chosen: &[Planned]) -> Vec<Sentence> {
        let rng = &mut self.rng;
        // Rounded randomly up or down, so that the mean is exact.
        let links = chosen.len() as f64 / STATEMENTS_PER_LINK + rng.random::<f64>();
        let mut places: Vec<usize> = (0..links as usize)
            .map(|_| rng.random_range(0..=chosen.len()))
            .collect();
        places.sort_unstable();
        let mut used = BTreeSet::new();
        // Headings that are still unused.
        let mut headings = match rng.random_bool(HEADINGS) {
            true => BTreeSet::from([
                "BACKGROUND",
                "OBJECTIVE",
                "METHODS",
                "RESULTS",
                "CONCLUSIONS",
            ]),
            false => BTreeSet::new(),
        };
        let mut sentences = Vec::new();
        for place in 0..=chosen.len() {
            for _ in places.iter().filter(|p| **p == place) {
                let part = match place {
                    0 => Part::Opening,
                    _ if place == chosen.len() => Part::Closing,
                    _ => Part::Middle,
                };
                let (label, link) = stock::link(part, &mut used, rng);
                sentences.push(Sentence::Link(match headings.remove(label) {
                    true => format!("{label}: {link}"),
                    false => link,
                }));
            }
            if let Some(planned) = chosen.get(place) {
                // The results begin after the first connecting sentence.
                let begins = !sentences.is_empty() && headings.remove("RESULTS");
                let heading = if begins { "RESULTS: " } else { "" };
                sentences.push(Sentence::States(*planned, heading));
            }
        }
        sentences
    }

    fn push(&self, whole: &mut String, sentence: &Sentence, text: &mut Text) {
        match sentence {
            Sentence::Link(link) => whole.push_str(link),
            Sentence::States(planned, heading) => {
                whole.push_str(heading);
                let fact = self.fact(planned);
                let frame = &self.table.relations[planned.relation].frames[planned.frame];
                let rendered = frame.render(fact);
                let start = whole.len();
                let answer = rendered.answer.unwrap_or_default();
                let answer = [start + answer.start, start + answer.end];
                whole.push_str(&rendered.text);
                text.record.answers.push(answer);
                text.statements.push(Statement {
                    fact: fact.id(),
                    frame: planned.frame,
                    span: [start, whole.len()],
                    answer,
                });
            }
        }
    }
}

/// Takes up to `count` statements from the front of the queue: each fact at most once, and adjacent statements from
/// different relations if a few steps ahead there is one.
fn choose(queue: &mut VecDeque<Planned>, count: usize) -> Vec<Planned> {
    let mut chosen: Vec<Planned> = Vec::new();
    while chosen.len() < count {
        let ahead = || queue.iter().take(LOOK_AHEAD).enumerate();
        let is_new = |p: &Planned| {
            !chosen
                .iter()
                .any(|c| (c.relation, c.fact) == (p.relation, p.fact))
        };
        let differs = |p: &Planned| chosen.last().is_none_or(|c| c.relation != p.relation);
        let next = ahead()
            .find(|(_, p)| is_new(p) && differs(p))
            .or_else(|| ahead().find(|(_, p)| is_new(p)));
        match next.map(|(index, _)| index) {
            Some(index) => chosen.extend(queue.remove(index)),
            None => break,
        }
    }
    chosen
}
