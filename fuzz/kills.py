"""Kills a command at random moments, again and again, resumes it as a person would, and compares what it leaves with an
unbroken run, byte for byte.

    python3 fuzz/kills.py --engram target/release/engram --command patch --kills 100

A kill comes at a random moment of the run, or shortly after its files have changed for the nth time, which is when
renames, checkpoints and lines under way are written. Most kills are SIGKILL, some SIGINT and SIGTERM. After a few kills
the command is left to end; then no file may differ, be missing or be left over. Needs Python alone; Unix.
"""

import argparse
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import settings

SIGNALS = [signal.SIGKILL] * 6 + [signal.SIGINT, signal.SIGTERM]
# Kills after which a run is left to end.
MOST_KILLS = 4


def names(place):
    return {(folder, name) for folder, folders, files in os.walk(place) for name in folders + files}


def kill_at(child, place, random, seconds):
    """Waits for the moment and kills; false where the command had ended before."""
    if random.random() < 0.5:
        try:
            child.wait(timeout=random.uniform(0, seconds))
            return False
        except subprocess.TimeoutExpired:
            pass
    else:
        # Shortly after the nth change of the files.
        changes, seen = random.randint(1, 12), names(place)
        while changes and child.poll() is None:
            now = names(place)
            changes, seen = changes - (now != seen), now
            time.sleep(0.0005)
        time.sleep(random.choice([0, 0, 0.001, 0.01]))
    if child.poll() is not None:
        return False
    child.send_signal(random.choice(SIGNALS))
    child.wait()
    return True


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--engram", required=True, type=pathlib.Path)
    parser.add_argument("--command", required=True, choices=settings.COMMANDS)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after so long, with fewer kills")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        return kills(args, pathlib.Path(work))


def kills(args, work):
    draw = random.Random(f"{args.seed} {args.command}")
    command = settings.COMMANDS[args.command](args.engram.resolve(), work, args.seed)
    whole = settings.fresh(work / "whole")
    start = time.monotonic()
    settings.must(command.command(whole, False))
    seconds = time.monotonic() - start
    done, runs, faults = 0, 0, []
    begin = time.monotonic()
    while done < args.kills and time.monotonic() - begin < args.seconds:
        place, runs, killed = settings.fresh(work / "place"), runs + 1, 0
        resume = False
        while True:
            last = killed == MOST_KILLS or done == args.kills
            with open(work / "stderr", "w+") as stderr:
                child = subprocess.Popen([str(w) for w in command.command(place, resume)],
                                         stdout=subprocess.DEVNULL, stderr=stderr)
                ended = last or not kill_at(child, place, draw, seconds)
                code = child.wait(timeout=settings.MOST_S)
                stderr.seek(0)
                said = stderr.read()
            if not ended:
                killed, done, resume = killed + 1, done + 1, True
                if command.is_whole(place):
                    # It was killed after its results were whole; the next run to another place cleans nothing here.
                    ended, code = True, 0
            if ended:
                break
        wrong = [f"exit {code}: {said.strip().splitlines()[-1:]}"] if code else []
        if not code:
            wrong = settings.differences(place, whole)
            if command.is_whole(place):
                wrong = [w for w in wrong if not re.fullmatch(r"left over: \.engram-[^/]*\.lock", w)]
        if wrong:
            faults.append(wrong)
            print(f"run {runs}, after {killed} kills: {'; '.join(wrong)}", flush=True)
    print(f"{args.command}: {done} kills in {runs} runs of {seconds:.1f} s, {len(faults)} of them with a fault")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
