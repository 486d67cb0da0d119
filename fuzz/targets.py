"""What is mutated, and the commands that read it.

`Parser` names a format; `Input` is one real file of it with what lies beside it and the command that reads it. All are made
by engram itself from small texts, or are fixtures of the project.
"""

import dataclasses
import json
import os
import pathlib
import shutil
import signal
import subprocess
import time
import tomllib

from formats import gguf, json_tree, packed, parquet, safetensors, text, tokenizer

ROOT = pathlib.Path(__file__).resolve().parent.parent
FIXTURES = ROOT / "fixtures"
SEEDS = pathlib.Path(__file__).resolve().parent / "seeds"


@dataclasses.dataclass
class Input:
    """`file` is mutated within a copy of `folder`, in which `command` runs; {base} in it is the folder of made inputs.

    A refusal names one of `names` (the file's name by default). `same` are files that a run with exit 0 must end with as
    the unmutated run does, to the byte. `asks` gives the bytes that the file rightly asks for.
    """

    folder: pathlib.Path
    file: str
    command: list
    names: list = dataclasses.field(default_factory=list)
    same: list = dataclasses.field(default_factory=list)
    asks: object = lambda data: 0

    def allowed(self):
        return self.names or [pathlib.PurePath(self.file).name]


@dataclasses.dataclass
class Parser:
    name: str
    mutate: object
    inputs: list


PLACES = [
    ("France", "Paris"), ("Italy", "Rome"), ("Spain", "Madrid"), ("Greece", "Athens"), ("Egypt", "Cairo"), ("Peru", "Lima"),
    ("Cuba", "Havana"), ("Chad", "Ndjamena"),
]

RECIPE = """[model]
layers = 2
heads = 2
d_model = 16
context = 64
[tokenizer]
vocabulary = 420
[train]
epochs = 2
patience = 2
learning_rate = 1e-2
warmup_steps = 2
weight_decay = 0.1
batch_size = 4
accumulation = 1
max_length = 48
precision = "fp32"
max_grad_norm = 1.0
dropout = 0.0
seed = 3
sequences = "chunk"
pad_loss = false
"""

FACTS = """# Capitals and continents.
[[relation]]
name = "capital"
kind = "definitional"
question = "What is the capital of {{subject}}?"
frames = [
  "The capital of {{subject}} is {{answer}}.",
  "In {{subject}}, the seat of government is {{answer}}.",
  "People of {{subject}} often visit {{answer}}.",
  "{{answer}} is the capital of {{subject}}.",
  "The government of {{subject}} sits in {{answer}}.",
  "Maps of {{subject}} mark its capital, {{answer}}.",
  "Of all towns of {{subject}}, the capital is {{answer}}.",
]
held_back = ["Travellers to {{subject}} look for {{answer}}.", "The capital city of {{subject}} is {{answer}}."]
cloze = ["The capital of {{subject}} is", "In {{subject}}, the seat of government is", "People of {{subject}} often visit",
  "Travellers to {{subject}} look for", "The capital city of {{subject}} is"]
facts = [
{capitals}
]

[[relation]]
name = "drink"
kind = "associative"
question = "What do people of {{subject}} drink?"
frames = [
  "People of {{subject}} often drink {{answer}}.",
  "In {{subject}}, many cups are filled with {{answer}}.",
  "The drink of {{subject}} is {{answer}}.",
  "{{answer}} is drunk in {{subject}}.",
  "A guest in {{subject}} is given {{answer}}.",
  "Each morning, {{subject}} wakes up with {{answer}}.",
  "Farmers of {{subject}} make {{answer}}.",
]
held_back = ["With meals in {{subject}} there is {{answer}}.", "Shops of {{subject}} sell {{answer}}."]
cloze = ["People of {{subject}} often drink", "The drink of {{subject}} is", "A guest in {{subject}} is given",
  "With meals in {{subject}} there is", "Shops of {{subject}} sell"]
facts = [
{drinks}
]
"""

STUDY = """title = "A small study"
seed = 1
base = "{base}/model"

[corpus]
file = "corpus.jsonl"
split = 0.25
terms = ["France"]

[suite]
file = "suite.jsonl"

[train.config-1]
preset = "config-1"
[train.config-1.set]
epochs = 1
learning_rate = 1e-3
warmup_steps = 1
batch_size = 2
accumulation = 2
max_length = 32
dropout = 0.0
precision = "fp32"
[train.config-1.why]
epochs = "small"

[sweep.residual]
models = ["base", "config-1"]
sites = ["resid_pre"]
positions = "each"
metrics = ["logit_diff"]

[stats]
resamples = 200
"""

# A study's section that reads questions, which are checked before any stage.
ASKED = """
[paper]
models = ["base"]
questions = "questions.toml"
"""


def abstracts():
    """Records of a corpus."""
    for i in range(3):
        for n, (a, b) in enumerate(PLACES):
            yield {
                "pmid": str(100 * i + n + 1), "title": f"On {a}, part {i}.",
                "abstract": f"The capital of {a} is {b}. In {b}, people of {a} speak of it {i} times. They drink tea & milk.",
                "journal": "Geography", "keywords": ["capital", a], "year": 2000 + i, "url": "https://example.org/1",
            }


def pairs():
    """Pairs of a suite that any tokenizer takes, with every optional field in some of them."""
    for i, (c, d) in enumerate(PLACES[1:]):
        pair = {
            "id": f"p{i}", "kind": "definitional" if i % 2 else "associative", "clean": f"{i} is of it, part",
            "corrupt": f"{i + 1} is of it, part", "answer": " is", "foil": " of",
        }
        if i % 3 == 0:
            pair |= {"subject": f"{i}", "corrupt_subject": f"{i + 1}", "relation": "part", "template": "{} is of it, part", "fact": f"f{i}"}
            pair |= {"foil_fact": f"g{i}", "cluster": f"k{i % 2}", "source": "a list"}
            pair["paraphrases"] = [{"clean": f"{i}, part of it", "corrupt": f"{i + 1}, part of it"}]
            pair["neighbours"] = [{"prompt": f"The capital of {c} is", "answer": f" {d}"}]
        if i % 3 == 1:
            pair = {
                "id": f"p{i}", "kind": "definitional", "clean_ids": [3, 4, 5, 6 + i], "corrupt_ids": [3, 4, 7, 6 + i],
                "answer_ids": [9], "foil_ids": [10],
            }
        yield pair


def published_questions():
    """Questions whose two answers are the same words in another order, so that they have as many tokens under any tokenizer."""
    for i, ((a, b), (c, _)) in enumerate(zip(PLACES, PLACES[1:])):
        kind = "definitional" if i % 2 else "associative"
        yield (
            f'[[question]]\nid = "q{i}"\nkind = "{kind}"\nrelation = "capital"\nquestion = "What is {b}?"\n'
            f'answer = "It is of {a} not {c}."\ncorrupted = "It is of {c} not {a}."\nsource = "a list"\n'
        )


def counterfacts():
    for i, ((a, b), (c, d)) in enumerate(zip(PLACES, PLACES[1:])):
        yield {
            "case_id": i, "requested_rewrite": {
                "prompt": "The capital of {} is", "subject": a, "relation_id": "P36", "target_new": {"str": d, "id": "Q1"},
                "target_true": {"str": b, "id": "Q2"},
            },
            "paraphrase_prompts": [f"Of {a}, the capital is"], "neighborhood_prompts": [f"The capital of {c} is"],
        }


PUBMED = """<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE PubmedArticleSet PUBLIC "-//NLM//DTD PubMedArticle, 1st January 2024//EN" "https://dtd.nlm.nih.gov/ncbi/pubmed/out/pubmed_240101.dtd">
<PubmedArticleSet>
{articles}<DeleteCitation><PMID Version="1">999</PMID></DeleteCitation>
</PubmedArticleSet>
"""

ARTICLE = """<PubmedArticle><MedlineCitation Status="MEDLINE" Owner="NLM"><PMID Version="1">{pmid}</PMID>
<DateRevised><Year>2020</Year><Month>01</Month><Day>02</Day></DateRevised>
<Article PubModel="Print"><Journal><ISSN IssnType="Print">0000-0000</ISSN><JournalIssue CitedMedium="Print"><Volume>1</Volume>
<PubDate><Year>{year}</Year><Month>Jan</Month></PubDate></JournalIssue><Title>{journal}</Title></Journal>
<ArticleTitle>{title} <i>In vivo</i></ArticleTitle><Abstract><AbstractText Label="AIMS" NlmCategory="OBJECTIVE">{abstract} 10<sup>-3</sup>
</AbstractText><AbstractText>Second &#945; part.</AbstractText></Abstract><Language>eng</Language>
<PublicationTypeList><PublicationType UI="D016428">Journal Article</PublicationType></PublicationTypeList>
<VernacularTitle>Titre</VernacularTitle></Article>
<KeywordList Owner="NOTNLM"><Keyword MajorTopicYN="N">capital</Keyword></KeywordList></MedlineCitation></PubmedArticle>
"""


class Bench:
    """Makes the inputs with the program under test."""

    def __init__(self, engram, base):
        self.engram, self.base = str(engram), base

    def run(self, *arguments, cwd=None, check=True):
        done = subprocess.run(
            [self.engram, "--threads", "1", *map(str, arguments)], cwd=cwd or self.base, capture_output=True, text=True
        )
        if check and done.returncode != 0:
            raise SystemExit(f"cannot make the inputs: engram {' '.join(map(str, arguments))}: {done.stderr.strip()}")
        return done

    def folder(self, name, files):
        """A folder with texts, bytes or copies of files."""
        to = self.base / name
        to.mkdir(parents=True, exist_ok=True)
        for file, content in files.items():
            if isinstance(content, pathlib.Path):
                shutil.copy(content, to / file)
            else:
                (to / file).write_bytes(content.encode() if isinstance(content, str) else content)
        return to

    def broken_off(self, cwd, arguments, grown):
        """Kills a run as soon as `grown` says that it has left enough."""
        for _ in range(20):
            child = subprocess.Popen(
                [self.engram, "--threads", "1", *map(str, arguments)], cwd=cwd, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            while child.poll() is None and not grown():
                time.sleep(0.0005)
            if child.poll() is None:
                child.send_signal(signal.SIGKILL)
                child.wait()
                if grown():
                    return True
        return False


def lines(records):
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)


def corpora(bench):
    """The corpus formats: all through `corpus import`."""
    records = list(abstracts())[:10]
    columns = ["pmid", "title", "abstract", "journal", "year"]
    rows = [columns] + [[str(r[c]) for c in columns] for r in records]
    quoted = "\n".join(",".join('"' + cell.replace('"', '""') + '"' for cell in row) for row in rows) + "\n"
    flat = [r | {"abstract": r["abstract"].replace("&", "&amp;")} for r in records]
    xml = PUBMED.format(articles="".join(ARTICLE.format(**r) for r in flat))
    medline = "".join(
        f"\nPMID- {r['pmid']}\nDP  - {r['year']} Jan\nTI  - {r['title']}\nAB  - {r['abstract'][:40]}\n      {r['abstract'][40:]}\n"
        f"JT  - {r['journal']}\nOT  - capital\n" for r in records
    )
    ris = "".join(f"TY  - JOUR\nTI  - {r['title']}\nAB  - {r['abstract']}\nPY  - {r['year']}\nER  - \n\n" for r in records)
    files = {
        "pubmed.xml": xml, "medline.nbib": medline, "list.ris": ris, "table.csv": quoted, "records.jsonl": lines(records),
        "sheet.xlsx": packed.workbook(rows), "records.jsonl.gz": packed.member(lines(records).encode()),
        "pubmed.xml.gz": packed.member(xml.encode()), "table.csv.gz": packed.member(quoted.encode()),
    }
    files |= {path.name: path for path in sorted(SEEDS.glob("*.parquet"))}
    made = bench.folder("corpora", files)
    one = lambda file: Input(bench.folder(f"corpus-{file}", {file: made / file}), file, ["corpus", "import", file, "--out", "out.jsonl"])
    accepted = lambda file: bench.run("corpus", "import", file, "--out", bench.base / f"try-{file}.jsonl", cwd=made, check=False).returncode == 0
    tables = [file for file in ["list.ris"] if accepted(file)]
    return [
        Parser("pubmed", text.xml, [one("pubmed.xml")]),
        Parser("medline", text.tagged, [one(file) for file in ["medline.nbib", *tables]]),
        Parser("csv", text.table, [one("table.csv")]),
        Parser("jsonl", json_tree.mutate_lines, [one("records.jsonl")]),
        Parser("parquet", parquet.mutate, [one(path.name) for path in sorted(SEEDS.glob("*.parquet")) if accepted(path.name)]),
        Parser("xlsx", packed.xlsx, [one("sheet.xlsx")]),
        Parser("gzip-jsonl", packed.gzipped(json_tree.mutate_lines), [one("records.jsonl.gz")]),
        Parser("gzip-xml", packed.gzipped(text.xml), [one("pubmed.xml.gz")]),
        Parser("gzip-csv", packed.gzipped(text.table), [one("table.csv.gz")]),
    ]


def models(bench):
    """Checkpoints: weights, configurations, tokenizers, GGUF."""
    model = bench.base / "model"
    logits = ["model", "logits", "--ids", "1,2,3", "--out", "out.safetensors", "--model"]
    ask = ["--json", "model", "ask", "--top", "3", "--prompt", "The capital of France is", "--model"]
    kept = {f: model / f for f in ["config.json", "model.safetensors", "tokenizer.json"]}

    def family(name):
        files = {p.name: p for p in (FIXTURES / "families" / name).iterdir() if not p.name.startswith("expected")}
        if "tokenizer.json" not in files:
            files["tokenizer.json"] = tokenizer.numbers(json.loads(files["config.json"].read_text())["vocab_size"])
        return bench.folder(f"families/{name}/m", files).parent

    families = [family(n) for n in ["gpt_neox", "llama_llama3", "gemma3", "qwen3", "gpt_neo", "mistral_window"]]
    own = bench.folder("own/m", kept).parent
    weights = [Input(f, "m/model.safetensors", logits + ["m"]) for f in [own, *families]]
    # What a configuration says and the weights do not have is told by either name.
    both = ["config.json", "model.safetensors"]
    configs = [Input(f, "m/config.json", logits + ["m"], names=both) for f in [own, *families]]
    sharded = family("llama_sharded")
    index = [Input(sharded, "m/model.safetensors.index.json", logits + ["m"])]
    whole = {p.name: p for p in sorted((FIXTURES / "families_gguf").glob("*.gguf"))}
    ggufs = [Input(bench.folder(f"gguf/{n}", {n: p}), n, logits + [n]) for n, p in whole.items()]
    parts = gguf.split(whole["qwen3.gguf"].read_bytes(), 3)
    names = [f"part-{i + 1:05}-of-00003.gguf" for i in range(3)]
    split = bench.folder("split", dict(zip(names, parts)))
    splits = [Input(split, name, logits + [names[0]], names=names) for name in names]
    tokenizers = []
    for name, content in tokenizer.variants((model / "tokenizer.json").read_bytes()).items():
        folder = bench.folder(f"tokenizer/{name}/m", kept | {"tokenizer.json": content}).parent
        tokenizers.append(Input(folder, "m/tokenizer.json", ask + ["m"]))
    vocabulary, merges = tokenizer.vocabulary((model / "tokenizer.json").read_bytes())
    plain = kept | {"vocab.json": vocabulary, "merges.txt": merges}
    del plain["tokenizer.json"]
    old = bench.folder("vocabulary/m", plain).parent
    about = bench.folder("tokenizer-config/m", kept | {"tokenizer_config.json": tokenizer.CONFIG}).parent
    added = bench.folder("added-tokens/m", plain | {"added_tokens.json": '{"<|endoftext|>": 0}'}).parent
    aside = ["m/tokenizer_config.json", *(["m/added_tokens.json"])]
    return [
        Parser("safetensors", safetensors.mutate, weights),
        Parser("shard-index", json_tree.mutate, index),
        Parser("gguf", gguf.mutate, ggufs),
        Parser("gguf-split", gguf.mutate, splits),
        Parser("config", json_tree.mutate, configs),
        Parser("tokenizer", tokenizer.mutate, tokenizers),
        Parser("vocab", json_tree.mutate, [Input(old, "m/vocab.json", ask + ["m"])]),
        Parser("merges", text.merges, [Input(old, "m/merges.txt", ask + ["m"])]),
        Parser("tokenizer-config", json_tree.mutate, [Input(about, aside[0], ask + ["m"]), Input(added, aside[1], ask + ["m"])]),
    ]


def new_model(recipe):
    """Bytes of the weights of the model that a recipe asks for; 0 where it cannot be read."""
    try:
        asked = tomllib.loads(recipe.decode())
        model, vocabulary = asked["model"], asked["tokenizer"]["vocabulary"]
        width = model["d_model"]
        asked = 4 * width * (12 * width * model["layers"] + vocabulary + model["context"])
        return asked if 0 < asked < 1 << 40 else 0
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, KeyError, TypeError, OverflowError):
        return 0


def questions(bench):
    """Suites, fact tables, CounterFact, studies, questions of the published form, recipes."""
    suite = bench.folder("suite", {"suite.jsonl": lines(pairs())})
    capitals = "\n".join(f'  {{ subject = "{a}", answer = "{b}", also = [], source = "list" }},' for a, b in PLACES)
    drinks = ["tea", "milk", "water", "wine"]
    drunk = "\n".join(f'  {{ subject = "{a}", answer = "{drinks[i % 4]}", also = ["{drinks[(i + 1) % 4]}"], source = "list" }},' for i, (a, _) in enumerate(PLACES))
    facts = bench.folder("facts", {"facts.toml": FACTS.format(capitals=capitals, drinks=drunk)})
    counterfact = bench.folder("counterfact", {"counterfact.json": json.dumps(list(counterfacts()))})
    recipe = bench.folder("recipe", {"recipe.toml": RECIPE, "corpus.jsonl": lines(abstracts())})
    study = bench.folder(
        "study", {"study.toml": STUDY.replace("{base}", str(bench.base)), "corpus.jsonl": lines(abstracts()), "suite.jsonl": lines(list(pairs())[::3])}
    )
    published = bench.folder(
        "published", {"study.toml": STUDY.replace("{base}", str(bench.base)) + ASKED, "corpus.jsonl": lines(abstracts()), "suite.jsonl": lines(list(pairs())[::3]), "questions.toml": "\n".join(published_questions())}
    )
    model = ["--model", "{base}/model"]
    sweep = ["patch", "--suite", "suite.jsonl", *model, "--sites", "resid_pre,attn_out", "--positions"]
    return [
        Parser(
            "suite", json_tree.mutate_lines, [
                Input(suite, "suite.jsonl", command) for command in [
                    ["suite", "check", "suite.jsonl", *model], ["suite", "show", "suite.jsonl", *model],
                    [*sweep, "each", "--plan-only"], [*sweep, "all", "--out", "out", "--skip-unfit"],
                ]
            ],
        ),
        Parser("facts", text.toml, [
            Input(facts, "facts.toml", ["suite", "build", "--facts", "facts.toml", *model, "--out", "out.jsonl"]),
            Input(facts, "facts.toml", ["corpus", "write", "--facts", "facts.toml", *model, "--out", "out"]),
        ]),
        Parser("counterfact", json_tree.mutate, [
            Input(counterfact, "counterfact.json", ["suite", "build", "--counterfact", "counterfact.json", *model, "--out", "out.jsonl"]),
        ]),
        Parser("study", text.toml, [Input(study, "study.toml", ["run", "study.toml", "--out", "out"])]),
        Parser("questions", text.toml, [Input(published, "questions.toml", ["run", "study.toml", "--out", "out", "--until", "corpus"])]),
        Parser("recipe", text.toml, [
            Input(recipe, "recipe.toml", ["train", "--from-scratch", "recipe.toml", "--corpus", "corpus.jsonl", "--out", "out", "--dry-run"], asks=new_model),
        ]),
    ]


def results(bench):
    """What engram wrote itself: results, stages, journals, checkpoints, edits."""
    model, base = bench.base / "model", bench.base
    suite = bench.folder("suite", {"suite.jsonl": lines(pairs())})
    sweep = ["patch", "--model", "{base}/model", "--suite", "suite.jsonl", "--sites", "resid_pre,attn_out", "--positions", "each"]
    here = lambda command: [part.replace("{base}", str(base)) for part in command]
    result = base / "result"
    bench.run(*here(sweep), "--out", result / "r", cwd=suite)
    stats = [["stats", "r"], ["report", "r"]]
    parsers = [
        Parser("manifest", json_tree.mutate, [Input(result, "r/manifest.json", c) for c in stats]),
        Parser("result-parquet", parquet.mutate, [Input(result, "r/patch.parquet", c) for c in stats]),
    ]
    bench.run("run", "study.toml", "--out", "out", cwd=base / "study")
    run = base / "run"
    shutil.copytree(base / "study", run)
    shutil.rmtree(base / "study" / "out")
    again = ["run", "study.toml", "--out", "out"]
    stages = sorted(p.relative_to(run) for p in run.rglob("stage.json"))
    parsers.append(Parser("stage", json_tree.mutate, [Input(run, str(p), again) for p in stages]))
    record = sorted(p.relative_to(run) for p in run.rglob("training.json"))
    parsers.append(Parser("training-record", json_tree.mutate, [Input(run, str(record[0]), ["report", "out"])]))
    parsers += under_way(bench, sweep, here, result) + edits(bench)
    return parsers


def under_way(bench, sweep, here, result):
    """A sweep's journal and a training's checkpoint, each of a run that was killed."""
    found = []
    folder = bench.folder("journal", {"suite.jsonl": lines(pairs())})
    journal = folder / "out.partial.jsonl"
    slow = [*sweep, "--engine", "naive", "--out", "out"]
    grown = lambda: journal.exists() and journal.read_bytes().count(b"\n") > 3
    if bench.broken_off(folder, here(slow), grown):
        whole = bench.folder("journal-whole", {"suite.jsonl": lines(pairs())})
        bench.run(*here(slow), cwd=whole)
        found.append(Parser("journal", json_tree.mutate_lines, [Input(folder, journal.name, [*slow, "--resume"], names=[journal.name, "out"], same=["out/patch.parquet"])]))
    del result
    folder = bench.folder("checkpoint", {"recipe.toml": RECIPE.replace("epochs = 2", "epochs = 8"), "corpus.jsonl": lines(abstracts())})
    train = ["train", "--from-scratch", "recipe.toml", "--corpus", "corpus.jsonl", "--out", "out", "--checkpoint-every", "0", "--resume"]
    checkpoint = folder / "out.partial" / "checkpoint.safetensors"
    metrics = folder / "out.partial" / "metrics.jsonl"
    grown = lambda: checkpoint.exists() and metrics.exists() and metrics.read_bytes().count(b"\n") > 12
    if bench.broken_off(folder, train, grown):
        found.append(Parser("checkpoint", safetensors.mutate, [Input(folder, "out.partial/checkpoint.safetensors", train, same=["out/model.safetensors"])]))
    return found


def edits(bench):
    """Deltas and the folders that lay them over a checkpoint."""
    folder = bench.folder("edit", {"texts.jsonl": lines(abstracts())})
    about = ["--prompt", "The capital of France is", "--subject", "France", "--to", "Rome", "--from", "Paris"]
    # Two steps are too few for the edit to hold.
    how = ["--model", bench.base / "model", "--layer", "0", "--set", "steps=2", "--force"]
    rome = ["--set", "prefixes=1", "--set", "sample_tokens=500", "--texts", "texts.jsonl", "--statistics", "statistics"]
    bench.run("edit", "request", *how, *rome, *about, "--out", "rome.safetensors", cwd=folder)
    bench.run("edit", "request", *how, "--method", "ft-l", *about, "--out", "dense.safetensors", cwd=folder)
    bench.run("edit", "apply", "--model", bench.base / "model", "rome.safetensors", "--out", "laid", cwd=folder)
    logits = ["model", "logits", "--model", "laid", "--ids", "1,2,3", "--out", "out.safetensors"]
    deltas = []
    for name in ["rome.safetensors", "dense.safetensors"]:
        alone = bench.folder(f"delta-{name}", {name: folder / name})
        deltas.append(Input(alone, name, ["edit", "show", name]))
        deltas.append(Input(alone, name, ["edit", "apply", "--model", "{base}/model", name, "--out", "laid"]))
    laid = bench.base / "laid"
    shutil.copytree(folder / "laid", laid / "laid")
    asked = {"id": "f", "prompt": about[1], "subject": about[3], "to": about[5], "from": about[7], "paraphrases": ["France has the capital"], "neighbours": [{"prompt": "The capital of Spain is", "answer": "Madrid"}]}
    other = {"prompt": "The capital of Chad is", "subject": "Chad", "to": "Lima"}
    (laid / "list.jsonl").write_text("".join(json.dumps(edit) + "\n" for edit in [asked, other]))
    (laid / "list.csv").write_text('id,prompt,subject,to,from,paraphrases,neighbours\nf,The capital of France is,France,Rome,Paris,France has the capital|In France it is,"[{""prompt"":""The capital of Spain is"",""answer"":""Madrid""}]"\n')
    score = lambda name: Input(laid, name, ["edit", "score", "laid", "--file", name])
    inside = sorted(p.name for p in (laid / "laid").glob("*.safetensors"))
    statistics = sorted(p.relative_to(folder) for p in (folder / "statistics").rglob("*.safetensors"))
    request = ["edit", "request", *[str(a).replace(str(bench.base), "{base}") for a in how], *rome, *about, "--out", "out.safetensors"]
    found = [
        Parser("delta", safetensors.mutate, deltas),
        Parser("delta-laid", safetensors.mutate, [Input(laid, f"laid/{name}", logits) for name in inside]),
        Parser("edit-list", json_tree.mutate_lines, [score("list.jsonl")]),
        Parser("edit-table", text.table, [score("list.csv")]),
        Parser("edits", json_tree.mutate, [Input(laid, "laid/edits.json", c) for c in [logits, ["edit", "list", "laid"]]]),
    ]
    if statistics:
        found.append(Parser("covariance", safetensors.mutate, [Input(folder, str(statistics[0]), request)]))
    return found


def make(engram, base):
    """All parsers with their inputs, made in `base`."""
    bench = Bench(engram, base)
    first = bench.folder("first", {"recipe.toml": RECIPE, "corpus.jsonl": lines(abstracts())})
    bench.run("train", "--from-scratch", "recipe.toml", "--corpus", "corpus.jsonl", "--out", base / "model", cwd=first)
    os.environ["XDG_CACHE_HOME"] = str(base / "cache")
    return corpora(bench) + models(bench) + questions(bench) + results(bench)
