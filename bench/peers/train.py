"""Training here and elsewhere: optimizer steps of the same shape on the same machine, one after the other.

    python3 bench/peers/train.py --engram target/release/engram

makes a virtual environment (requirements.txt), writes checkpoints of the two shapes, and times steps
(forward, backward, clipping, AdamW) in transformers + torch and in engram alternately, on two threads,
each in a process of its own: medians, ratios, peak memory.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

from sweep import HERE, in_environment, write_model

THREADS = 2
SHAPES = {
    "pubmed-mini": dict(vocab_size=8192, n_positions=512, n_embd=256, n_layer=8, n_head=8),
    "GPT-2 small": dict(vocab_size=50257, n_positions=1024, n_embd=768, n_layer=12, n_head=12),
}
# shape, batch, tokens, torch's number format, ratio asked for
ROWS = [
    ("pubmed-mini", 8, 512, "float32", 2.0),
    ("pubmed-mini", 8, 512, "bfloat16", 0.7),
    ("GPT-2 small", 4, 512, "float32", 2.0),
]


def torch_steps(folder, batch, tokens, dtype, steps):
    """Seconds of each step in torch, the first left out, and peak memory; run in a process of its own."""
    import torch
    from transformers import GPT2LMHeadModel

    torch.set_num_threads(THREADS)
    torch.manual_seed(0)
    model = GPT2LMHeadModel.from_pretrained(
        folder, attn_implementation="sdpa", dtype=torch.float32
    )
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    model.config.attn_pdrop = 0.0
    for block in model.transformer.h:
        block.attn.attn_dropout.p = 0.0
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.01, fused=True)
    ids = torch.randint(0, model.config.vocab_size, (batch, tokens))
    seconds = []
    for step in range(steps + 1):
        start = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bfloat16"):
            loss = model(input_ids=ids, labels=ids, use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if step > 0:
            seconds.append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": seconds, "peak_mb": peak}))


def main():
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "engram-peers"
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engram", type=Path, default=HERE.parents[1] / "target/release/engram")
    parser.add_argument("--venv", type=Path, default=cache / "venv")
    parser.add_argument("--work", type=Path, default=cache / "work")
    parser.add_argument("--repeats", type=int, default=5, help="processes of each side, alternating")
    parser.add_argument("--steps", type=int, default=2, help="timed steps of each process")
    parser.add_argument("--rows", type=lambda t: [int(n) for n in t.split(",")], help="which rows, by number")
    parser.add_argument("--json", type=Path, help="also write the table here")
    parser.add_argument("--torch", nargs=4, help=argparse.SUPPRESS)
    args = parser.parse_args()
    in_environment(args.venv, __file__)
    if args.torch:
        shape, batch, tokens, dtype = args.torch
        torch_steps(args.work / shape.replace(" ", "-"), int(batch), int(tokens), dtype, args.steps)
        return
    table = []
    for row in args.rows or range(len(ROWS)):
        shape, batch, tokens, dtype, asked = ROWS[row]
        folder = args.work / shape.replace(" ", "-")
        folder.mkdir(parents=True, exist_ok=True)
        write_model(folder, **SHAPES[shape], bos_token_id=0, eos_token_id=0)
        theirs, ours = [], []
        for _ in range(args.repeats):
            theirs.append(
                run(sys.executable, __file__, "--venv", args.venv, "--work", args.work,
                    "--steps", args.steps, "--torch", shape, batch, tokens, dtype)
            )
            ours.append(
                run(args.engram, "--threads", THREADS, "--json", "bench", "train", "--model", folder,
                    "--batch", batch, "--tokens", tokens, "--steps", args.steps)
            )
        their_s = statistics.median(s for r in theirs for s in r["seconds"])
        our_s = statistics.median(r["step_s"] for r in ours)
        found = {
            "shape": shape, "batch": batch, "tokens": tokens, "torch": dtype,
            "torch_s": their_s, "engram_s": our_s, "ratio": their_s / our_s, "asked": asked,
            "torch_tokens_per_s": batch * tokens / their_s, "engram_tokens_per_s": batch * tokens / our_s,
            "torch_peak_mb": max(r["peak_mb"] for r in theirs),
            "engram_peak_mb": max(r["peak_rss_mb"] for r in ours),
            "engram_efficiency": statistics.median(r["efficiency"] for r in ours),
        }
        table.append(found)
        print(
            f"{shape}, {batch} × {tokens}, torch {dtype}: {their_s:.2f} s and {our_s:.2f} s a step, "
            f"{found['ratio']:.2f} × (asked {asked}); "
            f"{found['torch_tokens_per_s']:.0f} and {found['engram_tokens_per_s']:.0f} tokens/s; "
            f"{found['torch_peak_mb']:.0f} and {found['engram_peak_mb']:.0f} MB "
            f"({found['engram_peak_mb'] / found['torch_peak_mb']:.2f} ×)",
            flush=True,
        )
    if args.json:
        args.json.write_text(json.dumps(table, indent=1) + "\n")


def run(*command):
    done = subprocess.run([str(c) for c in command], check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


if __name__ == "__main__":
    main()
