#!/usr/bin/env python3
"""Feeds damaged checkpoints, corpora and configurations to the program: exit code 1, one line on standard
error, no crash.
A flipped bit inside a tensor's numbers is no damage that a file can show: there only a crash is a fault.

usage: malformed_program.py PROGRAM [--flips 40] [--seed 1]
"""

import argparse
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import tiny_run


class Trial:
    def __init__(self, program):
        self.program, self.faults, self.count = program, [], 0

    def run(self, what, arguments, must_fail):
        done = subprocess.run([str(self.program), *map(str, arguments)], capture_output=True, timeout=120)
        self.count += 1
        errors = done.stderr.decode("utf-8", "replace").strip().splitlines()
        if done.returncode == 0 and not must_fail:
            return
        if done.returncode != 1:
            self.faults.append(f"{what}: exit code {done.returncode}; want 1")
        elif len(errors) != 1 or not errors[0].strip():
            self.faults.append(f"{what}: {len(errors)} lines of error; want one: {errors[:3]}")


def damaged(data, rng, flips):
    yield "empty", b"", True
    for share in (0.001, 0.3, 0.9):
        yield f"cut to {share}", data[: int(len(data) * share)], True
    yield "one byte short", data[:-1], True
    yield "oversized", data + b"x" * 1000, True
    yield "zeros", bytes(len(data)), True
    yield "a length of 2^63", b"\xff" * 7 + b"\x7f" + data[8:], True
    yield "invalid UTF-8", b"\xff\xfe\xc3(" + data[4:], True
    for _ in range(flips):
        at, bit = rng.randrange(min(len(data), 4096)), rng.randrange(8)
        yield f"bit {bit} of byte {at} flipped", data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :], False


def checkpoint_trials(trial, good, work, rng, flips):
    for name in ("average.safetensors", "config.json", "tokenizer.model", "state.json"):
        data = (good / name).read_bytes()
        for what, bytes_, must_fail in damaged(data, rng, flips):
            bad = work / "bad"
            shutil.copytree(good, bad)
            (bad / name).write_bytes(bytes_)
            uses_state = name == "state.json"
            # A configuration cut after its last brace, or with white space after it, is whole.
            must = must_fail and not (
                name == "config.json" and what == "one byte short" or name == "state.json" and what == "one byte short"
            )
            trial.run(f"info, {name} {what}", ["info", bad], must)
            if not uses_state:
                trial.run(f"translate, {name} {what}", ["translate", bad, "the dog"], must)
            shutil.rmtree(bad)
        bad = work / "bad"
        shutil.copytree(good, bad)
        (bad / name).unlink()
        if name != "average.safetensors":  # without it the plain weights serve
            trial.run(f"info, without {name}", ["info", bad], True)
        shutil.rmtree(bad)


def input_trials(trial, folder, good, work):
    text = work / "bad.txt"
    for what, data in {
        "invalid UTF-8": b"the \xff\xfe dog\n",
        "half a character": "grün".encode()[:3] + b"\n",
    }.items():
        text.write_bytes(data)
        trial.run(f"translate --input, {what}", ["translate", good, "--input", text], True)
    for what, data in {"no tab": b"one column\n", "empty": b"", "invalid UTF-8": b"\xc3(\tx\n"}.items():
        text.write_bytes(data)
        trial.run(f"train --train, {what}", ["train", "--train", text, "--out", work / "out", "--steps", "1"], True)
    for what, data in {
        "no JSON": "{",
        "an unknown key": '{"format_version": 1, "modle": {}}',
        "a list": "[1]",
        "deep": "[" * 100000,
        "a newer version": '{"format_version": 99}',
        "a wrong type": '{"format_version": 1, "model": {"dim": "wide"}}',
    }.items():
        text.write_text(data)
        trial.run(
            f"train --config, {what}",
            ["train", "--config", text, "--train", folder / "train.tsv", "--out", work / "out", "--steps", "1"],
            True,
        )
    trial.run("info of nothing", ["info", work / "nowhere"], True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", type=Path)
    parser.add_argument("--flips", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    trial = Trial(args.program)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        tiny_run.write_corpus(folder)
        tiny_run.train(args.program, folder, folder / "run", steps=20, checkpoint_every=20)
        work = folder / "work"
        work.mkdir()
        good = tiny_run.newest(folder / "run")
        trial.run("info", ["info", good], False)
        checkpoint_trials(trial, good, work, random.Random(args.seed), args.flips)
        input_trials(trial, folder, good, work)
    for fault in trial.faults:
        print(fault)
    print(f"{trial.count} trials, {len(trial.faults)} faults")
    return 1 if trial.faults else 0


if __name__ == "__main__":
    sys.exit(main())
