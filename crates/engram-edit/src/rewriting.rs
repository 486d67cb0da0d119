//! The prompts of an edit's loss, as token ids.

use engram_model::LanguageModel;

use crate::error::{EditError, Result};
use crate::request::EditRequest;
use crate::tokens::{PromptAndAnswer, continued, last_token, subject_last};

/// A prompt's token ids and the index of its subject's last token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlacedPrompt {
    /// The token ids, with those of the answer if there is one.
    pub ids: PromptAndAnswer,
    /// Index of the subject's last token.
    pub subject: usize,
}

/// The prompts of the loss.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rewriting {
    /// The prompt followed by the new answer, first without prefix, then with each prefix.
    pub prompts: Vec<PlacedPrompt>,
    /// The prompt "{subject} is a", and the index of its subject's last token.
    pub essence: (Vec<u32>, usize),
}

impl Rewriting {
    /// The prompts of a request; `prefixes` as from [`crate::prefixes::prefixes`].
    ///
    /// # Errors
    /// As [`EditRequest::check`]; [`EditError::Model`] if a text cannot be tokenised.
    pub fn of(
        model: &LanguageModel,
        request: &EditRequest,
        prefixes: &[String],
    ) -> Result<Rewriting> {
        request.check()?;
        let tokenizer = model.tokenizer();
        let mut prompts = Vec::with_capacity(prefixes.len());
        for prefix in prefixes {
            let prompt = format!("{prefix}{}", request.prompt);
            let ids = continued(tokenizer, &prompt, &request.target_new)?;
            let last = subject_last(tokenizer, request, prefix)?;
            if last >= ids.from {
                return Err(EditError::Request {
                    request: request.id.clone(),
                    why: "the tokenizer joins the subject with the answer".to_owned(),
                });
            }
            prompts.push(PlacedPrompt { ids, subject: last });
        }
        let text = format!("{} is a", request.subject);
        let last = last_token(tokenizer, &text, &(0..request.subject.len()))?
            .ok_or_else(|| request.no_subject())?;
        Ok(Rewriting {
            prompts,
            essence: (tokenizer.encode(&text)?, last),
        })
    }
}
