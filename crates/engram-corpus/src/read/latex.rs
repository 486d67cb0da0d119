//! Converts LaTeX to plain text: `10^{6}` is 10^6, `\textit{a}` is a, `\alpha` is α, `\frac{1}{2}` is 1/2.

use super::markup::{lowered, raise};

/// Maximum nesting of braces; deeper text is left unchanged.
const DEPTH: usize = 100;

/// Appends a text with LaTeX commands to `out`; in a formula `^` and `_` raise and lower.
pub(crate) fn add(out: &mut String, text: &str, is_formula: bool) {
    Reading {
        rest: text,
        is_formula,
        depth: 0,
    }
    .all(out);
}

/// The text with `{}` after each command outside of formulas, where TeX ends the command: `\alpha-synuclein` becomes
/// `\alpha{}-synuclein`. (The crate `biblatex` extends a command's name to the next space or bracket.)
pub(crate) fn ended(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let (mut rest, mut is_formula) = (text, false);
    while let Some(at) = rest.find(['\\', '$']) {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        is_formula ^= from.starts_with('$');
        let name = from.get(1..).unwrap_or_default();
        let letters = name.bytes().take_while(u8::is_ascii_alphabetic).count();
        let length = match name.chars().next() {
            _ if from.starts_with('$') => 1,
            Some(_) if letters > 0 => 1 + letters,
            sign => 1 + sign.map_or(0, char::len_utf8),
        };
        let (command, after) = from.split_at(length);
        out.push_str(command);
        let is_word = letters > 0 || name.starts_with([',', ';', '!', '/']);
        let next = after.chars().next();
        let goes_on = next.is_some_and(|c| !c.is_whitespace() && !"{}[(),=%\\~\"'#@".contains(c));
        if from.starts_with('\\') && is_word && goes_on && !is_formula {
            out.push_str("{}");
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

/// A text while it is read.
struct Reading<'a> {
    rest: &'a str,
    is_formula: bool,
    depth: usize,
}

impl<'a> Reading<'a> {
    fn all(mut self, out: &mut String) {
        while let Some(next) = self.rest.chars().next() {
            let from = self.rest;
            self.rest = from.get(next.len_utf8()..).unwrap_or_default();
            match next {
                '\\' => self.command(out),
                '^' if self.is_formula => {
                    let part = self.part();
                    let is_sum = part.contains(['+', '-', '−', '/', ' '])
                        && !part.starts_with(['+', '-', '−'])
                        && !part.ends_with(['+', '-', '−']);
                    match is_sum {
                        true => out.push_str(&format!("^({part})")),
                        false => raise(out, 0, &part),
                    }
                }
                '_' if self.is_formula => {
                    let part = self.part();
                    out.push_str(lowered(out, &part));
                    out.push_str(&part);
                }
                '{' | '}' => {}
                _ => out.push(next),
            }
        }
    }

    /// Reads a command, after its backslash.
    fn command(&mut self, out: &mut String) {
        let letters = self.rest.bytes().take_while(u8::is_ascii_alphabetic);
        let (name, rest) = self.rest.split_at(letters.count());
        if name.is_empty() {
            let mut after = rest.chars();
            match after.next() {
                // Spaces of several widths.
                Some(',' | ';' | ':' | ' ' | '>') => out.push(' '),
                Some('!' | '/' | '-') => {}
                sign => out.extend(sign),
            }
            self.rest = after.as_str();
            return;
        }
        // A space ends a command's name.
        self.rest = rest.strip_prefix(' ').unwrap_or(rest);
        match name {
            "frac" | "tfrac" | "dfrac" | "nicefrac" | "sfrac" => {
                let (above, below) = (self.part(), self.part());
                out.push_str(&format!("{}/{}", bracketed(&above), bracketed(&below)));
            }
            "sqrt" => {
                let index = self.option();
                let of = self.part();
                match index {
                    Some(index) => out.push_str(&format!("{}^(1/{index})", bracketed(&of))),
                    None => out.push_str(&format!("√{}", bracketed(&of))),
                }
            }
            "textsuperscript" | "textsu" | "sp" => {
                let part = self.part();
                raise(out, 0, &part);
            }
            "textsubscript" | "sb" => {
                let part = self.part();
                out.push_str(lowered(out, &part));
                out.push_str(&part);
            }
            "ensuremath" => {
                let within = self.within();
                self.inside(out, within, true);
            }
            "SI" | "qty" => {
                let number = self.part();
                out.push_str(&format!("{number} "));
            }
            "not" => {
                let before = out.len();
                let next = self.part();
                out.push_str(&next);
                match out.get(before..) {
                    Some("=") => out.replace_range(before.., "≠"),
                    _ => out.push('\u{338}'),
                }
            }
            "quad" | "qquad" | "enspace" | "thinspace" | "space" | "par" | "newline" => {
                out.push(' ');
            }
            _ if FONTS.contains(&name) => {}
            _ => match (ACCENTS.iter().find(|(n, _)| *n == name), sign(name)) {
                (Some((_, accent)), _) => {
                    let part = self.part();
                    out.push_str(&part);
                    out.push(*accent);
                }
                (None, Some(sign)) => out.push_str(sign),
                (None, None) => {
                    // An unknown command's name is better than nothing.
                    out.push_str(name);
                    if self.rest.starts_with('{') {
                        out.push(' ');
                    }
                }
            },
        }
    }

    /// The next argument as plain text: a braced group, a command or a character.
    fn part(&mut self) -> String {
        let mut part = String::new();
        self.rest = self.rest.trim_start();
        match self.rest.chars().next() {
            Some('{') => {
                let within = self.within();
                self.inside(&mut part, within, self.is_formula);
            }
            Some('\\') if self.depth < DEPTH => {
                self.rest = self.rest.get(1..).unwrap_or_default();
                self.depth += 1;
                self.command(&mut part);
                self.depth -= 1;
            }
            Some(next) => {
                part.push(next);
                self.rest = self.rest.get(next.len_utf8()..).unwrap_or_default();
            }
            None => {}
        }
        part.trim().to_owned()
    }

    /// The content of the braces at the start of the text; all of it if they are not closed.
    fn within(&mut self) -> &'a str {
        let Some(inside) = self.rest.strip_prefix('{') else {
            return "";
        };
        let mut depth = 1;
        for (at, byte) in inside.bytes().enumerate() {
            match byte {
                b'{' => depth += 1,
                b'}' => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                let (within, rest) = inside.split_at(at);
                self.rest = rest.get(1..).unwrap_or_default();
                return within;
            }
        }
        self.rest = "";
        inside
    }

    /// The content of the square brackets at the start of the text.
    fn option(&mut self) -> Option<&'a str> {
        let (within, rest) = self.rest.strip_prefix('[')?.split_once(']')?;
        self.rest = rest;
        Some(within)
    }

    fn inside(&self, out: &mut String, text: &str, is_formula: bool) {
        match self.depth < DEPTH {
            true => Reading {
                rest: text,
                is_formula,
                depth: self.depth + 1,
            }
            .all(out),
            false => out.push_str(text),
        }
    }
}

/// A part of a fraction or root, in brackets if compound.
fn bracketed(part: &str) -> String {
    let is_several = part.contains(|c: char| !c.is_alphanumeric() && c != '.');
    match is_several {
        true => format!("({part})"),
        false => part.to_owned(),
    }
}

/// The character of a symbol command, also with the prefixes of fonts and variants: `\textmu`, `\upmu`, `\varphi`.
fn sign(name: &str) -> Option<&'static str> {
    let find = |name: &str| {
        SIGNS
            .iter()
            .find(|(n, _)| *n == name)
            .map(|(_, sign)| *sign)
    };
    let starts = ["text", "up", "var"].into_iter();
    find(name).or_else(|| {
        let mut rests = starts.filter_map(|start| name.strip_prefix(start));
        rests.find_map(find)
    })
}

/// Commands for fonts, sizes and brackets, which are dropped.
const FONTS: &[&str] = &[
    "text",
    "textit",
    "textbf",
    "textrm",
    "textsf",
    "texttt",
    "textsc",
    "textsl",
    "textup",
    "textmd",
    "textnormal",
    "emph",
    "mathrm",
    "mathbf",
    "mathit",
    "mathsf",
    "mathtt",
    "mathcal",
    "mathbb",
    "mathnormal",
    "boldsymbol",
    "bm",
    "mbox",
    "hbox",
    "fbox",
    "operatorname",
    "mathop",
    "left",
    "right",
    "big",
    "bigl",
    "bigr",
    "Big",
    "Bigl",
    "Bigr",
    "it",
    "bf",
    "rm",
    "sf",
    "tt",
    "sc",
    "sl",
    "em",
    "itshape",
    "bfseries",
    "upshape",
    "scshape",
    "rmfamily",
    "sffamily",
    "displaystyle",
    "textstyle",
    "scriptstyle",
    "limits",
    "nolimits",
    "protect",
    "relax",
    "underline",
    "uline",
    "noindent",
    "small",
    "footnotesize",
    "large",
    "normalsize",
    "mathstrut",
    "num",
    "si",
    "unit",
    "url",
];

/// Accents of formulas, as combining characters.
const ACCENTS: [(&str, char); 7] = [
    ("bar", '\u{304}'),
    ("hat", '\u{302}'),
    ("tilde", '\u{303}'),
    ("dot", '\u{307}'),
    ("ddot", '\u{308}'),
    ("vec", '\u{20d7}'),
    ("overline", '\u{305}'),
];

/// Symbols found in abstracts, by command.
const SIGNS: &[(&str, &str)] = &[
    // Unicode has the Greek letter and the micro sign.
    ("textmu", "µ"),
    ("alpha", "α"),
    ("beta", "β"),
    ("gamma", "γ"),
    ("delta", "δ"),
    ("epsilon", "ε"),
    ("zeta", "ζ"),
    ("eta", "η"),
    ("theta", "θ"),
    ("iota", "ι"),
    ("kappa", "κ"),
    ("lambda", "λ"),
    ("mu", "μ"),
    ("nu", "ν"),
    ("xi", "ξ"),
    ("omicron", "ο"),
    ("pi", "π"),
    ("rho", "ρ"),
    ("sigma", "σ"),
    ("tau", "τ"),
    ("upsilon", "υ"),
    ("phi", "φ"),
    ("chi", "χ"),
    ("psi", "ψ"),
    ("omega", "ω"),
    ("Gamma", "Γ"),
    ("Delta", "Δ"),
    ("Theta", "Θ"),
    ("Lambda", "Λ"),
    ("Xi", "Ξ"),
    ("Pi", "Π"),
    ("Sigma", "Σ"),
    ("Upsilon", "Υ"),
    ("Phi", "Φ"),
    ("Psi", "Ψ"),
    ("Omega", "Ω"),
    ("pm", "±"),
    ("mp", "∓"),
    ("times", "×"),
    ("div", "÷"),
    ("cdot", "·"),
    ("minus", "−"),
    ("le", "≤"),
    ("leq", "≤"),
    ("leqslant", "≤"),
    ("leqq", "≤"),
    ("ge", "≥"),
    ("geq", "≥"),
    ("geqslant", "≥"),
    ("geqq", "≥"),
    ("lt", "<"),
    ("less", "<"),
    ("gt", ">"),
    ("greater", ">"),
    ("ll", "≪"),
    ("gg", "≫"),
    ("ne", "≠"),
    ("neq", "≠"),
    ("lesssim", "≲"),
    ("gtrsim", "≳"),
    ("approx", "≈"),
    ("simeq", "≃"),
    ("cong", "≅"),
    ("equiv", "≡"),
    ("propto", "∝"),
    ("sim", "~"),
    ("infty", "∞"),
    ("partial", "∂"),
    ("nabla", "∇"),
    ("sum", "∑"),
    ("prod", "∏"),
    ("int", "∫"),
    ("in", "∈"),
    ("notin", "∉"),
    ("cup", "∪"),
    ("cap", "∩"),
    ("subset", "⊂"),
    ("emptyset", "∅"),
    ("forall", "∀"),
    ("exists", "∃"),
    ("perp", "⊥"),
    ("parallel", "∥"),
    ("prime", "′"),
    ("circ", "°"),
    ("degree", "°"),
    ("celsius", "°C"),
    ("perthousand", "‰"),
    ("ohm", "Ω"),
    ("euro", "€"),
    ("cent", "¢"),
    ("yen", "¥"),
    ("registered", "®"),
    ("trademark", "™"),
    ("copyright", "©"),
    ("onehalf", "½"),
    ("onequarter", "¼"),
    ("threequarters", "¾"),
    ("onesuperior", "¹"),
    ("twosuperior", "²"),
    ("threesuperior", "³"),
    ("numero", "№"),
    ("endash", "–"),
    ("emdash", "—"),
    ("bullet", "•"),
    ("ast", "*"),
    ("star", "⋆"),
    ("dagger", "†"),
    ("ldots", "…"),
    ("cdots", "…"),
    ("dots", "…"),
    ("mid", "|"),
    ("vert", "|"),
    ("lvert", "|"),
    ("rvert", "|"),
    ("to", "→"),
    ("rightarrow", "→"),
    ("leftarrow", "←"),
    ("uparrow", "↑"),
    ("downarrow", "↓"),
];
