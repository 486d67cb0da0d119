//! The text of cells and shared strings.

use quick_xml::escape::resolve_xml_entity;
use quick_xml::events::Event;

use super::part::{Fault, local};

/// The text of a cell or a shared string: that of `v`, or of all `t`, without phonetic hints (`rPh`).
#[derive(Default)]
pub(super) struct Text {
    text: String,
    /// Whether inside `v` or `t`.
    is_open: bool,
    /// Number of open `rPh`.
    aids: usize,
}

impl Text {
    /// Handles an event; returns the name of the element that it ends.
    pub(super) fn take(&mut self, event: Event<'_>) -> Result<Option<String>, Fault> {
        match event {
            Event::Start(start) => match local(&start).as_str() {
                "v" | "t" => self.is_open = self.aids == 0,
                "rPh" => self.aids += 1,
                _ => {}
            },
            Event::End(end) => {
                let name = AsRef::<str>::as_ref(&end.local_name()).to_owned();
                match name.as_str() {
                    "v" | "t" => self.is_open = false,
                    "rPh" => self.aids = self.aids.saturating_sub(1),
                    _ => {}
                }
                return Ok(Some(name));
            }
            Event::Text(text) => self.add(&text.xml10_content()),
            Event::CData(text) => self.add(&text.xml10_content()),
            Event::GeneralRef(reference) => match reference.resolve_char_ref() {
                Ok(Some(character)) => self.add(character.encode_utf8(&mut [0; 4])),
                Ok(None) => {
                    let name = reference.xml10_content();
                    let text = resolve_xml_entity(&name);
                    self.add(text.ok_or_else(|| Fault::why("it refers to an unknown entity"))?);
                }
                Err(error) => return Err(Fault::why(error.to_string())),
            },
            _ => {}
        }
        Ok(None)
    }

    fn add(&mut self, text: &str) {
        if self.is_open {
            self.text.push_str(text);
        }
    }

    /// Returns the text and starts a new one.
    pub(super) fn end(&mut self) -> String {
        unescaped(std::mem::take(&mut self.text))
    }
}

/// Replaces escapes such as `_x000D_` by their characters (ECMA-376 22.9.2.19).
fn unescaped(text: String) -> String {
    if !text.contains("_x") {
        return text;
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some(at) = rest.find("_x") {
        let code = rest.get(at + 2..at + 6);
        let code = code.filter(|c| c.bytes().all(|b| b.is_ascii_hexdigit()));
        let code = code.filter(|_| rest.as_bytes().get(at + 6) == Some(&b'_'));
        let character = code.and_then(|c| char::from_u32(u32::from_str_radix(c, 16).ok()?));
        let (kept, next) = match character {
            Some(_) => (at, at + 7),
            None => (at + 2, at + 2),
        };
        out.push_str(&rest[..kept]);
        out.extend(character);
        rest = &rest[next..];
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_undone() {
        let is = |text: &str, plain: &str| assert_eq!(unescaped(text.to_owned()), plain);
        is("a_x000D_b", "a\rb");
        is("_x005F_x000D_", "_x000D_");
        is("_x_x00_xZZZZ__xD800_é", "_x_x00_xZZZZ__xD800_é");
    }
}
