"""Edits a minute here and elsewhere: ROME at a layer of GPT-2 small's shape, the covariance there already.

    python3 bench/peers/edit.py --engram target/release/engram

makes a virtual environment (requirements.txt), writes a random checkpoint and facts of numbered words, and edits
them in torch as the published code of Meng et al. (2022) does (a forward pass of whole prompts at each of 20 steps
over the prompt, 20 generated prefixes and the essence; the keys once; the inverse of the covariance there) and with
`engram edit sweep` alternately, on two threads, each in a process of its own: medians and their ratio. Engram's time
has the scoring of every edit in it, torch's has not.
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from sweep import HERE, in_environment, write_model

THREADS = 2
ASKED = 2.0
PREFIXES = [(10, 5), (10, 10)]
STEPS, RATE, CLAMP, KL, DECAY = 20, 0.5, 4.0, 0.0625, 0.5


def write_facts(folder, edits):
    """Facts of twelve words each, the subject's three from the third on; and texts."""
    draw = random.Random(0)
    words = lambda n: [f"t{draw.randrange(1, 50257)}" for _ in range(n)]
    relation = words(9)
    pairs = []
    for i in range(edits):
        subject, other = words(3), words(3)
        prompt = lambda of: " ".join(relation[:2] + of + relation[2:])
        pairs.append(
            {
                "id": f"fact/{i}", "kind": "definitional", "relation": "relation", "cluster": f"c{i}",
                "clean": prompt(subject), "corrupt": prompt(other), "subject": " ".join(subject),
                "corrupt_subject": " ".join(other), "answer": f" t{100 + i}", "foil": f" t{200 + i}",
            }
        )
    lines = lambda rows: "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "suite.jsonl").write_text(lines(pairs))
    texts = [{"pmid": None, "title": " ".join(words(20)), "abstract": " ".join(words(200))} for _ in range(20)]
    (folder / "texts.jsonl").write_text(lines(texts))
    return pairs


def torch_edits(folder, layer, edits):
    """Seconds of each edit in torch, the first left out; run in a process of its own."""
    import torch
    from transformers import GPT2LMHeadModel, PreTrainedTokenizerFast

    torch.set_num_threads(THREADS)
    torch.manual_seed(0)
    model = GPT2LMHeadModel.from_pretrained(folder).eval()
    model.requires_grad_(False)
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"), pad_token="t0")
    tokenizer.padding_side = "right"
    mlp = model.transformer.h[layer].mlp
    inverse = torch.eye(mlp.c_proj.weight.shape[0])
    prefixes = [""]
    for count, length in PREFIXES:
        start = torch.zeros((count, 1), dtype=torch.long)
        said = model.generate(
            start, attention_mask=torch.ones_like(start), max_new_tokens=length, min_new_tokens=length,
            do_sample=True, top_k=5, pad_token_id=0,
        )
        prefixes += [" ".join(f"t{i}" for i in row[1:].tolist()) + ". " for row in said]

    def last(text, subject):
        end = text.rfind(subject) + len(subject)
        offsets = tokenizer(text, return_offsets_mapping=True)["offset_mapping"]
        return sum(start < end for start, _ in offsets) - 1

    def edit(pair, target):
        subject, target = pair["subject"], tokenizer(target)["input_ids"]
        texts = [prefix + pair["clean"] for prefix in prefixes]
        essence = f"{subject} is a"
        batch = tokenizer(texts + [essence], return_tensors="pt", padding=True)
        places = [last(text, subject) for text in texts + [essence]]
        ends = batch["attention_mask"][:-1].sum(1) - 1
        keys = []
        hook = mlp.c_proj.register_forward_pre_hook(lambda module, inputs: keys.append(inputs[0]))
        model(**batch)
        hook.remove()
        keys = torch.stack([keys[0][i, place] for i, place in enumerate(places[:-1])])
        direction = inverse @ keys.mean(0)
        delta = torch.zeros(model.config.n_embd, requires_grad=True)
        adam = torch.optim.Adam([delta], lr=RATE)
        initial = original = None
        for step in range(STEPS):

            def add(module, inputs, out):
                nonlocal initial
                initial = out[0, places[0]].detach().clone() if initial is None else initial
                out = out.clone()
                for i, place in enumerate(places):
                    out[i, place] += delta
                return out

            hook = mlp.register_forward_hook(add)
            logits = model(**batch).logits
            hook.remove()
            said = torch.log_softmax(logits[-1, places[-1]], -1)
            original = said.detach().clone() if original is None else original
            kl = torch.nn.functional.kl_div(original, said, log_target=True, reduction="sum")
            answers = torch.log_softmax(logits[:-1], -1)[torch.arange(len(texts)), ends]
            loss = -answers[:, target[0]].mean() + KL * kl + DECAY * delta.norm() / initial.norm() ** 2
            if step == STEPS - 1:
                break
            adam.zero_grad()
            loss.backward()
            adam.step()
            with torch.no_grad():
                delta *= min(1.0, float(CLAMP * initial.norm() / delta.norm()))
        with torch.no_grad():
            return mlp.c_proj.weight + torch.outer(direction, delta / (direction @ keys[0]))

    pairs = [json.loads(line) for line in (folder / "suite.jsonl").read_text().splitlines()][:edits]
    seconds = []
    for i, pair in enumerate(pairs[:1] + pairs):
        start = time.perf_counter()
        edit(pair, pairs[(i + 1) % len(pairs)]["answer"])
        seconds.append(time.perf_counter() - start)
    print(json.dumps({"seconds": seconds[1:]}))


def main():
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "engram-peers"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--engram", type=Path, default=HERE.parents[1] / "target/release/engram")
    parser.add_argument("--venv", type=Path, default=cache / "venv")
    parser.add_argument("--work", type=Path, default=cache / "work")
    parser.add_argument("--repeats", type=int, default=3, help="processes of each side, alternating")
    parser.add_argument("--edits", type=int, default=3, help="edits of each process")
    parser.add_argument("--layer", type=int, default=6)
    parser.add_argument("--json", type=Path, help="also write the figures here")
    parser.add_argument("--torch", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    in_environment(args.venv.resolve(), __file__)
    folder = args.work / "edit"
    folder.mkdir(parents=True, exist_ok=True)
    if args.torch:
        return torch_edits(folder, args.layer, args.edits)
    write_model(folder, bos_token_id=0, eos_token_id=0)
    write_facts(folder, args.edits)
    theirs, ours = [], []
    with tempfile.TemporaryDirectory() as out:
        for repeat in range(args.repeats):
            command = [sys.executable, __file__, "--torch", "--venv", args.venv, "--work", args.work]
            command += ["--edits", args.edits, "--layer", args.layer]
            theirs += json.loads(run(command))["seconds"]
            command = [args.engram, "--threads", THREADS, "edit", "sweep", "--model", folder]
            command += ["--suite", folder / "suite.jsonl", "--texts", folder / "texts.jsonl"]
            command += ["--layer", args.layer, "--all-facts", "--set", "stop=0", "--statistics", f"{out}/statistics"]
            run(command + ["--out", f"{out}/{repeat}"])
            ours.append(60 / json.loads(Path(out, str(repeat), "manifest.json").read_text())["edits_per_minute"])
    their_s, our_s = statistics.median(theirs), statistics.median(ours)
    found = {
        "torch_edits_per_minute": 60 / their_s, "engram_edits_per_minute": 60 / our_s,
        "ratio": their_s / our_s, "asked": ASKED,
    }
    print(
        f"ROME, layer {args.layer}: {found['torch_edits_per_minute']:.2f} edits a minute in torch, "
        f"{found['engram_edits_per_minute']:.2f} in engram, {found['ratio']:.2f} × (asked {ASKED})"
    )
    if args.json:
        args.json.write_text(json.dumps(found, indent=1) + "\n")


def run(command):
    command = [str(c) for c in command]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


if __name__ == "__main__":
    main()
