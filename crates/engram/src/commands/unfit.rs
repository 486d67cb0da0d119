//! Pairs that cannot be patched, as a person mends them: a table of lengths, and what would do.

use std::fmt;

use engram_core::text::plain;
use engram_patch::{Fitness, Problem};

use super::table;

/// What to do about prompts of unequal lengths.
pub const UNEQUAL: &str = "prompts of unequal lengths: --align last or --align subject patches them, --skip-unfit leaves them out, engram suite build makes pairs of equal lengths";

/// The most pairs that the table has and that are named.
const SHOWN: usize = 10;

/// The error of a suite in which prompts of a pair differ in length: a table, and a last line that says what would do.
#[derive(Debug)]
pub struct UnequalLengths {
    table: String,
    last: String,
}

impl UnequalLengths {
    /// The error; `None` where no pair is unfit for its lengths.
    pub fn of(checked: &[Fitness]) -> Option<UnequalLengths> {
        let lengths = |f: &Fitness| {
            f.problems.iter().find_map(|p| match p {
                Problem::Length { clean, corrupt } => Some((*clean, *corrupt)),
                _ => None,
            })
        };
        let unequal: Vec<(&Fitness, (usize, usize))> = checked
            .iter()
            .filter_map(|f| Some((f, lengths(f)?)))
            .collect();
        if unequal.is_empty() {
            return None;
        }
        let rows = unequal.iter().take(SHOWN).map(|(f, (clean, corrupt))| {
            let more = format!("{:+}", *corrupt as i64 - *clean as i64).replace('-', "−");
            [
                f.pair.id.clone(),
                clean.to_string(),
                corrupt.to_string(),
                more,
            ]
        });
        let mut shown = table(["pair", "tokens clean", "corrupted", "difference"], rows);
        if let Some(more) = unequal.len().checked_sub(SHOWN).filter(|n| *n > 0) {
            shown += &format!("\nand {more} more");
        }
        let unfit: Vec<&Fitness> = checked.iter().filter(|f| !f.is_fit()).collect();
        let names = unfit.iter().take(SHOWN).map(|f| {
            let problems: Vec<String> = f.problems.iter().map(Problem::to_string).collect();
            format!("{} ({})", f.pair.id, problems.join("; "))
        });
        let mut names: Vec<String> = names.collect();
        if let Some(more) = unfit.len().checked_sub(SHOWN).filter(|n| *n > 0) {
            names.push(format!("{more} more"));
        }
        let last = format!(
            "{} of {} pairs cannot be patched: {}; {} with {UNEQUAL}",
            unfit.len(),
            checked.len(),
            names.join(", "),
            unequal.len()
        );
        Some(UnequalLengths {
            table: shown,
            last: plain(&last).into_owned(),
        })
    }

    /// The lines of the table.
    pub fn table(&self) -> &str {
        &self.table
    }
}

impl std::error::Error for UnequalLengths {}

impl fmt::Display for UnequalLengths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.last)
    }
}
