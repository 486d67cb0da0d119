//! Findings to read: one HTML file that opens offline, figures for a paper, and tables for the terminal.
//!
//! This crate computes no statistic. It shows what `engram-findings` says, and adds what only a run
//! knows: loss curves, corpus, departures, how to do it again.
//!
//! | type | what it is |
//! |---|---|
//! | [`ReportInput`], [`render`] | all that a report shows; the report as HTML |
//! | [`figures()`], [`Figure`], [`Fonts`] | the main figures as SVG, PDF and PNG |
//! | [`summary_text`], [`Look`] | the findings in a terminal |
//! | [`loss_svg`], [`TrainingCurve`] | how a model was trained |
//!
//! ```
//! use engram_findings::simulate::Simulation;
//! use engram_findings::{Settings, StudyResults, findings};
//! use engram_report::{Look, ReportInput, Reproduction, render, summary_text};
//!
//! let simulation = Simulation { layer_effect: 0.3, seed: 1, ..Simulation::default() };
//! let (suite, conditions) = (simulation.suite(), [simulation.condition("model")]);
//! let study = StudyResults {
//!     suite: &suite,
//!     published: None,
//!     confounds: &[],
//!     conditions: &conditions,
//!     edits: &[],
//!     settings: Settings::default(),
//! };
//! let input = ReportInput {
//!     title: "A simulated study".to_owned(),
//!     findings: findings(&study)?,
//!     curves: Vec::new(),
//!     corpus: Vec::new(),
//!     excluded: Vec::new(),
//!     reproduction: Reproduction::default(),
//! };
//! println!("{}", summary_text(&input.findings, Look::plain(100)));
//! assert!(render(&input)?.contains("<title>A simulated study"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![deny(missing_docs)]
#![deny(clippy::expect_used, clippy::unwrap_used)]
#![forbid(unsafe_code)]

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
    ByText, ChangedSetting, EpochPoint, Excluded, NamedValue, RateReached, ReportInput,
    Reproduction, StepPoint, TrainingCurve,
};
pub use loss::loss_svg;
pub use terminal::{Look, editing_text, summary_text};
