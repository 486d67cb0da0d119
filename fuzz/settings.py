"""Small settings of the commands that write results, for kills.py and flips.py: each ends within seconds."""

import gzip
import json
import os
import pathlib
import random
import shutil
import subprocess

ROOT = pathlib.Path(__file__).resolve().parent.parent
MODEL = ROOT / "assets/models/pubmed-mini"
FACTS = ROOT / "assets/facts/epilepsy.toml"
# What of a manifest may differ between two runs of one command: as .ci/same_bytes.py.
VARYING = ("timing", "machine", "command", "out")
# No command of these takes longer; one that does hangs.
MOST_S = 300


def call(words, **more):
    return subprocess.run([str(w) for w in words], capture_output=True, text=True, timeout=MOST_S, **more)


def must(words, **more):
    done = call(words, **more)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(map(str, words))}: exit {done.returncode}\n{done.stderr}")
    return done


class Settings:
    """A command with its inputs; its results go to `place`, a folder that holds nothing else."""

    # Whether the same command line goes on with what was broken off; otherwise with --resume.
    plain_resume = True
    # Files under a place that work under way is kept in, as patterns; none for commands that begin anew.
    under_way = ()

    def __init__(self, engram, work, seed):
        self.engram, self.inputs = engram, pathlib.Path(work) / "inputs"
        self.inputs.mkdir(parents=True, exist_ok=True)
        self.random = random.Random(f"{seed} inputs")
        self.prepare()

    def prepare(self):
        pass

    def suite(self, pairs):
        path = self.inputs / "suite.jsonl"
        must([self.engram, "suite", "build", "--facts", FACTS, "--model", MODEL,
              "--max-pairs-per-kind", pairs, "--out", path])
        return path

    def texts(self, name, count):
        words = ["seizures", "phenytoin", "the", "of", "epilepsy", "in", "patients", "was", "with", "a", "dose", "EEG"]
        path = self.inputs / name
        with open(path, "w") as file:
            for number in range(count):
                text = " ".join(self.random.choices(words, k=60)) + "."
                file.write(json.dumps({"pmid": str(number + 1), "title": f"Text {number}", "abstract": text}) + "\n")
        return path

    def command(self, place, resume):
        words = self.words(place)
        return words + ["--resume"] if resume and not self.plain_resume else words

    def is_whole(self, place):
        """Whether a killed command had come to its end, so that there is nothing to go on with."""
        return False

    def resumes(self, place):
        """Whether there is something to go on with."""
        return True


class Patch(Settings):
    plain_resume = False
    under_way = ("out.partial.jsonl",)
    engine, sites, pairs = "staged", "resid_pre,mlp_out,head_out[0:2]", 4

    def prepare(self):
        self.file = self.suite(self.pairs)

    def words(self, place):
        return [self.engram, "patch", "--model", MODEL, "--suite", self.file, "--sites", self.sites, "--positions",
                "each", "--metric", "logit_diff,prob", "--engine", self.engine, "--out", place / "out"]


class Naive(Patch):
    engine, sites, pairs = "naive", "head_out.3,q.3,ln1_scale.3,ln_final_scale", 2


class Train(Settings):
    plain_resume = False
    under_way = ("out.partial/checkpoint.safetensors", "out.partial/metrics.jsonl")

    def prepare(self):
        self.files = [self.texts("train.jsonl", 12), self.texts("validation.jsonl", 4)]

    def words(self, place):
        sets = ["epochs=2", "learning_rate=1e-3", "warmup_steps=2", "batch_size=4", "accumulation=1", "max_length=32"]
        return [self.engram, "train", "--config", "config-1", "--base", MODEL, "--corpus", self.files[0],
                "--validation", self.files[1], "--checkpoint-every", "0", "--out", place / "out",
                *[word for setting in sets for word in ("--set", setting)]]


STUDY = """
title = "A study in seconds"
base = "{model}"
facts = "{facts}"
[corpus]
file = "{corpus}"
split = 0.25
[suite]
max_pairs_per_kind = 2
[train.tuned]
preset = "config-1"
[train.tuned.set]
epochs = 1
learning_rate = 1e-3
warmup_steps = 2
batch_size = 4
accumulation = 1
max_length = 32
max_steps = 3
[sweep.outputs]
models = ["base", "tuned"]
sites = ["resid_pre"]
metrics = ["logit_diff"]
[edit.tuned]
models = ["tuned"]
method = "ft-l"
layer = 0
facts = 1
[stats]
resamples = 200
permutations = 200
"""


class Run(Settings):
    under_way = ("out/*/*", "out/*/*/*", "out/*/*/*/*", "out/study.json")

    def prepare(self):
        self.file = self.inputs / "study.toml"
        self.file.write_text(STUDY.format(model=MODEL, facts=FACTS, corpus=self.texts("corpus.jsonl", 16)))

    def words(self, place):
        return [self.engram, "run", self.file, "--out", place / "out"]


class EditSweep(Settings):
    def prepare(self):
        self.file, self.corpus = self.suite(4), self.texts("corpus.jsonl", 60)

    def words(self, place):
        return [self.engram, "edit", "sweep", "--model", MODEL, "--suite", self.file, "--texts", self.corpus,
                "--layer", "0-1", "--most", "1", "--all-facts", "--set", "prefixes=1", "--set", "sample_tokens=2000",
                "--set", "steps=8", "--statistics", place / "statistics", "--out", place / "out"]

    under_way = ("statistics/*",)

    def is_whole(self, place):
        return (place / "out" / "manifest.json").exists()


class CorpusImport(Settings):
    def prepare(self):
        path = self.texts("corpus.jsonl", 120000)
        self.file = self.inputs / "corpus.jsonl.gz"
        with open(path, "rb") as plain, gzip.open(self.file, "wb", compresslevel=1) as packed:
            shutil.copyfileobj(plain, packed)

    def words(self, place):
        return [self.engram, "corpus", "import", self.file, "--out", place / "corpus.jsonl"]

    def is_whole(self, place):
        return (place / "corpus.jsonl").exists()


COMMANDS = {
    "patch": Patch,
    "patch-naive": Naive,
    "train": Train,
    "run": Run,
    "edit-sweep": EditSweep,
    "corpus-import": CorpusImport,
}


def content(path):
    if path.name != "manifest.json":
        return path.read_bytes()
    value = json.loads(path.read_text())
    return {key: part for key, part in value.items() if key not in VARYING}


def tree(place):
    """All files under a place by their relative names, hidden ones among them."""
    paths = (pathlib.Path(folder) / name for folder, _, names in os.walk(place) for name in names)
    return {str(path.relative_to(place)): path for path in paths}


def differences(place, whole):
    """How a place differs from that of an unbroken run: names of left-over, missing and differing files."""
    found, expected = tree(place), tree(whole)
    wrong = [f"left over: {name}" for name in sorted(found.keys() - expected.keys())]
    wrong += [f"missing: {name}" for name in sorted(expected.keys() - found.keys())]
    both = sorted(found.keys() & expected.keys())
    wrong += [f"differs: {name}" for name in both if content(found[name]) != content(expected[name])]
    folders = [str(f.relative_to(place)) for f in pathlib.Path(place).rglob(".engram-*") if f.is_dir()]
    return wrong + [f"left over: {folder}/" for folder in sorted(folders)]


def fresh(place):
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    return place
