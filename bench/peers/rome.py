"""Edits a minute of ROME's published recipe in PyTorch: GPT-2 small's shape with random weights, the covariance there.

    python bench/peers/rome.py MODEL [--edits 3] [--layer 6] [--threads 2]

MODEL is a checkpoint in the shape of GPT-2 (`--make` writes one with random weights and the tokenizer of
assets/models/pubmed-mini). Each edit does what rome/compute_u.py and compute_v.py do: keys of 21 prompts, 20
evaluations of the loss over 21 prompts and the essence, a solve, the update. `engram edit sweep --all-facts` of the
same model, layer and facts is its counterpart.
"""

import argparse
import json
import pathlib
import shutil
import time

import torch
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

ROOT = pathlib.Path(__file__).parents[2]
parser = argparse.ArgumentParser()
parser.add_argument("model", type=pathlib.Path)
parser.add_argument("--make", action="store_true")
parser.add_argument("--suite", type=pathlib.Path)
parser.add_argument("--edits", type=int, default=3)
parser.add_argument("--layer", type=int, default=6)
parser.add_argument("--threads", type=int, default=2)
args = parser.parse_args()
torch.set_num_threads(args.threads)

if args.make:
    torch.manual_seed(0)
    GPT2LMHeadModel(GPT2Config(bos_token_id=0, eos_token_id=0)).save_pretrained(args.model)
    shutil.copy(ROOT / "assets/models/pubmed-mini/tokenizer.json", args.model)
    raise SystemExit

model = GPT2LMHeadModel.from_pretrained(args.model).eval()
model.requires_grad_(False)
tok = PreTrainedTokenizerFast(tokenizer_file=str(args.model / "tokenizer.json"), pad_token="<|endoftext|>")
tok.padding_side = "right"
pairs = [json.loads(line) for line in args.suite.read_text().splitlines()][: args.edits]
mlp = model.transformer.h[args.layer].mlp
width = mlp.c_proj.weight.shape[0]
covariance = torch.eye(width, dtype=torch.float32)
inverse = torch.inverse(covariance)
prefixes = [""]
for length in (5, 10):
    said = model.generate(torch.zeros((10, 1), dtype=torch.long), max_new_tokens=length, do_sample=True, top_k=5, pad_token_id=0)
    prefixes += [tok.decode(row[1:]) + ". " for row in said]


def last(text, subject):
    end = text.rfind(subject) + len(subject)
    offsets = tok(text, return_offsets_mapping=True)["offset_mapping"]
    return sum(start < end for start, _ in offsets) - 1


def edit(pair):
    target = tok(pair["foil"])["input_ids"]
    texts = [p + pair["clean"] for p in prefixes]
    essence = pair["subject"] + " is a"
    rewriting = [t + tok.decode(target[:-1]) for t in texts]
    batch = tok(rewriting + [essence], return_tensors="pt", padding=True)
    places = [last(t, pair["subject"]) for t in texts + [essence]]
    labels = torch.full(batch["input_ids"][:-1].shape, -100)
    for i in range(len(rewriting)):
        end = int(batch["attention_mask"][i].sum())
        labels[i, end - len(target) : end] = torch.tensor(target)
    keys = []
    hook = mlp.c_proj.register_forward_pre_hook(lambda m, a: keys.append(a[0]))
    model(**tok(texts, return_tensors="pt", padding=True))
    hook.remove()
    key = torch.stack([keys[0][i, p] for i, p in enumerate(places[:-1])])
    direction = inverse @ key.mean(0)
    delta = torch.zeros(model.config.n_embd, requires_grad=True)
    adam = torch.optim.Adam([delta], lr=0.5)
    initial, before = None, None
    for step in range(20):
        def add(module, inputs, out):
            nonlocal initial
            initial = out[0, places[0]].detach().clone() if initial is None else initial
            out = out.clone()
            for i, p in enumerate(places):
                out[i, p] += delta
            return out

        hook = mlp.register_forward_hook(add)
        logits = model(**batch).logits
        hook.remove()
        said = torch.log_softmax(logits[-1, places[-1]], -1)
        before = said.detach().clone() if before is None else before
        kl = 0.0625 * torch.nn.functional.kl_div(before, said, log_target=True, reduction="sum")
        all_said = torch.log_softmax(logits[:-1], -1)
        picked = torch.gather(all_said, 2, labels.clamp(min=0).unsqueeze(2)).squeeze(2)
        mask = (labels != -100).float()
        nll = -(picked * mask).sum(1).div(mask.sum(1)).mean()
        loss = nll + kl + 0.5 * delta.norm() / initial.norm() ** 2
        if loss < 0.05 or step == 19:
            break
        adam.zero_grad()
        loss.backward()
        adam.step()
        most = 4 * initial.norm()
        if delta.norm() > most:
            with torch.no_grad():
                delta[...] = delta * most / delta.norm()
    with torch.no_grad():
        change = delta / (direction @ key[0])
        return mlp.c_proj.weight + torch.outer(direction, change)


edit(pairs[0])
start = time.perf_counter()
for pair in pairs:
    edit(pair)
seconds = time.perf_counter() - start
print(json.dumps({"edits": len(pairs), "seconds": seconds, "edits_per_minute": 60 * len(pairs) / seconds}))
