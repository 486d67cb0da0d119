//! Days of publication.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A day, month or year: `2019`, `2019-05` or `2019-05-31`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Day {
    year: u16,
    month: Option<u8>,
    day: Option<u8>,
}

/// First and last day of publication, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Days {
    /// The first.
    pub from: Day,
    /// The last.
    pub to: Day,
}

impl Day {
    /// The year 1000, before the first publication.
    pub const FIRST: Day = Day::year(1000);
    /// The year 3000, which PubMed's documentation uses for no end.
    pub const LAST: Day = Day::year(3000);

    const fn year(year: u16) -> Day {
        Day {
            year,
            month: None,
            day: None,
        }
    }

    /// As the E-utilities take it: `2019/05/31`.
    pub fn query(self) -> String {
        self.to_string().replace('-', "/")
    }
}

impl Days {
    /// Days of publication from one to another, with those that are not given open; `None` if neither is.
    ///
    /// # Errors
    /// A first day after the last.
    pub fn between(from: Option<Day>, to: Option<Day>) -> Result<Option<Days>, String> {
        if from.is_none() && to.is_none() {
            return Ok(None);
        }
        let (from, to) = (from.unwrap_or(Day::FIRST), to.unwrap_or(Day::LAST));
        // A year or month reaches to its end.
        let end = (to.year, to.month.unwrap_or(12), to.day.unwrap_or(31));
        let start = (from.year, from.month.unwrap_or(1), from.day.unwrap_or(1));
        match start <= end {
            true => Ok(Some(Days { from, to })),
            false => Err(format!("{from} is after {to}")),
        }
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}", self.year)?;
        for part in [self.month, self.day].into_iter().flatten() {
            write!(f, "-{part:02}")?;
        }
        Ok(())
    }
}

impl FromStr for Day {
    type Err = String;

    fn from_str(text: &str) -> Result<Day, String> {
        let wrong = || format!("{text:?} is no day; expected YYYY, YYYY-MM or YYYY-MM-DD");
        let parts: Vec<&str> = text.split(['-', '/']).collect();
        let number = |at: usize, digits: usize, range: std::ops::RangeInclusive<u16>| {
            let Some(part) = parts.get(at) else {
                return Ok(None);
            };
            let is_number = part.len() == digits && part.bytes().all(|b| b.is_ascii_digit());
            let value = part.parse().ok().filter(|v| is_number && range.contains(v));
            value.map(Some).ok_or_else(wrong)
        };
        let small = |value: Option<u16>| value.and_then(|v| u8::try_from(v).ok());
        match (number(0, 4, 1000..=3000)?, parts.len()) {
            (Some(year), 1..=3) => Ok(Day {
                year,
                month: small(number(1, 2, 1..=12)?),
                day: small(number(2, 2, 1..=31)?),
            }),
            _ => Err(wrong()),
        }
    }
}

impl TryFrom<String> for Day {
    type Error = String;

    fn try_from(text: String) -> Result<Day, String> {
        text.parse()
    }
}

impl From<Day> for String {
    fn from(day: Day) -> String {
        day.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_read_and_ordered() {
        let day = |text: &str| text.parse::<Day>();
        assert_eq!(day("2019/05/31").unwrap().to_string(), "2019-05-31");
        assert_eq!(day("2019-05").unwrap().query(), "2019/05");
        for wrong in [
            "",
            "19",
            "2019-5",
            "2019-13",
            "2019-05-32",
            "2019-05-01-1",
            "May 2019",
            "+019",
        ] {
            assert!(day(wrong).is_err(), "{wrong}");
        }
        let between = |a: &str, b: &str| Days::between(day(a).ok(), day(b).ok());
        assert_eq!(between("", ""), Ok(None));
        assert!(between("2019-05", "2019").unwrap().is_some());
        assert!(between("2020", "2019-12-31").is_err());
        assert_eq!(between("2019", "").unwrap().unwrap().to, Day::LAST);
    }
}
