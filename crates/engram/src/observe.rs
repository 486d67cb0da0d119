//! What long work says while it runs, and how it is told to stop.

use std::fmt::Display;

/// What an [`Observer`] is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Told<'a> {
    /// Work of so many units begins.
    Begins {
        /// What the work is, and what its units are.
        work: &'a str,
        /// How many units it has.
        total: u64,
    },
    /// So many units of it are done.
    At {
        /// How many, from its beginning.
        done: u64,
        /// Which unit that was, or how the work goes.
        place: &'a str,
    },
    /// The work is done.
    Ends {
        /// What it came to.
        summary: &'a str,
    },
    /// Something that a person should know: one line.
    Notice(&'a str),
}

/// Hears of long work, and may cancel it. Every use case takes one; [`Silent`] hears nothing.
///
/// ```
/// use engram::{Observer, Told};
///
/// /// Prints notices and stops after a number of units.
/// struct AtMost(u64, u64);
///
/// impl Observer for AtMost {
///     fn told(&mut self, told: Told<'_>) {
///         match told {
///             Told::At { done, .. } => self.1 = done,
///             Told::Notice(text) => println!("{text}"),
///             _ => {}
///         }
///     }
///
///     fn is_cancelled(&self) -> bool {
///         self.1 >= self.0
///     }
/// }
/// ```
pub trait Observer {
    /// Hears what there is to say.
    fn told(&mut self, told: Told<'_>);

    /// Whether the work is to stop. It is asked between units of work: a batch of a sweep, a step of a training, an edit.
    /// Work that stops gives [`crate::Error::Cancelled`], and what it keeps for resuming is whole.
    fn is_cancelled(&self) -> bool {
        false
    }
}

impl dyn Observer + '_ {
    /// Tells something that a person should know.
    pub(crate) fn note(&mut self, text: impl Display) {
        self.told(Told::Notice(&text.to_string()));
    }

    pub(crate) fn begins(&mut self, work: &str, total: u64) {
        self.told(Told::Begins { work, total });
    }

    pub(crate) fn at(&mut self, done: u64, place: &str) {
        self.told(Told::At { done, place });
    }

    pub(crate) fn ends(&mut self, summary: &str) {
        self.told(Told::Ends { summary });
    }
}

/// Hears nothing and cancels nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Observer for Silent {
    fn told(&mut self, _: Told<'_>) {}
}
