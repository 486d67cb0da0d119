//! Cleans text: exponents, doubly escaped entities, headings within an abstract.

use quick_xml::escape::resolve_xml_entity;

/// Maximum nesting of markup; deeper elements are text.
const DEPTH: usize = 100;

/// Replaces each run of white space by one space, and trims.
pub(crate) fn spaced(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The first four consecutive digits ("1998 Dec-1999 Jan").
pub(crate) fn year_of(date: &str) -> Option<String> {
    date.split(|c: char| !c.is_ascii_digit())
        .find(|digits| digits.len() == 4)
        .map(str::to_owned)
}

/// Appends superscript text: "10" and "6" give "10^6", "Ca" and "2+" give "Ca2+". A space within a power of ten is
/// dropped. Text before byte `from` is ignored.
pub(crate) fn raise(text: &mut String, from: usize, part: &str) {
    let base = text.get(from..).unwrap_or_default();
    let of_ten = base.trim_end();
    let is_ten = of_ten.strip_suffix("10").is_some_and(|before| {
        !before.ends_with(|c: char| c.is_alphanumeric() || c == '.' || c == ',')
    });
    if is_ten && of_ten.len() < base.len() && is_number(part) {
        text.truncate(from + of_ten.len());
    }
    let between = raised(text.get(from..).unwrap_or_default(), part);
    text.push_str(between);
    text.push_str(part);
}

/// Whether a text is a number, possibly signed.
fn is_number(text: &str) -> bool {
    let digits = text.trim().trim_start_matches(['+', '-', '−', '–']);
    !digits.is_empty() && (digits.chars()).all(|c| c.is_ascii_digit() || c == '.' || c == ',')
}

/// The separator between a base and its superscript.
fn raised(base: &str, text: &str) -> &'static str {
    let Some(last) = base.chars().next_back() else {
        return "";
    };
    let text = text.trim();
    let digits = text.trim_start_matches(['+', '-', '−', '–']);
    let starts = digits.chars().next().is_some_and(char::is_alphanumeric);
    let is_ordinal = ["st", "nd", "rd", "th"].contains(&text);
    let is_exponent = match last.is_numeric() {
        true => starts && !is_ordinal,
        false => is_number(text) && (last.is_alphabetic() || last == ')' || last == ']'),
    };
    if is_exponent { "^" } else { "" }
}

/// The separator between a base and its subscript: two digits are kept apart.
pub(crate) fn lowered(base: &str, text: &str) -> &'static str {
    let after_digit = base.ends_with(|c: char| c.is_numeric());
    let is_digit = text.trim().starts_with(|c: char| c.is_numeric());
    if after_digit && is_digit { "_" } else { "" }
}

/// Removes markup written as characters (`<h4>Aims</h4>`). Europe PMC's abstracts have headings in `h4`.
pub(crate) fn plain(text: &str) -> String {
    let text = entities(text);
    if !text.contains('<') {
        return text;
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text.as_str();
    // Starts of open superscripts, subscripts and headings, innermost last.
    let mut open: Vec<(String, usize)> = Vec::new();
    while let Some(at) = rest.find('<') {
        out.push_str(rest.get(..at).unwrap_or_default());
        rest = rest.get(at..).unwrap_or_default();
        let Some((name, is_end, length)) = tag(rest) else {
            out.push('<');
            rest = rest.get(1..).unwrap_or_default();
            continue;
        };
        rest = rest.get(length..).unwrap_or_default();
        let is_heading = ["h1", "h2", "h3", "h4", "title"].contains(&name.as_str());
        match name.as_str() {
            "p" | "br" | "div" | "sec" | "ul" | "ol" | "li" => out.push(' '),
            "sup" | "sub" => {}
            _ if !is_heading => continue,
            _ if !is_end => out.push(' '),
            _ => {}
        }
        if !is_end && (is_heading || name == "sup" || name == "sub") {
            if open.len() < DEPTH {
                open.push((name, out.len()));
            }
            continue;
        }
        let Some(last) = open.iter().rposition(|(opened, _)| *opened == name) else {
            continue;
        };
        // Elements opened inside and not closed are text.
        let start = open[last].1;
        open.truncate(last);
        let part = out.split_off(start);
        let from = open.last().map_or(0, |(_, start)| *start);
        match name.as_str() {
            "sup" => raise(&mut out, from, &part),
            "sub" => {
                out.push_str(lowered(&out, &part));
                out.push_str(&part);
            }
            _ => {
                if let Some(label) = label(&part) {
                    out.push_str(&label);
                    out.push_str(": ");
                    let after = rest.trim_start();
                    rest = after.strip_prefix(':').unwrap_or(rest);
                }
            }
        }
    }
    out.push_str(rest);
    out
}

/// Text from XML in which entities may have been escaped twice (`&amp;#x3b2;`); then tags were, too.
pub(crate) fn twice_escaped(text: &str) -> String {
    match text.contains("&lt;") {
        true => plain(text),
        false => entities(text),
    }
}

/// The tag at the start of a text: name, whether it closes an element, and length. Only text-level tags are recognised,
/// and only quoted attributes after the name, so that "0.01 <p <0.05 in patients >65" stays.
fn tag(text: &str) -> Option<(String, bool, usize)> {
    const NAMES: [&str; 22] = [
        "i", "b", "u", "em", "strong", "sup", "sub", "p", "br", "div", "sec", "ul", "ol", "li",
        "h1", "h2", "h3", "h4", "title", "italic", "bold", "span",
    ];
    let inside = text.strip_prefix('<')?;
    let (is_end, inside) = match inside.strip_prefix('/') {
        Some(inside) => (true, inside),
        None => (false, inside),
    };
    let (name, mut rest) = word(inside)?;
    let name = name.rsplit(':').next()?.to_ascii_lowercase();
    if !NAMES.contains(&name.as_str()) {
        return None;
    }
    while let Some(after) = attribute(rest).filter(|_| !is_end) {
        rest = after;
    }
    let after = match rest.strip_prefix('>') {
        Some(after) => after,
        None => rest.trim_start().strip_prefix("/>")?,
    };
    Some((name, is_end, text.len() - after.len()))
}

/// The name at the start of a text, and the rest.
fn word(text: &str) -> Option<(&str, &str)> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || ":-_".contains(c);
    let end = text.find(|c| !is_name(c))?;
    text.split_at_checked(end)
        .filter(|(name, _)| !name.is_empty())
}

/// The rest after an attribute (` class="x"`) at the start of a text.
fn attribute(text: &str) -> Option<&str> {
    let inside = text.trim_start();
    let (_, rest) = word(inside).filter(|_| inside.len() < text.len())?;
    let value = rest.strip_prefix('=')?;
    let quote = value.chars().next().filter(|c| "\"'".contains(*c))?;
    let (_, after) = value.get(1..)?.split_once(quote)?;
    Some(after)
}

/// Resolves entities that were escaped twice (`&#x3b2;`, `&lt;`).
fn entities(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        out.push_str(rest.get(..at).unwrap_or_default());
        rest = rest.get(at..).unwrap_or_default();
        // The longest is `&#x10FFFF;`.
        let end = rest.bytes().take(10).position(|byte| byte == b';');
        let name = rest.get(1..end.unwrap_or(1)).unwrap_or_default();
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

/// A heading as written before its part, without its colon; `None` if it only says that there is none.
pub(crate) fn label(heading: &str) -> Option<String> {
    let heading = spaced(heading);
    let heading = heading.trim_end_matches([':', ' ']);
    let none = heading.is_empty()
        || ["UNLABELLED", "UNLABELED", "UNASSIGNED"].contains(&heading.to_uppercase().as_str());
    (!none).then(|| heading.to_owned())
}

/// A part of an abstract with its heading, unless it already begins with it.
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
