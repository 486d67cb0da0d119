//! All faults of an input file in one report: each with its line and the meaning of the field.

use std::fmt;

use crate::text::plain;

/// Maximum number of faults that are listed; the rest are counted.
const LISTED: usize = 100;

/// A field of an input file, as error messages explain it.
///
/// ```
/// use engram_core::Field;
///
/// const SOURCE: Field = Field::new("source", "where the fact is from", "source = \"textbook\"");
/// assert_eq!(
///     SOURCE.missing(),
///     "missing field `source`: where the fact is from; example: source = \"textbook\""
/// );
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    /// Its name in the file.
    pub name: &'static str,
    /// Its meaning, as a noun phrase.
    pub meaning: &'static str,
    /// An example, as it is written in the file.
    pub example: &'static str,
}

impl Field {
    /// A field with its meaning and an example.
    pub const fn new(name: &'static str, meaning: &'static str, example: &'static str) -> Field {
        Field {
            name,
            meaning,
            example,
        }
    }

    /// The message for a missing field.
    pub fn missing(&self) -> String {
        format!("missing field `{}`: {}", self.name, self.hint())
    }

    /// Meaning and example, for the end of a message.
    pub fn hint(&self) -> String {
        format!("{}; example: {}", self.meaning, self.example)
    }
}

/// The message for an unknown field, with the known ones.
pub fn unknown_field(name: &str, known: &[&str]) -> String {
    format!(
        "unknown field `{name}`{}; fields: {}",
        near(name, known),
        known.join(", ")
    )
}

/// ", did you mean `x`?" if a known name resembles `name`.
fn near(name: &str, known: &[&str]) -> String {
    let similarity = |known: &str| strsim::jaro_winkler(&name.to_lowercase(), known);
    let best = known
        .iter()
        .map(|k| (similarity(k), k))
        .filter(|(similarity, _)| *similarity > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0));
    best.map_or(String::new(), |(_, k)| format!(" (did you mean `{k}`?)"))
}

/// One fault of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Line of the file or row of the sheet, from 1; `None` for a fault of the whole file.
    pub line: Option<usize>,
    /// The entry concerned, such as `relation "causal_gene"`; may be empty.
    pub place: String,
    /// The fault, and what is allowed.
    pub why: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = self.line.map(|line| format!("line {line}"));
        let place = Some(plain(&self.place).into_owned()).filter(|p| !p.is_empty());
        let head: Vec<String> = line.into_iter().chain(place).collect();
        match head.as_slice() {
            [] => write!(f, "{}", plain(&self.why)),
            head => write!(f, "{}: {}", head.join(", "), plain(&self.why)),
        }
    }
}

/// All faults of one file, in the order of its lines.
///
/// Its text is one line for one fault. Several faults have a line each, after a line with the file's name and their
/// number. Control characters in names and values are escaped, so that a line of the text is always one fault.
///
/// ```
/// let mut faults = engram_core::Faults::new("facts.toml");
/// faults.add(Some(3), "", "missing field `kind`");
/// assert_eq!(faults.to_string(), "facts.toml, line 3: missing field `kind`");
/// faults.add(Some(1), "", "missing field `name`");
/// assert_eq!(
///     faults.to_string(),
///     "facts.toml: 2 faults\n  line 1: missing field `name`\n  line 3: missing field `kind`"
/// );
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Faults {
    /// The file, as messages name it.
    pub name: String,
    found: Vec<Fault>,
}

impl Faults {
    /// An empty list of faults.
    pub fn new(name: impl Into<String>) -> Faults {
        Faults {
            name: name.into(),
            found: Vec::new(),
        }
    }

    /// Adds a fault. Faults of one line keep the order in which they are added.
    pub fn add(&mut self, line: Option<usize>, place: impl Into<String>, why: impl Into<String>) {
        let fault = Fault {
            line,
            place: place.into(),
            why: why.into(),
        };
        if self.found.contains(&fault) {
            return;
        }
        let after = self.found.partition_point(|f| f.line <= line);
        self.found.insert(after, fault);
    }

    /// The faults, by line.
    pub fn found(&self) -> &[Fault] {
        &self.found
    }

    /// Whether there is no fault.
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// `value` if there is no fault.
    ///
    /// # Errors
    /// The faults, if there are any.
    pub fn or<T>(self, value: T) -> Result<T, Faults> {
        if self.is_empty() {
            Ok(value)
        } else {
            Err(self)
        }
    }
}

impl std::error::Error for Faults {}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = plain(&self.name);
        if let [only] = self.found.as_slice() {
            let text = only.to_string();
            let joint = if only.line.is_some() || !only.place.is_empty() {
                ", "
            } else {
                ": "
            };
            return write!(f, "{name}{joint}{text}");
        }
        write!(f, "{name}: {} faults", self.found.len())?;
        for fault in self.found.iter().take(LISTED) {
            write!(f, "\n  {fault}")?;
        }
        match self.found.len().checked_sub(LISTED) {
            Some(more) if more > 0 => write!(f, "\n  and {more} more"),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_one_fault_whatever_names_hold() {
        let mut faults = Faults::new("a\nb.toml");
        faults.add(Some(2), "pair \"x\ny\"", "bad\u{1b}[31m");
        faults.add(None, "", "second");
        let text = faults.to_string();
        assert_eq!(text.lines().count(), 3, "{text}");
        assert!(text.lines().nth(1).is_some_and(|l| l == "  second"));
        assert!(!text.contains('\u{1b}'));
    }

    #[test]
    fn a_long_list_ends_with_a_count() {
        let mut faults = Faults::new("a");
        for line in 0..LISTED + 7 {
            faults.add(Some(line), "", "bad");
        }
        let text = faults.to_string();
        assert_eq!(text.lines().count(), LISTED + 2);
        assert!(text.ends_with("\n  and 7 more"));
    }

    #[test]
    fn a_near_name_is_offered() {
        let known = ["subject", "answer"];
        assert_eq!(
            unknown_field("subjekt", &known),
            "unknown field `subjekt` (did you mean `subject`?); fields: subject, answer"
        );
        assert!(!unknown_field("colour", &known).contains("mean"));
    }
}
