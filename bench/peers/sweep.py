"""Activation patching here and elsewhere: the same cells of the same model, one after the other.

    python3 bench/peers/sweep.py --engram target/release/engram

makes a virtual environment (requirements.txt), writes a random GPT-2-small checkpoint, fetches SmolLM2-135M,
writes suites of token ids, and times each row of the table in the peer and in engram alternately, on two threads, with
the model loaded on both sides: from token ids to all metrics in memory. Medians, ratios, the largest
difference of values, peak memory, and what each ratio is made of.
"""

import argparse
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import time
import venv
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
DIFFER_FROM, THREADS = 4, 2


@dataclass(frozen=True)
class Setting:
    """A model, and how long the prompts are that it is given."""

    folder: str
    tokens: int
    layers: int
    heads: int
    d: int
    d_mlp: int
    vocab: int


GPT2 = Setting("model", tokens=15, layers=12, heads=12, d=768, d_mlp=3072, vocab=50257)
SMOLLM2 = Setting("smollm2", tokens=12, layers=30, heads=9, d=576, d_mlp=1536, vocab=49152)
SETTINGS = {setting.folder: setting for setting in [GPT2, SMOLLM2]}

# name, peer, sites, positions, number of pairs, ratio asked for, model where it is not GPT-2's
ROWS = [
    ("resid_pre by position, 1 prompt", "transformer_lens", "resid_pre", "each", 1, 45),
    ("resid_pre by position, 1 prompt", "hooks", "resid_pre", "each", 1, None),
    ("resid_pre by position, 8 prompts", "transformer_lens", "resid_pre", "each", 8, 25),
    ("resid_pre by position, 8 prompts", "hooks", "resid_pre", "each", 8, None),
    ("head outputs, 1 prompt", "transformer_lens", "head_out", "all", 1, 20),
    ("head outputs, 1 prompt", "hooks", "head_out", "all", 1, None),
    ("head outputs, 8 prompts", "transformer_lens", "head_out", "all", 8, 12),
    ("head outputs, 8 prompts", "hooks", "head_out", "all", 8, None),
    ("head outputs, 1 prompt", "nnsight_cells", "head_out", "all", 1, 20),
    ("head outputs, 1 prompt", "nnsight_layers", "head_out", "all", 1, 9),
    ("SmolLM2, resid_pre by position, 1 prompt", "hooks", "resid_pre", "each", 1, 40, SMOLLM2),
]


def pairs(count, setting):
    rng = random.Random(count)
    made, vocab = [], setting.vocab
    for index in range(count):
        clean = [rng.randrange(vocab) for _ in range(setting.tokens)]
        corrupt = clean[:DIFFER_FROM] + [
            (token + 1 + rng.randrange(vocab - 1)) % vocab for token in clean[DIFFER_FROM:]
        ]
        answer = rng.randrange(vocab)
        made.append(
            {
                "id": f"pair {index}",
                "kind": "random",
                "clean_ids": clean,
                "corrupt_ids": corrupt,
                "answer_ids": [answer],
                "foil_ids": [(answer + 1) % vocab],
            }
        )
    return made


def write_model(folder, **shape):
    """A GPT-2 (small where no shape is given) with transformers' own initialisation, and a tokenizer of numbered words."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import GPT2Config, GPT2LMHeadModel

    if (folder / "model.safetensors").exists():
        return
    torch.manual_seed(0)
    config = GPT2Config(**shape)
    GPT2LMHeadModel(config).save_pretrained(folder)
    words = {f"t{i}": i for i in range(config.vocab_size)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="t0"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.save(str(folder / "tokenizer.json"))


def fetch_smollm2(binary, folder):
    """SmolLM2-135M as the transformers library reads it: its GGUF file, converted."""
    if (folder / "model.safetensors").exists():
        return
    fetch = [sys.executable, str(HERE.parents[1] / "fixtures/smollm2.py")]
    file = subprocess.run(fetch, check=True, capture_output=True, text=True).stdout.strip()
    subprocess.run([str(binary), "model", "convert", "--model", file, "--out", str(folder)], check=True)


class Peer:
    """A model of another library, and the sweeps in its own way. Values are [cell][pair]."""

    def __init__(self, folder):
        import torch
        from transformers import AutoModelForCausalLM

        torch.set_num_threads(THREADS)
        torch.set_grad_enabled(False)
        self.torch = torch
        self.setting = SETTINGS[folder.name]
        self.model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        self.model.config.use_cache = False

    def sweep(self, sites, batch):
        tensor = self.torch.tensor
        clean = tensor([p["clean_ids"] for p in batch])
        corrupt = tensor([p["corrupt_ids"] for p in batch])
        answer = tensor([p["answer_ids"][0] for p in batch])
        foil = tensor([p["foil_ids"][0] for p in batch])
        rows = self.torch.arange(len(batch))

        def metric(logits):
            last = logits[:, -1]
            return last[rows, answer] - last[rows, foil]

        return self.values(sites, clean, corrupt, metric)


class Hooks(Peer):
    """Plain forward hooks; every cell a forward pass of all pairs."""

    def values(self, sites, clean, corrupt, metric):
        blocks = self.model.base_model
        blocks = blocks.h if hasattr(blocks, "h") else blocks.layers
        heads, cache = self.setting.heads, {}

        def keep(layer, of_input):
            def hook(_, args, *__):
                cache[layer] = args[0].clone()

            return hook

        modules = blocks if sites == "resid_pre" else [b.attn.c_proj for b in blocks]
        handles = [
            m.register_forward_pre_hook(keep(layer, True)) for layer, m in enumerate(modules)
        ]
        self.model(clean)
        for handle in handles:
            handle.remove()
        metric(self.model(corrupt).logits)
        width = self.setting.d // heads
        cells = []
        for layer, module in enumerate(modules):
            for index in range(self.setting.tokens if sites == "resid_pre" else heads):

                def write(_, args):
                    value = args[0].clone()
                    if sites == "resid_pre":
                        value[:, index] = cache[layer][:, index]
                    else:
                        part = slice(index * width, (index + 1) * width)
                        value[..., part] = cache[layer][..., part]
                    return (value, *args[1:])

                handle = module.register_forward_pre_hook(write)
                cells.append(metric(self.model(corrupt).logits).tolist())
                handle.remove()
        return cells


class TransformerLens(Peer):
    """TransformerBridge in compatibility mode, with the library's own patching functions."""

    def __init__(self, folder):
        super().__init__(folder)
        from transformer_lens.model_bridge import TransformerBridge
        from transformers import PreTrainedTokenizerFast

        tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"))
        self.bridge = TransformerBridge.boot_transformers(
            str(folder), hf_model=self.model, tokenizer=tokenizer
        )
        self.bridge.enable_compatibility_mode(disable_warnings=True, no_processing=True)

    def values(self, sites, clean, corrupt, metric):
        from transformer_lens import patching

        _, cache = self.bridge.run_with_cache(clean)
        metric(self.bridge(corrupt))
        function = {
            "resid_pre": patching.get_act_patch_resid_pre,
            "head_out": patching.get_act_patch_attn_head_out_all_pos,
        }[sites]
        # The library keeps one number a cell; of a batch the values are kept beside it.
        seen = []

        def keep(logits):
            values = metric(logits)
            seen.append(values.tolist())
            return values.mean()

        function(self.bridge, corrupt, cache, keep)
        return seen


class Nnsight(Peer):
    """Head outputs of one prompt, by traces."""

    batched = False

    def __init__(self, folder):
        super().__init__(folder)
        from nnsight import LanguageModel
        from transformers import PreTrainedTokenizerFast

        tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"))
        tokenizer.pad_token = "t0"
        self.sight = LanguageModel(self.model, tokenizer=tokenizer)

    def values(self, sites, clean, corrupt, metric):
        model, width, cache = self.sight, GPT2.d // GPT2.heads, []
        clean, corrupt = clean.tolist(), corrupt.tolist()
        import nnsight

        with model.trace(clean):
            cache = nnsight.save([block.attn.c_proj.input.clone() for block in model.transformer.h])
        with model.trace(corrupt):
            model.lm_head.output.save()
        cells = []
        for layer in range(GPT2.layers):
            if self.batched:
                with model.trace() as tracer:
                    found = nnsight.save([])
                    for head in range(GPT2.heads):
                        part = slice(head * width, (head + 1) * width)
                        with tracer.invoke(corrupt):
                            proj = model.transformer.h[layer].attn.c_proj
                            proj.input[:, :, part] = cache[layer][:, :, part]
                            found.append(model.lm_head.output)
                cells += [metric(logits).tolist() for logits in found]
                continue
            for head in range(GPT2.heads):
                part = slice(head * width, (head + 1) * width)
                with model.trace(corrupt):
                    proj = model.transformer.h[layer].attn.c_proj
                    proj.input[:, :, part] = cache[layer][:, :, part]
                    logits = model.lm_head.output.save()
                cells.append(metric(logits).tolist())
        return cells


class NnsightLayers(Nnsight):
    """One trace for each layer, its heads as invokes of one batch."""

    batched = True


PEERS = {
    "transformer_lens": TransformerLens,
    "hooks": Hooks,
    "nnsight_cells": Nnsight,
    "nnsight_layers": NnsightLayers,
}


def bare_rate(rows, setting):
    """GFLOP/s of torch's product of a block's widest matrices for so many rows, on the same threads."""
    import torch

    d, wide = setting.d, setting.d_mlp
    a, b = torch.randn(rows, d), torch.randn(d, wide)
    out = torch.empty(rows, wide)
    seconds = []
    for _ in range(40):
        start = time.perf_counter()
        torch.mm(a, b, out=out)
        seconds.append(time.perf_counter() - start)
    return 2 * rows * d * wide / statistics.median(seconds) / 1e9


def serve(peer, folder):
    """A peer's process: a line of JSON with the sweep wanted comes in, one with the result goes out."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is not an answer
    model = PEERS[peer](folder)
    print(json.dumps("ready"), file=out, flush=True)
    for line in sys.stdin:
        sites, count = json.loads(line)
        batch = pairs(count, model.setting)
        start = time.perf_counter()
        values = model.sweep(sites, batch)
        seconds = time.perf_counter() - start
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        invokes = GPT2.heads if peer == "nnsight_layers" else 1
        answer = {"seconds": seconds, "values": values, "peak_mb": peak}
        answer["bare_gflops"] = bare_rate(invokes * count * model.setting.tokens, model.setting)
        print(json.dumps(answer), file=out, flush=True)


class Server:
    def __init__(self, peer, folder):
        command = [sys.executable, __file__, "--serve", peer, "--work", str(folder)]
        self.log = folder.parent / f"{peer}-{folder.name}.log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
            )
        if not self.process.stdout.readline():
            raise SystemExit(f"{peer} did not start; its messages are in {self.log}")

    def sweep(self, sites, count):
        print(json.dumps([sites, count]), file=self.process.stdin, flush=True)
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"the peer's process ended; its messages are in {self.log}")
        return json.loads(line)

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def engram(binary, work, setting, sites, positions, count):
    """engram's time, values [cell][pair] and peak memory."""
    import pyarrow.parquet as parquet

    suite, out = suite_file(work, setting, count), work / "out"
    suite.write_text("".join(json.dumps(p) + "\n" for p in pairs(count, setting)))
    subprocess.run(["rm", "-rf", str(out)], check=True)
    command = [
        str(binary), "--threads", str(THREADS), "patch", "--model", str(work / setting.folder),
        "--suite", str(suite), "--sites", sites, "--positions", positions,
        "--metric", "logit_diff", "--out", str(out),
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    errors = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        raise SystemExit(errors.decode())
    manifest = json.loads((out / "manifest.json").read_text())
    # The peers give cells by layer, then by position or head.
    columns = ["pair", "layer", "position", "head", "patched"]
    index = "position" if positions == "each" else "head"
    rows = parquet.read_table(out / "patch.parquet", columns=columns).to_pylist()
    found = {(row["layer"], row[index], row["pair"]): row["patched"] for row in rows}
    cells = sorted({(layer, place) for layer, place, _ in found})
    values = [[found[(*cell, p["id"])] for p in pairs(count, setting)] for cell in cells]
    return {
        "seconds": manifest["timing"]["sweep_s"],
        "values": values,
        "peak_mb": usage.ru_maxrss / 1024,
    }


def suite_file(work, setting, count):
    return work / f"suite-{setting.folder}-{count}.jsonl"


def flops(binary, work, setting, sites, positions, count):
    """Operations that the cells need here, and those of a forward pass for each."""
    command = [
        str(binary), "--json", "patch", "--model", str(work / setting.folder),
        "--suite", str(suite_file(work, setting, count)), "--sites", sites,
        "--positions", positions, "--plan-only",
    ]
    plan = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return plan["flops"], plan["flops_naive"]


def in_environment(folder, script=__file__):
    """Runs this script again in the virtual environment, made where it is not there."""
    python, whole = folder / "bin" / "python", folder / "engram-peers"
    requirements = HERE / "requirements.txt"
    if not whole.exists() or whole.read_text() != requirements.read_text():
        venv.create(folder, with_pip=True)
        pip = [str(python), "-m", "pip", "install", "-q", "-r", str(requirements)]
        subprocess.run(pip, check=True)
        whole.write_text(requirements.read_text())
    if Path(sys.executable).resolve() != python.resolve() or sys.prefix != str(folder):
        os.execv(str(python), [str(python), script, *sys.argv[1:]])


def main():
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "engram-peers"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--engram", type=Path, default=HERE.parents[1] / "target/release/engram")
    parser.add_argument("--venv", type=Path, default=cache / "venv")
    parser.add_argument("--work", type=Path, default=cache / "work")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--rows", type=lambda t: [int(n) for n in t.split(",")], help="which rows, by number")
    parser.add_argument("--json", type=Path, help="also write the table here")
    parser.add_argument("--serve", choices=PEERS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    for name in ["OMP_NUM_THREADS", "MKL_NUM_THREADS"]:
        os.environ[name] = str(THREADS)
    if args.serve:
        return serve(args.serve, args.work)
    in_environment(args.venv.resolve())
    work = args.work.resolve()
    (work / "model").mkdir(parents=True, exist_ok=True)
    write_model(work / "model")
    table = []
    for number in args.rows or range(len(ROWS)):
        name, peer, sites, positions, count, asked, *other = ROWS[number]
        setting = other[0] if other else GPT2
        if setting is SMOLLM2:
            fetch_smollm2(args.engram, work / setting.folder)
        server = Server(peer, work / setting.folder)
        server.sweep(sites, 1)  # warm
        theirs, ours = [], []
        for _ in range(args.repeats):
            theirs.append(server.sweep(sites, count))
            ours.append(engram(args.engram, work, setting, sites, positions, count))
        server.close()
        there = statistics.median(r["seconds"] for r in theirs)
        here = statistics.median(r["seconds"] for r in ours)
        off = max(
            abs(a - b)
            for their, our in zip(theirs, ours, strict=True)
            for cell, mine in zip(their["values"], our["values"], strict=True)
            for a, b in zip(cell, mine, strict=True)
        )
        needed, naive = flops(args.engram, work, setting, sites, positions, count)
        row = {
            "work": name,
            "peer": peer,
            "peer_s": there,
            "engram_s": here,
            "repeats": {
                "peer_s": [r["seconds"] for r in theirs],
                "engram_s": [r["seconds"] for r in ours],
            },
            "ratio": there / here,
            "asked": asked,
            "largest_difference": off,
            "peer_peak_mb": max(r["peak_mb"] for r in theirs),
            "engram_peak_mb": max(r["peak_mb"] for r in ours),
            "flops_saved": naive / needed,
            "peer_gflops": naive / there / 1e9,
            "engram_gflops": needed / here / 1e9,
            "bare_gflops": statistics.median(r["bare_gflops"] for r in theirs),
        }
        # ratio = flops_saved · rate_gained · overhead_gone
        row["rate_gained"] = row["engram_gflops"] / row["bare_gflops"]
        row["overhead_gone"] = row["bare_gflops"] / row["peer_gflops"]
        table.append(row)
        print(
            f"{name:40} {peer:17} {there:7.2f} s {here:7.3f} s  {row['ratio']:6.1f} x"
            f" (asked {asked or '-'})  = {row['flops_saved']:.1f} x fewer operations"
            f" · {row['rate_gained']:.2f} x the rate of their bare product ({row['bare_gflops']:.0f} to"
            f" {row['engram_gflops']:.0f} GFLOP/s)"
            f" · {row['overhead_gone']:.2f} x overhead gone (they reach {row['peer_gflops']:.0f})"
            f"  off by {off:.1e}  {row['peer_peak_mb']:.0f} MB, {row['engram_peak_mb']:.0f} MB",
            flush=True,
        )
    if args.json:
        args.json.write_text(json.dumps(table, indent=1) + "\n")


if __name__ == "__main__":
    main()
