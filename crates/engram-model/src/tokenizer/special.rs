//! Special tokens before and after a text.

use serde_json::{Value, json};
use tokenizers::{Encoding, PostProcessor, PostProcessorWrapper, Token};

/// The ids that a post-processor adds before and after a text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Special {
    pub(crate) before: Vec<u32>,
    pub(crate) after: Vec<u32>,
}

impl Special {
    /// Determines them by running the post-processor on a token that no vocabulary has.
    ///
    /// # Errors
    /// Those of the post-processor; one that drops or repeats the text.
    pub(crate) fn of(processor: Option<&PostProcessorWrapper>) -> tokenizers::Result<Special> {
        const TEXT: u32 = u32::MAX;
        let Some(processor) = processor else {
            return Ok(Special::default());
        };
        let text = Token::new(TEXT, "x".to_owned(), (0, 1));
        let text = Encoding::from_tokens(vec![text], 0);
        let whole = processor.process(text, None, true)?;
        let mut parts = whole.get_ids().split(|id| *id == TEXT);
        match (parts.next(), parts.next(), parts.next()) {
            (Some(before), Some(after), None) => Ok(Special {
                before: before.to_vec(),
                after: after.to_vec(),
            }),
            _ => Err("its post_processor does not keep the text as one".into()),
        }
    }
}

/// A token as the vocabulary spells it, and its id.
pub(crate) type SpelledToken = (String, u32);

/// A post-processor that adds these tokens before and after a text.
pub(crate) fn template(
    before: Option<&SpelledToken>,
    after: Option<&SpelledToken>,
) -> tokenizers::Result<PostProcessorWrapper> {
    let piece = |token: Option<&SpelledToken>, kind: u32| -> Option<Value> {
        token.map(|(text, _)| json!({"SpecialToken": {"id": text, "type_id": kind}}))
    };
    let sequence = |name: &str, kind: u32| json!({"Sequence": {"id": name, "type_id": kind}});
    let part = |name: &str, kind: u32| -> Vec<Value> {
        let text = Some(sequence(name, kind));
        let pieces = [piece(before, kind), text, piece(after, kind)];
        pieces.into_iter().flatten().collect()
    };
    let tokens: serde_json::Map<String, Value> = [before, after]
        .into_iter()
        .flatten()
        .map(|(text, id)| {
            let token = json!({"id": text, "ids": [id], "tokens": [text]});
            (text.clone(), token)
        })
        .collect();
    let pair = [part("A", 0), part("B", 1)].concat();
    Ok(serde_json::from_value(json!({
        "type": "TemplateProcessing",
        "single": part("A", 0),
        "pair": pair,
        "special_tokens": tokens,
    }))?)
}
