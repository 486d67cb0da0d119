"""Damages what a broken-off run left, resumes it, and compares with an unbroken run: the bytes must be equal, or the
command must refuse and name a file.

    python3 fuzz/flips.py --engram target/release/engram --command train --flips 100

A flip changes one bit, one digit, one byte, or cuts, doubles or drops a stretch of one file. Needs Python alone; Unix.
"""

import argparse
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import settings


def state_files(command, place):
    paths = {path for pattern in command.under_way for path in place.glob(pattern) if path.is_file()}
    return sorted(path for path in paths if path.stat().st_size)


def broken_off(command, place, share, seconds):
    """A run killed when it has come so far, by time; from the start on until it leaves something."""
    for attempt in range(20):
        settings.fresh(place)
        child = subprocess.Popen([str(w) for w in command.command(place, False)],
                                 stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        limit = time.monotonic() + seconds * share
        while child.poll() is None and (time.monotonic() < limit or not state_files(command, place)):
            time.sleep(0.001)
        if child.poll() is None:
            child.send_signal(signal.SIGKILL)
            child.wait()
        files = state_files(command, place)
        if files and not command.is_whole(place):
            return files
        share /= 2
    raise SystemExit("the command never left anything under way")


def damage(data, draw):
    """One fault in some bytes."""
    at = draw.randrange(len(data))
    digits = [i for i, byte in enumerate(data[:1 << 16]) if chr(byte).isdigit()]
    kind = draw.choice(["bit", "bit", "digit", "digit", "digit", "byte", "cut", "drop", "double"])
    if kind == "digit" and digits:
        at = draw.choice(digits)
        other = draw.choice([d for d in b"0123456789" if d != data[at]])
        return f"digit at {at}", data[:at] + bytes([other]) + data[at + 1:]
    if kind == "cut":
        return f"cut at {at}", data[:at]
    if kind == "drop":
        return f"drop at {at}", data[:at] + data[at + draw.randint(1, 40):]
    if kind == "double":
        return f"double at {at}", data[:at] + data[max(0, at - 40):at] + data[at:]
    if kind == "byte":
        return f"byte at {at}", data[:at] + bytes([(data[at] + draw.randint(1, 255)) % 256]) + data[at + 1:]
    return f"bit at {at}", data[:at] + bytes([data[at] ^ (1 << draw.randrange(8))]) + data[at + 1:]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--engram", required=True, type=pathlib.Path)
    parser.add_argument("--command", required=True, choices=[c for c, s in settings.COMMANDS.items() if s.under_way])
    parser.add_argument("--flips", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after so long, with fewer flips")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        return flips(args, pathlib.Path(work))


def flips(args, work):
    draw = random.Random(f"{args.seed} {args.command} flips")
    command = settings.COMMANDS[args.command](args.engram.resolve(), work, args.seed)
    whole = settings.fresh(work / "whole")
    start = time.monotonic()
    settings.must(command.command(whole, False))
    seconds = time.monotonic() - start
    place, left = work / "place", work / "left"
    done, equal, refused, faults = 0, 0, 0, []
    begin = time.monotonic()
    while done < args.flips and time.monotonic() - begin < args.seconds:
        if done % 10 == 0:
            broken_off(command, place, draw.uniform(0.2, 1), seconds)
            shutil.rmtree(left, ignore_errors=True)
            shutil.copytree(place, left)
        shutil.rmtree(place)
        shutil.copytree(left, place)
        file = draw.choice(state_files(command, place))
        what, data = damage(file.read_bytes(), draw)
        file.write_bytes(data)
        name = file.relative_to(place)
        found = settings.call(command.command(place, True))
        done += 1
        wrong = []
        if found.returncode == 0:
            wrong = settings.differences(place, whole)
            equal += not wrong
        else:
            line = (found.stderr.strip().splitlines() or [""])[-1]
            named = file.name in line or str(file.parent) in line
            if found.returncode != 1 or "panicked" in found.stderr or not named:
                wrong = [f"exit {found.returncode}: {line}"]
            refused += not wrong
        if wrong:
            faults.append(wrong)
            print(f"{name}, {what}: {'; '.join(wrong)}", flush=True)
    print(f"{args.command}: {done} flips, {equal} equal, {refused} refused, {len(faults)} with a fault")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
