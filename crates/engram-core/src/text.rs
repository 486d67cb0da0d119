//! Text of unknown origin on a terminal: control characters are escaped.

use std::borrow::Cow;
use std::fmt::{Display, Write};

/// A text on one line. Control characters (C0, DEL, C1), line and paragraph separators and characters that change the
/// writing direction are escaped as in Rust: `\n`, `\u{1b}`. Everything else stays, backslashes too.
///
/// ```
/// assert_eq!(engram_core::text::plain("a\u{1b}[31m\nb"), "a\\u{1b}[31m\\nb");
/// ```
pub fn plain(text: &str) -> Cow<'_, str> {
    escaped(text, |_, _| false)
}

/// A text of several lines: as [`plain`], but line ends stay, and with `colour` also the colour codes (`ESC [ … m`).
pub fn plain_lines(text: &str, colour: bool) -> Cow<'_, str> {
    escaped(text, |c, rest| match c {
        '\n' => true,
        '\u{1b}' => colour && is_colour(rest),
        _ => false,
    })
}

/// JSON text in which characters that a terminal would obey are written as JSON escapes.
pub fn plain_json(text: &str) -> Cow<'_, str> {
    if !text.chars().any(|c| c != '\n' && is_obeyed(c)) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c != '\n' && is_obeyed(c) {
            // All of them are below U+10000.
            true => drop(write!(out, "\\u{:04x}", u32::from(c))),
            false => out.push(c),
        }
    }
    Cow::Owned(out)
}

fn escaped(text: &str, keeps: impl Fn(char, &str) -> bool) -> Cow<'_, str> {
    if !text.chars().any(is_obeyed) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for (at, c) in text.char_indices() {
        match is_obeyed(c) && !keeps(c, &text[at + c.len_utf8()..]) {
            true => out.extend(c.escape_default()),
            false => out.push(c),
        }
    }
    Cow::Owned(out)
}

fn is_obeyed(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}')
        // Marks, embeddings, overrides and isolates of writing direction.
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Whether the text after an ESC continues as a colour code.
fn is_colour(rest: &str) -> bool {
    let Some(code) = rest.strip_prefix('[') else {
        return false;
    };
    let ends = code.find(|c: char| !c.is_ascii_digit() && c != ';');
    ends.is_some_and(|at| code[at..].starts_with('m'))
}

/// `1 text`, `1,234 texts`.
pub fn counted(n: usize, noun: &str) -> String {
    let s = if n == 1 { "" } else { "s" };
    format!("{} {noun}{s}", thousands(n))
}

/// `1234567` as `1,234,567`.
pub fn thousands(n: impl Display) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_obeys_is_escaped() {
        let is = |text: &str, shown: &str| assert_eq!(plain(text), shown);
        is("plain, é → ‘x’ \\n \"q\"", "plain, é → ‘x’ \\n \"q\"");
        is("a\nb\tc\r", "a\\nb\\tc\\r");
        is("\u{7}\u{7f}\u{9b}2J", "\\u{7}\\u{7f}\\u{9b}2J");
        is("\u{202e}cod.exe\u{2028}", "\\u{202e}cod.exe\\u{2028}");
    }

    #[test]
    fn lines_and_colours_of_our_own_stay() {
        let text = "a\n\u{1b}[38;5;12mred\u{1b}[0m\u{1b}]0;title\u{7}\u{1b}[2J";
        let shown = "a\n\u{1b}[38;5;12mred\u{1b}[0m\\u{1b}]0;title\\u{7}\\u{1b}[2J";
        assert_eq!(plain_lines(text, true), shown);
        assert!(!plain_lines(text, false).contains('\u{1b}'));
    }

    #[test]
    fn json_stays_the_same_value() {
        let value = serde_json::json!({"a\u{9b}": "\u{202e}x\u{1b}\u{7f}\n"});
        let text = serde_json::to_string_pretty(&value).unwrap();
        let shown = plain_json(&text);
        assert!(shown.chars().all(|c| c == '\n' || !is_obeyed(c)), "{shown}");
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&shown).unwrap(),
            value
        );
    }
}
