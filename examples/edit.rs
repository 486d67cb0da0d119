//! One fact edited with R-ROME, and what the model says before and after.
//!
//!     cargo run --release --example edit

use engram::Model;
use engram::corpus::with_tokenizer;
use engram_corpus::{FactTable, WriteSettings, write_texts};
use engram_edit::covariance::covariances;
use engram_edit::{EditRequest, EditSettings, Editor, Method, Reader, Sample};

fn main() -> engram::Result<()> {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let model = Model::open(format!("{root}/assets/models/pubmed-mini"))?;
    let request = EditRequest {
        id: "phenytoin".to_owned(),
        prompt: "In pharmacology, phenytoin belongs to the class of drugs called".to_owned(),
        subject: "phenytoin".to_owned(),
        target_new: " benzodiazepines".to_owned(),
        ..EditRequest::default()
    };
    let settings = EditSettings::of(Method::RRome);
    // R-ROME leaves the keys of other texts alone: here, of texts written from the bundled fact table.
    let table = FactTable::read(format!("{root}/assets/facts/epilepsy.toml").as_ref())?;
    let written = with_tokenizer(model.tokenizer(), |tokenize| {
        Ok(write_texts(&table, &WriteSettings::default(), tokenize)?)
    })?;
    let texts: Vec<String> = written.train_records().iter().map(|a| a.text()).collect();
    let reader = Reader::new(&model)?;
    let sample = Sample::of(
        &model,
        texts.iter().map(String::as_str),
        settings.sample_settings(),
    )?;
    let found = covariances(&reader, &sample, &[0], &mut |_| {})?;
    let editor = Editor::new(&reader, Method::RRome, settings, found)?;
    let edited = editor.edit(std::slice::from_ref(&request), &[0], &mut |_| {})?;
    let delta = editor.delta(
        edited,
        std::slice::from_ref(&request),
        &[0],
        &model.hash()?,
        &[],
    );
    let after = reader.of_edited(delta.lay_over(&model)?, &[0])?;
    println!("before: {}", reader.continuation(&request.prompt, 8)?);
    println!("after:  {}", after.continuation(&request.prompt, 8)?);
    Ok(())
}
