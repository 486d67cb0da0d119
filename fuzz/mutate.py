#!/usr/bin/env python3
"""Runs engram on mutated inputs of every format that its command line reads.

    python3 fuzz/mutate.py --engram target/release/engram --seed 1 --inputs 2000
    python3 fuzz/mutate.py --engram target/release/engram --seed 1 --seconds 120
    python3 fuzz/mutate.py --engram target/release/engram --seed 1 --only gguf,config --inputs 500

Inputs are made by engram itself from small texts, or are fixtures of the project (targets.py). Each is changed within its
format (formats/): a header's counts and offsets, a dtype, a shape, a value by its type and range, a key or node taken out,
doubled or swapped, a cut at a section's border; checksums are made right where a format has one. Mutant number i of a parser
depends on the seed, the parser and i alone, whatever runs beside it.

A run is a child process under a limit of address space and of time. What is reported:

  panic     exit 101, or "panicked" on stderr
  signal    an abort or another signal
  memory    a peak of more than twice the unmutated input's, plus 64 MiB and the bytes of the model that it asks for; or
            an allocation that failed
  hang      more than 10 seconds of the processor, or 60 by the clock
  unnamed   exit 1, and the message does not name the file
  lines     exit 1 and an error of several lines, or with control characters
  code      an exit code other than 0 and 1
  number    exit 0, and NaN or an infinity in what was printed or written
  bytes     a resumed run that ends with exit 0 and other bytes than an unbroken one

The peak is the child's resident set as wait4 gives it, which counts this process's own size at the fork (some 25 MB, more
while a large mutant is in memory): one that is no larger than that says nothing and is taken for 0.
Failing inputs are kept in --out with their command and stderr, a few for each kind and message. The exit code is 1 where
anything was found. Needs Python's standard library only.
"""

import argparse
import array
import collections
import json
import math
import os
import pathlib
import random
import re
import resource
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import traceback

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import targets  # noqa: E402

ADDRESS_SPACE = 3 << 30
ALLOWANCE = 64 << 20
# Seconds of the processor, which do not depend on what runs beside; of the clock, for a run that waits.
TIME_LIMIT = 10
WAITING = 60.0
# Failing inputs kept of one kind and message.
KEPT = 3
KINDS = ["panic", "signal", "memory", "hang", "unnamed", "lines", "code", "number", "bytes"]
NOT_A_NUMBER = re.compile(r"(?<![\w.])[-+]?(nan|inf|infinity)(?![\w.])", re.IGNORECASE)
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


def limits():
    resource.setrlimit(resource.RLIMIT_CPU, (TIME_LIMIT, TIME_LIMIT))
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 30, 1 << 30))


class Outcome:
    """How a child ended: its exit code (negative: a signal; None: it was stopped), seconds, peak in bytes, its output."""

    def __init__(self, status, seconds, peak, out, err):
        self.code = None if status is None else os.waitstatus_to_exitcode(status)
        self.seconds, self.peak, self.out, self.err = seconds, peak, out, err


def own_size():
    """Resident bytes of this process."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def execute(command, folder, seconds):
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        start = time.monotonic()
        own = own_size()
        child = subprocess.Popen(
            command, cwd=folder, stdin=subprocess.DEVNULL, stdout=out, stderr=err, preexec_fn=limits, env={**os.environ, "RUST_BACKTRACE": "0"}
        )
        pause, status = 0.0005, None
        while True:
            pid, found, usage = os.wait4(child.pid, os.WNOHANG)
            if pid:
                status = found
                break
            if time.monotonic() - start > seconds:
                child.kill()
                _, _, usage = os.wait4(child.pid, 0)
                break
            time.sleep(pause)
            pause = min(2 * pause, 0.005)
        child.returncode = 0
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read(1 << 22).decode("utf-8", "replace"))
        # Some pages more are touched on the way to the fork.
        peak = usage.ru_maxrss * 1024
        peak = peak if own < 64 << 20 or peak > 1.1 * own else 0
        return Outcome(status, time.monotonic() - start, peak, *texts)


def command_of(engram, base, given):
    return [str(engram), "--threads", "1", *[part.replace("{base}", str(base)) for part in given.command]]


def tensors_are_finite(path):
    data = path.read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    for name, entry in json.loads(data[8 : 8 + length]).items():
        if name != "__metadata__" and entry["dtype"] == "F32":
            a, b = entry["data_offsets"]
            if not all(map(math.isfinite, array.array("f", data[8 + length + a : 8 + length + b]))):
                return False
    return True


def judge(given, outcome, folder, plain):
    """What is wrong with an outcome: kinds with a message each."""
    err = outcome.err
    found = []
    if outcome.code in (None, -signal.SIGXCPU, -signal.SIGKILL):
        return [("hang", f"after {outcome.seconds:.0f} s")]
    if outcome.code == 101 or "panicked at" in err:
        place = re.search(r"panicked at ([^\n]*)\n?([^\n]*)", err)
        found.append(("panic", " ".join(place.groups()) if place else err[:200]))
    elif "memory allocation of" in err:
        found.append(("memory", re.sub(r"\d+", "N", err.strip()[-200:])))
    elif outcome.code < 0:
        found.append(("signal", signal.Signals(-outcome.code).name))
    elif outcome.code not in (0, 1):
        found.append(("code", f"exit {outcome.code}: {err.strip()[-200:]}"))
    path = folder / given.file
    asked = given.asks(path.read_bytes()) if path.exists() else 0
    if outcome.peak > 2 * plain.peak + ALLOWANCE + asked and not found:
        found.append(("memory", f"{outcome.peak >> 20} MiB, unmutated {plain.peak >> 20} MiB"))
    if outcome.code == 1:
        # Progress may come before it.
        error = err[err.find("engram: ") :].rstrip("\n") if "engram: " in err else err
        # A prompt that other tokens make too long is the prompt's fault, not the file's.
        too_long = "do not fit the model's context" in error
        if not too_long and not any(name in error for name in given.allowed()):
            found.append(("unnamed", error[:300]))
        if "engram: " not in err or "\n" in error or CONTROL.search(error):
            found.append(("lines", error[:300]))
    if outcome.code == 0:
        printed = re.sub(r'"(?:[^"\\]|\\.)*"', '""', outcome.out)
        bad = NOT_A_NUMBER.search(printed)
        # A table repeats a text of the file that reads so.
        data = path.read_bytes() if path.exists() else b""
        # Within JSON in JSON its quotes are escaped.
        if bad and not any(quoted.encode() in data for quoted in (f'"{bad.group()}"', f'\\"{bad.group()}\\"')):
            found.append(("number", f"printed {bad.group()}"))
        for path in folder.glob("out*.safetensors"):
            if not tensors_are_finite(path):
                found.append(("number", f"{path.name} is not finite"))
        for file, content in plain.same.items():
            if not (folder / file).exists() or (folder / file).read_bytes() != content:
                found.append(("bytes", file))
    return found


class Case:
    """An input with what its unmutated run gives."""

    def __init__(self, engram, base, given, scratch):
        self.given, self.command = given, command_of(engram, base, given)
        self.data = (given.folder / given.file).read_bytes()
        peaks = []
        for _ in range(2):
            folder = fresh(given.folder, scratch)
            self.plain = execute(self.command, folder, WAITING)
            peaks.append(self.plain.peak)
        self.plain.peak = max(peaks)
        self.plain.same = {file: (folder / file).read_bytes() for file in given.same}


def fresh(folder, scratch):
    if scratch.exists():
        shutil.rmtree(scratch)
    shutil.copytree(folder, scratch)
    return scratch


def message_key(kind, message):
    """Messages that differ in numbers, names and values are one."""
    return kind, re.sub(r'"[^"]*"|\d+', "_", message)[:90]


def attempt(parser, cases, index, seed, scratch):
    rng = random.Random(f"{seed}/{parser.name}/{index}")
    case = cases[index % len(cases)]
    try:
        data = parser.mutate(rng, case.data)
    except (OverflowError, ValueError, struct.error, IndexError, RecursionError, TypeError) as e:
        # A mutation that cannot be written (a count beyond its field): as bytes instead.
        del e
        data = targets.text.values.flip(rng, case.data)
    folder = fresh(case.given.folder, scratch)
    (folder / case.given.file).write_bytes(data)
    outcome = execute(case.command, folder, WAITING)
    return case, data, outcome, judge(case.given, outcome, folder, case.plain)


def keep(out, parser, index, case, data, outcome, kind):
    folder = out / parser.name / f"{index}-{kind}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / pathlib.PurePath(case.given.file).name).write_bytes(data)
    words = [f"'{word}'" if re.search(r"[^\w./:,=-]", word) else word for word in case.command]
    about = f"{' '.join(words)}\nfile: {case.given.file} (of {case.given.folder})\nexit: {outcome.code}\n{outcome.err}"
    (folder / "about.txt").write_text(about, errors="replace")


def worker(job, options, parsers, base, write):
    """Takes every `jobs`-th mutant of each parser, round by round over the parsers; a line of JSON each."""
    scratch = base / f"scratch-{job}"
    made = {}
    kept = collections.Counter()
    end = time.monotonic() + options.seconds if options.seconds else None
    for index in range(job, options.inputs, options.jobs):
        for parser in parsers:
            if end and time.monotonic() > end:
                return
            if parser.name not in made:
                made[parser.name] = [Case(options.engram, base, given, scratch) for given in parser.inputs]
            case, data, outcome, found = attempt(parser, made[parser.name], index, options.seed, scratch)
            for kind, message in found:
                key = (parser.name, *message_key(kind, message))
                kept[key] += 1
                if kept[key] <= KEPT and options.out:
                    keep(options.out, parser, index, case, data, outcome, kind)
            line = {"parser": parser.name, "index": index, "code": outcome.code, "found": found}
            write.write(json.dumps(line) + "\n")
            write.flush()


def table(rows, messages):
    header = ["parser", "inputs", "taken", "refused", *KINDS]
    lines = [header]
    for name, counts in sorted(rows.items()):
        lines.append([name] + [str(counts[column] or "·") for column in header[1:]])
    total = collections.Counter()
    for counts in rows.values():
        total.update(counts)
    lines.append(["all"] + [str(total[column] or "·") for column in header[1:]])
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    for line in lines:
        print("  ".join(cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(line, widths))))
    for (name, kind, _), (count, index, message) in sorted(messages.items()):
        text = CONTROL.sub("?", message).replace("\n", " / ")
        print(f"{name}, {kind}, {count} times, first {index}: {text[:300]}")


def check_inputs(engram, base, parsers):
    """Every input unmutated must end with exit 0; one that does not is said and left out."""
    for parser in parsers:
        for given in list(parser.inputs):
            outcome = execute(command_of(engram, base, given), fresh(given.folder, base / "scratch"), WAITING)
            if outcome.code != 0:
                why = outcome.err.strip().splitlines()[-1:] or [f"exit {outcome.code}"]
                print(f"{parser.name}: {given.file} is left out: {why[0]}", file=sys.stderr)
                parser.inputs.remove(given)
    return [parser for parser in parsers if parser.inputs]


def arguments():
    parse = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parse.add_argument("--engram", type=pathlib.Path, default=targets.ROOT / "target/release/engram", help="the program")
    parse.add_argument("--seed", type=int, default=1)
    parse.add_argument("--inputs", type=int, default=2000, help="mutants of each parser at most")
    parse.add_argument("--seconds", type=float, help="stop after so long")
    parse.add_argument("--only", help="parsers, comma-separated")
    parse.add_argument("--jobs", type=int, default=2, help="children at once")
    parse.add_argument("--out", type=pathlib.Path, help="where failing inputs are kept")
    options = parse.parse_args()
    options.engram = options.engram.resolve()
    if options.out:
        options.out = options.out.resolve()
    return options


def run(options, base):
    start = time.monotonic()
    parsers = targets.make(options.engram, base)
    known = [parser.name for parser in parsers]
    if options.only:
        wanted = options.only.split(",")
        unknown = [name for name in wanted if name not in known]
        if unknown:
            raise SystemExit(f"no parser is called {', '.join(unknown)}; there are {', '.join(known)}")
        parsers = [parser for parser in parsers if parser.name in wanted]
    parsers = check_inputs(options.engram, base, parsers)
    print(f"{len(parsers)} parsers, made in {time.monotonic() - start:.0f} s", file=sys.stderr)
    children = []
    for job in range(options.jobs):
        path = base / f"found-{job}.jsonl"
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                with path.open("w") as write:
                    worker(job, options, parsers, base, write)
                code = 0
            except Exception:
                traceback.print_exc()
            finally:
                # Not through the parent's clean-up.
                os._exit(code)
        children.append((pid, path))
    failed = [os.waitpid(pid, 0)[1] for pid, _ in children]
    rows = {parser.name: collections.Counter() for parser in parsers}
    messages = {}
    for _, path in children:
        for line in path.read_text().splitlines():
            found = json.loads(line)
            counts = rows[found["parser"]]
            counts["inputs"] += 1
            counts["taken"] += found["code"] == 0
            counts["refused"] += found["code"] == 1
            for kind in {kind for kind, _ in found["found"]}:
                counts[kind] += 1
            for kind, message in found["found"]:
                key = (found["parser"], *message_key(kind, message))
                count, index, first = messages.get(key, (0, found["index"], message))
                messages[key] = (count + 1, min(index, found["index"]), first)
    table(rows, messages)
    runs = sum(counts["inputs"] for counts in rows.values())
    print(f"{runs} runs in {time.monotonic() - start:.0f} s", file=sys.stderr)
    return 1 if messages or any(failed) else 0


def main():
    options = arguments()
    with tempfile.TemporaryDirectory(prefix="engram-fuzz-") as base:
        sys.exit(run(options, pathlib.Path(base)))


if __name__ == "__main__":
    main()
