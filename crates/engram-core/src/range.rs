//! Ranges of numeric settings: declared once, checked before any work, quoted in the error.

use std::fmt;

/// The values that a numeric setting may have.
///
/// ```
/// use engram_core::Range;
///
/// const SHARE: Range = Range::real(0.0, 1.0).above().below();
/// assert!(SHARE.check("corpus.split", 0.2).is_ok());
/// let error = SHARE.check("corpus.split", 1.0).unwrap_err();
/// assert_eq!(error.to_string(), "corpus.split is 1; expected a number above 0 and below 1");
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Range {
    from: f64,
    to: f64,
    /// Whether `from` itself is excluded.
    above: bool,
    /// Whether `to` itself is excluded.
    below: bool,
    whole: bool,
}

impl Range {
    /// Whole numbers below 2^53, both ends included.
    pub const fn whole(from: u64, to: u64) -> Range {
        Range {
            from: from as f64,
            to: to as f64,
            above: false,
            below: false,
            whole: true,
        }
    }

    /// Real numbers, both ends included.
    pub const fn real(from: f64, to: f64) -> Range {
        Range {
            from,
            to,
            above: false,
            below: false,
            whole: false,
        }
    }

    /// The same range, lower end excluded.
    pub const fn above(self) -> Range {
        Range {
            above: true,
            ..self
        }
    }

    /// The same range, upper end excluded.
    pub const fn below(self) -> Range {
        Range {
            below: true,
            ..self
        }
    }

    /// Whether a value is in the range. NaN is in no range.
    pub fn contains(&self, value: impl Number) -> bool {
        let value = value.real();
        let low = value > self.from || value == self.from && !self.above;
        let high = value < self.to || value == self.to && !self.below;
        low && high && (!self.whole || value.fract() == 0.0)
    }

    /// Checks the value of a setting.
    ///
    /// # Errors
    /// [`OutOfRange`], with the setting, the value and the range.
    pub fn check(&self, key: &str, value: impl Number) -> Result<(), OutOfRange> {
        match self.contains(value) {
            true => Ok(()),
            false => Err(self.refuse(key, &value.to_string())),
        }
    }

    /// Parses and checks a value.
    ///
    /// # Errors
    /// As [`Range::check`]; also if the text is not a number.
    pub fn parse<T: Number + std::str::FromStr>(
        &self,
        key: &str,
        text: &str,
    ) -> Result<T, OutOfRange> {
        let refused = || self.refuse(key, text);
        let value: T = text.trim().parse().map_err(|_| refused())?;
        self.check(key, value)?;
        Ok(value)
    }

    /// The error for a value outside the range.
    pub fn refuse(&self, key: &str, value: &str) -> OutOfRange {
        OutOfRange {
            key: key.to_owned(),
            value: value.to_owned(),
            range: self.to_string(),
        }
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (from, to) = match self.whole {
            // Printed exactly: as a float 2^62 is rounded.
            true => (
                (self.from as i128).to_string(),
                (self.to as i128).to_string(),
            ),
            false => (self.from.to_string(), self.to.to_string()),
        };
        f.write_str(if self.whole {
            "a whole number"
        } else {
            "a number"
        })?;
        match (self.above, self.below) {
            (false, false) => write!(f, " from {from} to {to}"),
            (false, true) => write!(f, " from {from} to below {to}"),
            (true, false) => write!(f, " above {from} and at most {to}"),
            (true, true) => write!(f, " above {from} and below {to}"),
        }
    }
}

/// The number types of settings.
pub trait Number: Copy + fmt::Display {
    /// The value as a real number; exact for whole numbers below 2^53.
    fn real(self) -> f64;
}

macro_rules! number {
    ($($type:ty),+) => {
        $(impl Number for $type {
            fn real(self) -> f64 {
                self as f64
            }
        })+
    };
}
number!(u16, u32, u64, usize, i64, f64);

/// A setting whose value is outside its range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key} is {value}; expected {range}")]
pub struct OutOfRange {
    /// The setting.
    pub key: String,
    /// The value found.
    pub value: String,
    /// The range in words.
    pub range: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_belong_or_do_not() {
        let is = |range: Range, values: [f64; 4], good: [bool; 4]| {
            assert_eq!(values.map(|v| range.contains(v)), good, "{range}");
        };
        let ends = [0.0, 1.0, -1e-9, 1.0 + 1e-9];
        is(Range::real(0.0, 1.0), ends, [true, true, false, false]);
        is(
            Range::real(0.0, 1.0).above(),
            ends,
            [false, true, false, false],
        );
        is(
            Range::real(0.0, 1.0).below(),
            ends,
            [true, false, false, false],
        );
        let odd = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.5];
        is(Range::real(0.0, 1.0), odd, [false, false, false, true]);
        is(Range::whole(0, 1), odd, [false, false, false, false]);
        assert!(Range::whole(1, 1 << 20).contains(1usize << 20));
        assert!(!Range::whole(1, 1 << 20).contains((1usize << 20) + 1));
        assert!(!Range::whole(0, 5).contains(u64::MAX) && !Range::whole(0, 5).contains(-1i64));
    }

    #[test]
    fn errors_name_setting_value_and_range() {
        let range = Range::whole(1, 1_000_000);
        let text = |e: OutOfRange| e.to_string();
        assert_eq!(
            text(
                range
                    .check("stats.resamples", 1_000_000_000usize)
                    .unwrap_err()
            ),
            "stats.resamples is 1000000000; expected a whole number from 1 to 1000000"
        );
        let half = Range::real(0.0, 1.0).below();
        assert_eq!(
            text(half.check("dropout", f64::NAN).unwrap_err()),
            "dropout is NaN; expected a number from 0 to below 1"
        );
        assert_eq!(range.parse::<usize>("n", " 7 "), Ok(7));
        for wrong in ["", "-1", "1.5", "0", "1e3", "99999999999999999999"] {
            let error = text(range.parse::<usize>("n", wrong).unwrap_err());
            assert!(error.starts_with(&format!("n is {wrong}; ")), "{error}");
        }
    }
}
