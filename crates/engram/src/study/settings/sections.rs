//! The sections of a study file and their settings.

use engram_core::Field;
use toml::Table;

use super::Section;
use crate::study::{
    CorpusSource, Edit, FetchSource, Published, Study, StudySweep, SuiteSource, Training,
};

fn reads<T: serde::de::DeserializeOwned>(table: Table) -> Result<(), toml::de::Error> {
    table.try_into::<T>().map(drop)
}

const fn f(name: &'static str, meaning: &'static str, example: &'static str) -> Field {
    Field::new(name, meaning, example)
}

/// The sections, but for `train.NAME.set` and `edit.NAME.set`, whose settings are those of a training and an edit.
pub(super) const SECTIONS: [Section; 10] = [
    Section {
        path: &[],
        settings: &[
            f(
                "title",
                "what the study asks",
                "title = \"Where are capitals kept?\"",
            ),
            f(
                "seed",
                "seed of splits, pairing and statistics",
                "seed = 42",
            ),
            f(
                "base",
                "the model: a checkpoint's folder, a GGUF file, or org/name",
                "base = \"models/gpt2\"",
            ),
            f(
                "bos",
                "whether texts begin with the tokenizer's special tokens: auto, always, never",
                "bos = \"auto\"",
            ),
            f(
                "random",
                "whether a model with random weights may be asked too",
                "random = true",
            ),
            f(
                "facts",
                "the fact table that suite and texts are made from",
                "facts = \"facts.toml\"",
            ),
            f("corpus", "the section of the training texts", "[corpus]"),
            f("suite", "the section of the pairs", "[suite]"),
            f(
                "train",
                "the sections of the fine-tuned models",
                "[train.NAME]",
            ),
            f("sweep", "the sections of what is patched", "[sweep.NAME]"),
            f("edit", "the sections of the edits", "[edit.NAME]"),
            f("paper", "the section of the published protocol", "[paper]"),
            f("stats", "the section of the tests", "[stats]"),
        ],
        required: &["title", "base", "sweep"],
        read: reads::<Study>,
    },
    Section {
        path: &["corpus"],
        settings: &[
            f("file", "a corpus of texts", "file = \"abstracts.jsonl\""),
            f(
                "fetch",
                "the section of abstracts fetched from PubMed",
                "[corpus.fetch]",
            ),
            f(
                "split",
                "the share of file or fetch held out for validation",
                "split = 0.2",
            ),
            f(
                "keep_retracted",
                "whether retracted articles are trained on too",
                "keep_retracted = true",
            ),
            f(
                "write",
                "the section of texts written from the fact table",
                "[corpus.write]",
            ),
            f(
                "terms",
                "the terms whose mentions are counted",
                "terms = [\"seizure\"]",
            ),
        ],
        required: &[],
        read: reads::<CorpusSource>,
    },
    Section {
        path: &["corpus", "fetch"],
        settings: &[
            f(
                "query",
                "the query, as PubMed's search field takes it",
                "query = \"epilepsy AND EEG\"",
            ),
            f(
                "most",
                "how many abstracts, the first that PubMed gives",
                "most = 1000",
            ),
            f(
                "from",
                "the first day of publication: YYYY, YYYY-MM or YYYY-MM-DD",
                "from = \"2015\"",
            ),
            f("to", "the last day of publication", "to = \"2025-03-31\""),
            f(
                "email",
                "your address, which NCBI asks for",
                "email = \"you@example.org\"",
            ),
            f(
                "api_key",
                "NCBI's API key; the variable NCBI_API_KEY by default",
                "api_key = \"0123\"",
            ),
            f(
                "base_url",
                "the address of the E-utilities",
                "base_url = \"https://eutils.ncbi.nlm.nih.gov/entrez/eutils\"",
            ),
        ],
        required: &["query", "most"],
        read: reads::<FetchSource>,
    },
    Section {
        path: &["corpus", "write"],
        settings: &[
            f(
                "exposures",
                "how often a fact is stated in the training texts",
                "exposures = 20",
            ),
            f("wordings", "in how many wordings", "wordings = 5"),
            f(
                "validation_exposures",
                "how often a fact is stated in the validation texts",
                "validation_exposures = 1",
            ),
            f(
                "facts_per_text",
                "least and most facts of a text",
                "facts_per_text = [6, 10]",
            ),
            f(
                "max_tokens",
                "the most tokens of a text",
                "max_tokens = 256",
            ),
            f("seed", "seed of every choice", "seed = 42"),
        ],
        required: &[],
        read: reads::<engram_corpus::WriteSettings>,
    },
    Section {
        path: &["suite"],
        settings: &[
            f(
                "file",
                "a suite (JSONL, CSV or .xlsx)",
                "file = \"suite.jsonl\"",
            ),
            f(
                "counterfact",
                "a file of CounterFact",
                "counterfact = \"counterfact.json\"",
            ),
            f(
                "max_pairs_per_kind",
                "the most pairs of a kind (0: no limit)",
                "max_pairs_per_kind = 60",
            ),
        ],
        required: &[],
        read: reads::<SuiteSource>,
    },
    Section {
        path: &["train", "*"],
        settings: &[
            f(
                "preset",
                "the preset: config-1 or config-2",
                "preset = \"config-1\"",
            ),
            f(
                "set",
                "the section of settings that differ from the preset",
                "[train.NAME.set]",
            ),
            f(
                "why",
                "the section of reasons, by setting",
                "[train.NAME.why]",
            ),
            f(
                "seeds",
                "further seeds, each a model of its own",
                "seeds = [7, 8]",
            ),
        ],
        required: &["preset"],
        read: reads::<Training>,
    },
    Section {
        path: &["sweep", "*"],
        settings: &[
            f(
                "models",
                "the models: base, random, or a name under train",
                "models = [\"base\"]",
            ),
            f(
                "sites",
                "the sites that are patched, by any of their names",
                "sites = [\"resid_pre\"]",
            ),
            f(
                "positions",
                "where they are patched: each, all, last, subject",
                "positions = \"all\"",
            ),
            f(
                "direction",
                "which run is written into: denoise or noise",
                "direction = \"denoise\"",
            ),
            f(
                "corruption",
                "what the corrupted run is: swap, gaussian:K, resample, zero, mean",
                "corruption = \"swap\"",
            ),
            f("window", "how many layers a cell covers", "window = 1"),
            f(
                "known",
                "whether only pairs that the model prefers are patched",
                "known = false",
            ),
            f(
                "metrics",
                "what is measured; logit_diff is one of them",
                "metrics = [\"logit_diff\"]",
            ),
        ],
        required: &["models", "sites"],
        read: reads::<StudySweep>,
    },
    Section {
        path: &["edit", "*"],
        settings: &[
            f(
                "models",
                "the models: base, random, or a name under train",
                "models = [\"base\"]",
            ),
            f(
                "method",
                "r-rome, rome, memit, alphaedit, ft-l or lora",
                "method = \"r-rome\"",
            ),
            f(
                "layer",
                "the layers: N, \"N-M\", \"all\" or \"auto\"",
                "layer = \"auto\"",
            ),
            f(
                "facts",
                "the most facts of a kind (0: no limit)",
                "facts = 6",
            ),
            f(
                "set",
                "the section of settings that differ from the method's",
                "[edit.NAME.set]",
            ),
            f(
                "texts",
                "corpora whose keys the edits leave alone",
                "texts = [\"abstracts.jsonl\"]",
            ),
            f(
                "side_effects",
                "whether every other fact is measured after every edit",
                "side_effects = true",
            ),
            f(
                "held_out_tokens",
                "tokens of validation texts whose perplexity is measured (0: none)",
                "held_out_tokens = 200",
            ),
            f(
                "fluency",
                "continuations whose fluency is measured (0: none)",
                "fluency = 10",
            ),
        ],
        required: &["models", "layer"],
        read: reads::<Edit>,
    },
    Section {
        path: &["paper"],
        settings: &[
            f(
                "models",
                "the models: base, random, or a name under train",
                "models = [\"base\"]",
            ),
            f(
                "questions",
                "questions with a correct and a corrupted answer",
                "questions = \"questions.toml\"",
            ),
            f(
                "pairs",
                "how many pairs are made from the fact table, half of each kind",
                "pairs = 12",
            ),
        ],
        required: &["models"],
        read: reads::<Published>,
    },
    Section {
        path: &["stats"],
        settings: &[
            f(
                "eligible_gap",
                "the least clean - corrupt logit difference of a pair that is tested",
                "eligible_gap = 0.5",
            ),
            f("resamples", "bootstrap resamples", "resamples = 2000"),
            f(
                "permutations",
                "random permutations of a test",
                "permutations = 10000",
            ),
            f("level", "the confidence level", "level = 0.95"),
            f("seed", "seed of what is drawn", "seed = 1"),
        ],
        required: &[],
        read: reads::<engram_findings::Settings>,
    },
];
