//! The text of an element with inline markup: exponents, MathML formulas, alternatives (one of them).

use super::markup::{lowered, raise};

/// Elements that are separated from the text around them.
const BLOCKS: [&str; 9] = [
    "p",
    "list",
    "list-item",
    "def-item",
    "title",
    "label",
    "break",
    "br",
    "disp-quote",
];

/// A text while it is read.
#[derive(Default)]
pub(crate) struct Text {
    text: String,
    marks: Vec<Mark>,
    /// A TeX formula, kept until no other form of it is found.
    tex: String,
}

/// An open element with a meaning beyond its text.
struct Mark {
    depth: usize,
    kind: Kind,
    /// Bytes of text before it.
    start: usize,
    /// Number of elements opened inside it.
    children: usize,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Raised,
    Lowered,
    /// A MathML formula: white space outside of its tokens is ignored.
    Formula,
    /// A token of a formula: identifier, number, operator or text.
    Token,
    /// A MathML fraction, exponent or index; the second and third part are joined like this.
    Math(Joint, Joint),
    /// A part of one of these.
    Part,
    /// A square root.
    Root,
    /// Repeats a formula: an annotation.
    Skipped,
    /// Several forms of one formula.
    Alternatives,
    /// A TeX formula.
    Tex,
}

/// How a part of a formula is joined to the previous part.
#[derive(Clone, Copy, PartialEq)]
enum Joint {
    Above,
    Below,
    Over,
    /// The index of a root: the cube root of x is x^(1/3).
    Index,
    Plain,
}

impl Text {
    /// Opens the last element of the path.
    pub fn open(&mut self, path: &[String]) {
        let name = path.last().map_or("", String::as_str);
        let depth = path.len();
        let within = self
            .marks
            .iter_mut()
            .rev()
            .find(|mark| mark.depth + 1 == depth);
        let is_part = within.is_some_and(|mark| {
            mark.children += 1;
            matches!(mark.kind, Kind::Math(..))
        });
        let kind = match name {
            "sup" | "superscript" => Some(Kind::Raised),
            "sub" | "subscript" => Some(Kind::Lowered),
            "math" => Some(Kind::Formula),
            "mi" | "mn" | "mo" | "mtext" | "ms" => Some(Kind::Token),
            "msup" => Some(Kind::Math(Joint::Above, Joint::Plain)),
            "msub" => Some(Kind::Math(Joint::Below, Joint::Plain)),
            "msubsup" => Some(Kind::Math(Joint::Below, Joint::Above)),
            "mfrac" => Some(Kind::Math(Joint::Over, Joint::Plain)),
            "mroot" => Some(Kind::Math(Joint::Index, Joint::Plain)),
            "msqrt" => Some(Kind::Root),
            "annotation" | "annotation-xml" => Some(Kind::Skipped),
            "alternatives" => Some(Kind::Alternatives),
            "tex-math" => Some(Kind::Tex),
            _ => None,
        };
        if BLOCKS.contains(&name) {
            self.text.push(' ');
        }
        // A part may itself be a fraction: both marks are of its depth, the part's below.
        for kind in is_part.then_some(Kind::Part).into_iter().chain(kind) {
            self.marks.push(Mark {
                depth,
                kind,
                start: self.text.len(),
                children: 0,
            });
        }
    }

    /// Adds text of the innermost element.
    pub fn add(&mut self, text: &str) {
        let is_math = |mark: &&Mark| mark.kind == Kind::Formula || mark.kind == Kind::Token;
        let inner = self.marks.iter().rev().find(is_math);
        if inner.is_some_and(|mark| mark.kind == Kind::Formula) && text.trim().is_empty() {
            return;
        }
        self.text.push_str(text);
    }

    /// Closes the last element of the path.
    pub fn close(&mut self, path: &[String]) {
        let depth = path.len();
        if path
            .last()
            .is_some_and(|name| BLOCKS.contains(&name.as_str()))
        {
            self.text.push(' ');
        }
        while let Some(mark) = self.marks.pop_if(|mark| mark.depth == depth) {
            let part = self.text.split_off(mark.start);
            match mark.kind {
                Kind::Raised => {
                    let from = self.marks.last().map_or(0, |mark| mark.start);
                    raise(&mut self.text, from, &part);
                }
                Kind::Lowered => self.join(lowered(&self.text, &part), &part),
                Kind::Skipped => {}
                Kind::Math(..) | Kind::Formula => self.text.push_str(&part),
                Kind::Token => self.text.push_str(part.trim()),
                Kind::Part => self.part(depth, &part),
                Kind::Root if is_several(part.trim()) => self.join("√", &format!("({part})")),
                Kind::Root => self.join("√", &part),
                Kind::Tex => {
                    let is_one_of = self.marks.iter().any(|m| m.kind == Kind::Alternatives);
                    match is_one_of {
                        true => self.tex = tex(&part).to_owned(),
                        false => self.text.push_str(tex(&part)),
                    }
                }
                Kind::Alternatives => {
                    let tex = std::mem::take(&mut self.tex);
                    let is_there = !part.trim().is_empty();
                    self.text.push_str(if is_there { &part } else { &tex });
                }
            }
        }
    }

    fn join(&mut self, between: &str, part: &str) {
        self.text.push_str(between);
        self.text.push_str(part);
    }

    /// Writes a part of a fraction or exponent: the operator before it, and brackets around a compound part.
    fn part(&mut self, depth: usize, part: &str) {
        let whole = self.marks.iter().rev().find(|mark| mark.depth + 1 == depth);
        let Some(Mark {
            kind: Kind::Math(second, third),
            children,
            ..
        }) = whole
        else {
            self.text.push_str(part);
            return;
        };
        let joint = match children {
            1 => Joint::Plain,
            2 => *second,
            _ => *third,
        };
        let part = part.trim();
        let inner = part.trim_start_matches(['-', '−', '+']);
        let is_several = is_several(inner);
        let is_word = inner.starts_with(char::is_alphanumeric);
        if joint == Joint::Index {
            return self.join("^", &format!("(1/{part})"));
        }
        let between = match joint {
            Joint::Above if is_word || is_several => "^",
            Joint::Below => lowered(&self.text, part),
            Joint::Over => "/",
            _ => "",
        };
        // The base of an exponent is left unchanged; that of a root and both parts of a fraction are bracketed.
        let is_exponent = joint == Joint::Above && !between.is_empty();
        let is_bracketed = is_exponent || [Joint::Over, Joint::Index].contains(second);
        match is_several && is_bracketed {
            true => self.join(between, &format!("({part})")),
            false => self.join(between, part),
        }
    }

    /// The text.
    pub fn end(self) -> String {
        self.text
    }
}

/// Whether a part of a formula is more than one number or name.
fn is_several(part: &str) -> bool {
    part.contains(|c: char| !c.is_alphanumeric() && c != '.')
}

/// The formula inside a TeX document.
fn tex(text: &str) -> &str {
    let inside = text
        .split_once("\\begin{document}")
        .and_then(|(_, rest)| rest.split_once("\\end{document}"))
        .map_or(text, |(inside, _)| inside);
    inside.trim().trim_matches('$').trim()
}
