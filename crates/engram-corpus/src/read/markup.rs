//! Text as it was meant: exponents, entities that were escaped twice, headings within an abstract.

use quick_xml::escape::resolve_xml_entity;

/// Stretches of white space as one space, none at the ends.
pub(crate) fn spaced(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The first four digits in a row ("1998 Dec-1999 Jan").
pub(crate) fn year_of(date: &str) -> Option<String> {
    date.split(|c: char| !c.is_ascii_digit())
        .find(|digits| digits.len() == 4)
        .map(str::to_owned)
}

/// What stands between a text and what is raised above it: "10" and "6" are "10^6", "Ca" and "2+" are "Ca2+".
pub(crate) fn raised(base: &str, text: &str) -> &'static str {
    let Some(last) = base.chars().next_back() else {
        return "";
    };
    let text = text.trim();
    let digits = text.trim_start_matches(['+', '-', '−', '–']);
    let starts = digits.chars().next().is_some_and(char::is_alphanumeric);
    let is_number =
        !digits.is_empty() && (digits.chars()).all(|c| c.is_ascii_digit() || c == '.' || c == ',');
    let is_ordinal = ["st", "nd", "rd", "th"].contains(&text);
    let is_exponent = match last.is_numeric() {
        true => starts && !is_ordinal,
        false => is_number && (last.is_alphabetic() || last == ')' || last == ']'),
    };
    if is_exponent { "^" } else { "" }
}

/// What stands between a text and what is lowered below it: a digit is not joined to a digit.
pub(crate) fn lowered(base: &str, text: &str) -> &'static str {
    let after_digit = base.ends_with(|c: char| c.is_numeric());
    let is_digit = text.trim().starts_with(|c: char| c.is_numeric());
    if after_digit && is_digit { "_" } else { "" }
}

/// A text that holds markup as characters (`<h4>Aims</h4>`), without it. Europe PMC's abstracts have headings in `h4`.
pub(crate) fn plain(text: &str) -> String {
    let text = entities(text);
    if !text.contains('<') {
        return text;
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text.as_str();
    // Where a raised or lowered part, or a heading, begins.
    let mut open: Option<(String, usize)> = None;
    while let Some(at) = rest.find('<') {
        out.push_str(rest.get(..at).unwrap_or_default());
        rest = rest.get(at..).unwrap_or_default();
        let Some((name, is_end, length)) = tag(rest) else {
            out.push('<');
            rest = rest.get(1..).unwrap_or_default();
            continue;
        };
        rest = rest.get(length..).unwrap_or_default();
        match name.as_str() {
            "p" | "br" | "div" | "sec" | "ul" | "ol" | "li" => out.push(' '),
            "sup" | "sub" | "h1" | "h2" | "h3" | "h4" | "title" if !is_end => {
                if name.starts_with('h') || name == "title" {
                    out.push(' ');
                }
                open = Some((name, out.len()));
            }
            "sup" | "sub" | "h1" | "h2" | "h3" | "h4" | "title" => {
                if let Some((opened, start)) = open.take()
                    && opened == name
                {
                    let part = out.split_off(start);
                    match name.as_str() {
                        "sup" => out.push_str(raised(&out, &part)),
                        "sub" => out.push_str(lowered(&out, &part)),
                        _ => {}
                    }
                    match name.as_str() {
                        "sup" | "sub" => out.push_str(&part),
                        _ => {
                            if let Some(label) = label(&part) {
                                out.push_str(&label);
                                out.push_str(": ");
                            }
                        }
                    }
                }
            }
            _ => {}
        }
    }
    out.push_str(rest);
    out
}

/// A text from XML, in which references may have been escaped twice (`&amp;#x3b2;`): then its tags were too.
pub(crate) fn twice_escaped(text: &str) -> String {
    match text.contains("&lt;") {
        true => plain(text),
        false => entities(text),
    }
}

/// The name of a tag at the start of a text, whether it ends an element, and its bytes. Only tags of text are known, so
/// that "p < 0.05 and x > 3" stays.
fn tag(text: &str) -> Option<(String, bool, usize)> {
    const NAMES: [&str; 22] = [
        "i", "b", "u", "em", "strong", "sup", "sub", "p", "br", "div", "sec", "ul", "ol", "li",
        "h1", "h2", "h3", "h4", "title", "italic", "bold", "span",
    ];
    let inside = text.get(1..text.find('>')?)?;
    let is_end = inside.starts_with('/');
    let name = inside.trim_matches('/').split_whitespace().next()?;
    let name = name.rsplit(':').next()?.to_ascii_lowercase();
    NAMES
        .contains(&name.as_str())
        .then_some((name, is_end, inside.len() + 2))
}

/// A text with the references to characters that were escaped twice (`&#x3b2;`, `&lt;`).
fn entities(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        out.push_str(rest.get(..at).unwrap_or_default());
        rest = rest.get(at..).unwrap_or_default();
        let name = rest.get(1..rest.find(';').unwrap_or(0).max(1));
        let name = name.filter(|n| (1..=8).contains(&n.len())).unwrap_or("");
        match reference(name) {
            Some(found) => {
                out.push_str(&found);
                rest = rest.get(name.len() + 2..).unwrap_or_default();
            }
            None => {
                out.push('&');
                rest = rest.get(1..).unwrap_or_default();
            }
        }
    }
    out.push_str(rest);
    out
}

fn reference(name: &str) -> Option<String> {
    if let Some(number) = name.strip_prefix('#') {
        let code = match number.strip_prefix(['x', 'X']) {
            Some(hex) => u32::from_str_radix(hex, 16),
            None => number.parse(),
        };
        return char::from_u32(code.ok()?)
            .filter(|c| !c.is_control())
            .map(String::from);
    }
    match name {
        "nbsp" => Some(" ".to_owned()),
        _ => resolve_xml_entity(name).map(str::to_owned),
    }
}

/// A heading as it is put before its part: without a colon of its own; nothing where it only says that there is none.
pub(crate) fn label(heading: &str) -> Option<String> {
    let heading = spaced(heading);
    let heading = heading.trim_end_matches([':', ' ']);
    let none = heading.is_empty()
        || ["UNLABELLED", "UNLABELED", "UNASSIGNED"].contains(&heading.to_uppercase().as_str());
    (!none).then(|| heading.to_owned())
}

/// A part of an abstract with its heading, unless the part begins with it.
pub(crate) fn labelled(label: Option<&str>, part: String) -> String {
    let Some(label) = label else {
        return part;
    };
    let start = part.get(..label.len());
    let repeats = start.is_some_and(|s| s.eq_ignore_ascii_case(label))
        && (part.get(label.len()..)).is_some_and(|rest| rest.trim_start().starts_with(':'));
    match repeats {
        true => part,
        false => format!("{label}: {part}"),
    }
}
