//! Pairs that cannot be patched, as a person mends them: a table of lengths.

use engram::UnequalLengths;

use super::table;

/// The most pairs that the table has.
const SHOWN: usize = 10;

/// The pairs whose prompts differ in length.
pub fn lengths(unequal: &UnequalLengths) -> String {
    let rows = unequal.pairs.iter().take(SHOWN).map(|pair| {
        let more = pair.corrupt as i64 - pair.clean as i64;
        [
            pair.id.clone(),
            pair.clean.to_string(),
            pair.corrupt.to_string(),
            format!("{more:+}").replace('-', "−"),
        ]
    });
    let mut shown = table(["pair", "tokens clean", "corrupted", "difference"], rows);
    if let Some(more) = unequal.pairs.len().checked_sub(SHOWN).filter(|n| *n > 0) {
        shown += &format!("\nand {more} more");
    }
    shown
}
