//! Progress on stderr: a bar where it is a terminal, plain lines otherwise.

use std::fmt::Display;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use engram::{Observer, Told};
use engram_core::text::plain;
use indicatif::{ProgressBar, ProgressStyle};

/// Says something on stderr, in one line: everything that is not data goes through here.
pub fn note(text: impl Display) {
    #[expect(clippy::print_stderr, reason = "the one place that prints there")]
    {
        eprintln!("{}", plain(&text.to_string()));
    }
}

/// How often a plain line is printed.
const PLAIN_EVERY: Duration = Duration::from_secs(10);

/// Progress of one stage.
pub struct Progress {
    bar: Option<ProgressBar>,
    label: String,
    total: u64,
    last: Instant,
}

impl Progress {
    /// Starts a stage of `total` units.
    pub fn new(label: &str, total: u64) -> Progress {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(total);
            let style = "{prefix} {bar:30} {pos}/{len} {msg} (left: {eta})";
            if let Ok(style) = ProgressStyle::with_template(style) {
                bar.set_style(style);
            }
            bar.set_prefix(plain(label).into_owned());
            bar
        });
        if bar.is_none() {
            note(format!("{label}: {total} to do"));
        }
        Progress {
            bar,
            label: label.to_owned(),
            total,
            last: Instant::now(),
        }
    }

    /// `done` units are done.
    pub fn at(&mut self, done: u64, message: &str) {
        match &self.bar {
            Some(bar) => {
                bar.set_position(done);
                bar.set_message(plain(message).into_owned());
            }
            None if self.last.elapsed() >= PLAIN_EVERY => {
                self.last = Instant::now();
                note(format!("{}: {done}/{} {message}", self.label, self.total));
            }
            None => {}
        }
    }

    /// The stage is done.
    pub fn finish(self, message: &str) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        note(format!("{}: {message}", self.label));
    }
}

/// Tells stderr of long work.
#[derive(Default)]
pub struct Terminal(Option<Progress>);

impl Observer for Terminal {
    fn told(&mut self, told: Told<'_>) {
        match told {
            Told::Begins { work, total } => self.0 = Some(Progress::new(work, total)),
            Told::At { done, place } => {
                if let Some(progress) = &mut self.0 {
                    progress.at(done, place);
                }
            }
            Told::Ends { summary } => {
                if let Some(progress) = self.0.take() {
                    progress.finish(summary);
                }
            }
            Told::Notice(text) => note(text),
            _ => {}
        }
    }
}
