#!/usr/bin/env python3
"""Holds what `engram patch --plan-only` says of memory to what a sweep takes.

Usage: memory.py --engram target/release/engram --model FOLDER [--only NAME]

Each setting is planned and run with the memory that it is given, and with the least that the command says would do. What a
run takes is the largest of samples of its anonymous resident memory (RssAnon of /proc/PID/status, every millisecond).
Prints planned and taken MiB and their ratio; the exit status is 1 where a run took more than it was allowed, or where plan
and run differ by more than a tenth.
"""

import argparse
import json
import random
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

MIB = 1 << 20


def suite(path, pairs, tokens, vocab, seed=1):
    """Pairs of random tokens that differ from position 3 on."""
    draw = random.Random(seed)
    with open(path, "w") as out:
        for index in range(pairs):
            clean = [draw.randrange(vocab) for _ in range(tokens)]
            corrupt = clean[:3] + [draw.randrange(vocab) for _ in range(tokens - 3)]
            answer = draw.randrange(vocab - 1)
            row = {"id": f"pair {index}", "kind": "random", "clean_ids": clean, "corrupt_ids": corrupt,
                   "answer_ids": [answer], "foil_ids": [answer + 1]}
            out.write(json.dumps(row) + "\n")


SETTINGS = {
    "one pair": (1, 15, ["--sites", "resid_pre"]),
    "three sites": (20, 15, ["--sites", "resid_pre,attn_out,mlp_out"]),
    "many pairs": (100, 15, ["--sites", "resid_pre,attn_out,mlp_out"]),
    "long": (20, 60, ["--sites", "resid_pre"]),
    "heads": (20, 15, ["--sites", "z"]),
    "whole vocabulary": (20, 15, ["--sites", "resid_pre", "--metric", "prob,kl"]),
    "means": (40, 30, ["--sites", "resid_pre", "--corruption", "mean", "--direction", "noise"]),
}


def anonymous(pid):
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    found = re.search(r"RssAnon:\s+(\d+) kB", status)
    return int(found[1]) << 10 if found else 0


def run(command):
    """Exit status, standard error, and the most anonymous memory taken."""
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors)
        most = 0
        while process.poll() is None:
            most = max(most, anonymous(process.pid))
            time.sleep(0.001)
        errors.seek(0)
        return process.returncode, errors.read().decode(), most


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--engram", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--vocab", type=int, default=2000, help="ids are drawn below this")
    parser.add_argument("--only", help="this setting alone")
    args = parser.parse_args()
    faults = 0
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        for name, (pairs, tokens, options) in SETTINGS.items():
            if args.only not in (None, name):
                continue
            file = folder / "suite.jsonl"
            suite(file, pairs, tokens, args.vocab)
            base = [args.engram, "patch", "--model", args.model, "--suite", str(file), *options]
            least, said = 1.0, "at least"
            while "at least" in said:
                refused = subprocess.run([*base, "--plan-only", "--memory", f"{least}MiB"], capture_output=True, text=True)
                found = re.search(r"(at least|weights alone take) ([\d.]+) ([KMG]iB)", refused.stderr)
                if not found:
                    sys.exit(f"{name}: no least memory in {refused.stderr!r}")
                least = float(found[2]) * {"KiB": 1 / 1024, "MiB": 1, "GiB": 1024}[found[3]]
                said = "" if found[1] == "at least" else "at least"
            for memory in [4096, least * 1.02 + 0.1]:
                memory = f"{memory:.1f}MiB"
                planned = subprocess.run([*base, "--plan-only", "--memory", memory, "--json"], capture_output=True, text=True)
                if planned.returncode:
                    sys.exit(f"{name}, {memory}: {planned.stderr}")
                planned = json.loads(planned.stdout)
                out = folder / "out"
                status, errors, taken = run([*base, "--memory", memory, "--out", str(out)])
                if status:
                    sys.exit(f"{name}, {memory}: {errors}")
                subprocess.run(["rm", "-rf", str(out)], check=True)
                ratio = taken / planned["bytes"]
                over = taken > planned["memory"]
                fault = over or not 0.9 <= round(ratio, 2) <= 1.1
                faults += fault
                print(f"{name:18} allowed {planned['memory'] / MIB:8.1f}  planned {planned['bytes'] / MIB:8.1f}"
                      f"  taken {taken / MIB:8.1f} MiB  ratio {ratio:.2f}{'  OVER' if over else ''}"
                      f"{'  MISSED' if fault and not over else ''}", flush=True)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
