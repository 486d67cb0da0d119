//! Findings to read: one HTML file that opens offline, and tables for the terminal.
//!
//! This crate computes no statistic. It shows what `engram-findings` says, and adds what only a run
//! knows: loss curves, corpus, departures, how to do it again.

#![deny(missing_docs)]

mod charts;
mod editing;
mod error;
mod figures;
mod html;
mod input;
mod loss;
mod page;
mod shades;
mod tables;
mod terminal;

pub use error::{ReportError, Result};
pub use figures::{Figure, Fonts, figures, not_drawn};
pub use html::render;
pub use input::{
    ByText, Departure, EpochPoint, Excluded, Fact, RateReached, ReportInput, Reproduction,
    StepPoint, TrainingCurve,
};
pub use loss::loss_svg;
pub use terminal::{Look, editing_text, summary_text};
