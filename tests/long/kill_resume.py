#!/usr/bin/env python3
"""Kills a training at random moments (kill -9), resumes it each time, and compares what it ends with, bit for
bit, with an
uninterrupted run. After each kill every checkpoint that stands there must load.

usage: kill_resume.py PROGRAM [--kills 20] [--seed 1]
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import tiny_run

EXACT = ("model.safetensors", "optimizer.safetensors", "average.safetensors", "config.json", "tokenizer.model")


def require(right, message):
    if not right:
        raise AssertionError(message)


def check_readable(program, out):
    for folder in tiny_run.checkpoints(out):
        told = subprocess.run([str(program), "info", str(folder)], capture_output=True, text=True, timeout=120)
        require(told.returncode == 0, f"{folder.name} does not load after a kill: {told.stderr.strip()}")


def kill_after(command, seconds):
    """True when the training was killed, False when it had ended by itself."""
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True
    ) as process:
        try:
            _, errors = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL)
            process.communicate()
            return True
    require(process.returncode == 0, f"training ended with {process.returncode}: {errors.decode().strip()}")
    return False


def compare(expected, got):
    for name in EXACT:
        a, b = (folder / name for folder in (expected, got))
        require(a.exists() and b.exists(), f"{name} is missing")
        require(a.read_bytes() == b.read_bytes(), f"{name} differs from that of the uninterrupted run")


def without_times(log):
    """Lines of the log without what depends on the clock."""
    import json

    lines = [json.loads(line) for line in log.read_text().splitlines()]
    return [{k: v for k, v in line.items() if "second" not in k} for line in lines]


def steady_run(program, folder, checkpoint_every, wanted_seconds):
    """An uninterrupted run long enough that kills fall in its middle. -> steps and seconds of it"""
    steps = 100
    while True:
        out = folder / f"steady-{steps}"
        begin = time.monotonic()
        tiny_run.train(program, folder, out, steps, checkpoint_every)
        seconds = time.monotonic() - begin
        if seconds >= wanted_seconds:
            return out, steps, seconds
        steps = int(max(1.5 * steps, min(6 * steps, 1.2 * steps * wanted_seconds / seconds))) // 20 * 20


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", type=Path)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=10, help="length of the uninterrupted run")
    args = parser.parse_args()
    rng = random.Random(args.seed)
    every = 20
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        tiny_run.write_corpus(folder)
        steady, steps, seconds = steady_run(args.program, folder, every, args.seconds)
        out = folder / "killed"
        command = tiny_run.command(args.program, folder, out, steps, every)
        kills, runs, seen = 0, 0, set()
        while kills < args.kills:
            # Mostly soon after the start, where reading back and cleaning up happen; sometimes late.
            moment = rng.uniform(0.01, max(0.2, 1.6 * seconds / args.kills))
            if kill_after(command, moment):
                kills += 1
                check_readable(args.program, out)
                seen |= {p.name for p in tiny_run.checkpoints(out)} if out.exists() else set()
            else:
                compare(tiny_run.newest(steady), tiny_run.newest(out))
                runs += 1
                out = folder / f"killed-{runs}"
                command = tiny_run.command(args.program, folder, out, steps, every)
        tiny_run.train(args.program, folder, out, steps, every)
        compare(tiny_run.newest(steady), tiny_run.newest(out))
        require(without_times(steady / "log.jsonl") == without_times(out / "log.jsonl"), "log.jsonl differs")
        leftovers = [
            p.name
            for p in out.iterdir()
            if p.name not in {"LATEST", "BEST", "COMPLETE", "log.jsonl", "curves.svg"}
            and not p.name.startswith("step-")
        ]
        require(not leftovers, f"left behind: {leftovers}")
        print(
            f"{kills} kills, {steps} steps, {runs + 1} run(s) to their end, {len(seen)} checkpoints seen after kills: "
            "the same bits"
        )


if __name__ == "__main__":
    try:
        main()
    except AssertionError as error:
        sys.exit(f"kill_resume: {error}")
