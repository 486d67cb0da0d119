//! `engram model`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use candle_core::Tensor;
use engram::stage::Output;
use engram::{Model, Opening, Within};
use engram_core::NamedSite;
use engram_core::blanks::prompt_of;
use engram_core::files::write_atomic;
use engram_core::text::thousands;
use engram_model::{NoTap, checkpoint};
use engram_patch::NextToken;
use serde::Serialize;

use super::{print, table, weights};
use crate::args::ModelCommand;
use crate::progress::{Terminal, note};

#[derive(Serialize)]
struct Info {
    family: String,
    shape: engram_model::Shape,
    sites: Vec<String>,
    modules: Vec<NamedSite>,
}

/// Runs a model command.
///
/// # Errors
/// Any of the checkpoint's.
pub fn model(command: ModelCommand, json: bool) -> Result<()> {
    match command {
        ModelCommand::Info { model } => info(&weights(&model)?, json),
        ModelCommand::Ask {
            model,
            prompt,
            top,
            bos,
            chat,
        } => {
            if prompt.is_empty() {
                bail!("the prompt is empty");
            }
            let opening = Opening::default().bos(bos);
            let opened = opening.open(&model, &mut Terminal::default())?;
            let found = ask(&opened, &prompt, chat, top as usize);
            print_answers(&found.of_file(&weights_of(&model))?, json)
        }
        ModelCommand::Logits { model, ids, out } => {
            let name = model;
            let model = weights(&name)?;
            let ids = [ids];
            let logits = model.forward(&ids, &mut NoTap)?;
            let finite = model.refuse_not_finite(&ids, [&logits]);
            finite.of_file(&weights_of(&name))?;
            write_tensors(
                &out,
                BTreeMap::from([("logits".to_owned(), logits.squeeze(0)?)]),
            )
        }
        ModelCommand::Convert { model, out } => {
            if std::fs::canonicalize(&model)
                .is_ok_and(|m| Some(m) == std::fs::canonicalize(&out).ok())
            {
                bail!("--out is the checkpoint itself; name another folder");
            }
            let output = Output::free(&out)?;
            let model = weights(&model)?;
            output.fill(|folder| Ok(model.write(folder)?))?;
            note(out.display());
            Ok(())
        }
    }
}

/// The file of a model's weights, for errors of what is in them: a GGUF file, the file or the index of a folder, or the
/// model as it was named.
pub fn weights_of(named: &Path) -> PathBuf {
    let files = [checkpoint::WEIGHTS, checkpoint::INDEX].map(|file| named.join(file));
    let there = files.into_iter().find(|file| file.exists());
    there.unwrap_or_else(|| named.to_owned())
}

fn info(model: &Model, json: bool) -> Result<()> {
    let sites = model.sites();
    let info = Info {
        family: model.family().to_owned(),
        shape: model.shape(),
        sites: sites.sites().iter().map(|s| s.name().to_owned()).collect(),
        modules: sites.modules().to_vec(),
    };
    print(json, &info, || {
        let shape = &info.shape;
        let context = match model.architecture().longest {
            longest if longest > shape.context => format!(
                "{}; a single pass {longest}, with frequencies by its length",
                shape.context
            ),
            _ => shape.context.to_string(),
        };
        let rows = [
            ("family", info.family.clone()),
            ("parameters", thousands(shape.parameters)),
            ("layers", shape.layers.to_string()),
            ("d_model", shape.d_model.to_string()),
            (
                "heads × d_head",
                format!("{} × {}", shape.heads, shape.d_head),
            ),
            (
                "grouped queries",
                shape.served().unwrap_or_else(|| "no".to_owned()),
            ),
            ("d_mlp", shape.d_mlp.to_string()),
            ("vocabulary", thousands(shape.vocab)),
            ("context", context),
            ("sites", info.sites.join(" ")),
        ];
        let mut text = String::new();
        for (name, value) in rows {
            text += &format!("{name:<16} {value}\n");
        }
        text + "modules\n" + &first_block(&info.modules)
    })
}

/// Module names of the first block and outside the blocks: the others differ in the number only.
fn first_block(modules: &[NamedSite]) -> String {
    let shown = modules.iter().filter(|m| m.layer.unwrap_or(0) == 0);
    shown
        .map(|m| format!("  {:<34} {}\n", m.name, m.site))
        .collect()
}

/// Says where a prompt ends in a blank, which belongs to what follows.
pub fn tell_blank(prompt: &str) {
    if prompt_of(prompt) != prompt {
        note(format!(
            "notice: the prompt ends in a blank, which most tokenizers put before the next word: without it, \"{}\" asks for the next word",
            prompt_of(prompt)
        ));
    }
}

fn ask(model: &Model, prompt: &str, chat: bool, top: usize) -> engram::Result<Vec<NextToken>> {
    if chat {
        return Ok(engram_patch::ask(model, &model.chat_ids(prompt)?, top)?);
    }
    tell_blank(prompt);
    model.ask(prompt, top)
}

fn print_answers(answers: &Vec<NextToken>, json: bool) -> Result<()> {
    print(json, answers, || {
        let rows = answers.iter().map(|a| {
            [
                format!("{:?}", a.token),
                format!("{:.4}", a.probability),
                format!("{:.3}", a.logit),
            ]
        });
        table(["next token", "probability", "logit"], rows)
    })
}

fn write_tensors(path: &Path, tensors: BTreeMap<String, Tensor>) -> Result<()> {
    let mut contiguous = BTreeMap::new();
    for (name, tensor) in tensors {
        contiguous.insert(name, tensor.contiguous()?);
    }
    let bytes = safetensors::serialize(&contiguous, None)?;
    write_atomic(path, |w| std::io::Write::write_all(w, &bytes))?;
    Ok(())
}
