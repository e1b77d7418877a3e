#!/usr/bin/env python3
"""Puts small bugs into a copy of the sources, one at a time, and requires that a test turns red for each.

mutations.json is a list of {name, file, find, replace, target, tests}: in `file`, the text `find` (which must occur
there exactly once) becomes `replace`; the CMake target `target` is built again, and of the tests that match the regular
expression `tests`, all of which pass in the sound tree, at least one must fail. A mutation that does not compile proves
nothing and counts as a fault of the list.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
NOT_COPIED = {"build", "run", ".git", ".cache", "__pycache__"}


@dataclass
class Mutation:
    name: str
    file: str
    find: str
    replace: str
    target: str
    tests: str

    def apply(self, root):
        """Writes the mutated file; returns the former text, or raises ValueError where the mutation does not fit."""
        path = root / self.file
        if not path.is_file():
            raise ValueError(f"{self.name}: no file {self.file}")
        text = path.read_text()
        if text.count(self.find) != 1:
            raise ValueError(f"{self.name}: {self.file} has the text {text.count(self.find)} times; want once")
        if self.find == self.replace:
            raise ValueError(f"{self.name}: changes nothing")
        path.write_text(text.replace(self.find, self.replace))
        return text


def load(path):
    mutations = [Mutation(**entry) for entry in json.loads(Path(path).read_text())]
    names = [m.name for m in mutations]
    if len(set(names)) != len(names):
        raise ValueError("two mutations share a name")
    if not mutations:
        raise ValueError("no mutations")
    for mutation in mutations:
        re.compile(mutation.tests)
    return mutations


def check(mutations, root):
    """Every mutation that no longer fits the sources."""
    problems = []
    for mutation in mutations:
        try:
            before = mutation.apply(root)
            (root / mutation.file).write_text(before)
        except ValueError as error:
            problems.append(str(error))
    return problems


def copy_tree(source, target):
    shutil.copytree(source, target, ignore=lambda _, names: NOT_COPIED & set(names), symlinks=True)


class Bench:
    """A copy of the tree with its own build folder."""

    def __init__(self, source, work, jobs):
        self.root, self.build, self.jobs = work / "tree", work / "build", jobs
        copy_tree(source, self.root)
        self.environment = os.environ | {"CCACHE_BASEDIR": str(work), "CCACHE_NOHASHDIR": "1"}
        # -w: a mutation may leave a variable unused, and that is not what is looked for.
        command = [
            "cmake",
            "-S",
            str(self.root),
            "-B",
            str(self.build),
            "-G",
            "Ninja",
            "-DCMAKE_BUILD_TYPE=Release",
            "-DCMAKE_CXX_FLAGS=-w",
        ]
        if shutil.which("ccache"):
            command.append("-DCMAKE_CXX_COMPILER_LAUNCHER=ccache")
        self.run(command, must_end_well=True)

    def run(self, command, must_end_well=False):
        ended = subprocess.run(command, capture_output=True, text=True, env=self.environment, check=False)
        if must_end_well and ended.returncode != 0:
            raise RuntimeError(f"{' '.join(command)}\n{ended.stdout[-4000:]}{ended.stderr[-4000:]}")
        return ended

    def compile(self, *targets):
        return self.run(["cmake", "--build", str(self.build), "--parallel", str(self.jobs), "--target", *targets])

    def test(self, regexp):
        """(number of tests run, names of those that failed)"""
        ended = self.run(
            [
                "ctest",
                "--test-dir",
                str(self.build),
                "-R",
                regexp,
                "-E",
                "_NOT_BUILT$",
                "-LE",
                "long|peers",
                "--timeout",
                "120",
                "--parallel",
                str(self.jobs),
                "--no-tests=error",
            ]
        )
        return tally(ended.stdout)


def tally(output):
    """(number of tests run, names of those that failed), from what ctest printed."""
    total = re.search(r"tests failed out of (\d+)|tests passed.*out of (\d+)", output)
    if not total:
        return 0, []
    tail = output.split("The following tests FAILED:")
    failed = re.findall(r"^\s*\d+ - (\S+)", tail[1], re.MULTILINE) if len(tail) > 1 else []
    return int(total.group(1) or total.group(2)), failed


def verdict(bench, mutation):
    """None where the mutation was caught, else what is wrong; and a line to print."""
    path = bench.root / mutation.file
    before = mutation.apply(bench.root)
    try:
        built = bench.compile(mutation.target)
        if built.returncode != 0:
            # A test program that the mutation kills when it merely lists its tests has been caught, too.
            if "Error running test executable" in built.stdout:
                return None, "red when listing tests"
            return "does not compile", built.stdout[-3000:]
        ran, failed = bench.test(mutation.tests)
        if not failed:
            return "SURVIVED", f"{ran} tests stayed green"
        return None, f"{len(failed)} of {ran} red: {failed[0]}"
    finally:
        path.write_text(before)


def prove(mutations, source, jobs, keep):
    work = Path(tempfile.mkdtemp(prefix="headway-mutations-"))
    try:
        bench = Bench(source, work, jobs)
        targets = sorted({m.target for m in mutations})
        print(f"building {', '.join(targets)} in {work}", flush=True)
        built = bench.compile(*targets)
        if built.returncode != 0:
            print(built.stdout[-6000:])
            return 1
        for regexp in sorted({m.tests for m in mutations}):
            ran, failed = bench.test(regexp)
            if ran == 0 or failed:
                print(
                    f"the sound tree: {ran} tests match {regexp}, {len(failed)} fail {failed[:3]}; "
                    "want some, and none to fail"
                )
                return 1
        faults = 0
        for number, mutation in enumerate(mutations, 1):
            begin = time.monotonic()
            fault, told = verdict(bench, mutation)
            faults += fault is not None
            print(
                f"[{number}/{len(mutations)}] {fault or 'caught'}: {mutation.name} ({told}; "
                f"{time.monotonic() - begin:.0f} s)",
                flush=True,
            )
        print(f"{len(mutations) - faults} mutations caught, {faults} not")
        return 1 if faults else 0
    finally:
        if not keep:
            shutil.rmtree(work, ignore_errors=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--source", type=Path, required=True, help="root of the sources; they are copied, not touched"
    )
    parser.add_argument("--list", type=Path, default=HERE / "mutations.json")
    parser.add_argument("--only", default="", help="regular expression over the names of mutations")
    parser.add_argument("--check", action="store_true", help="only see that every mutation fits the sources")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--keep", action="store_true", help="keep the copy")
    options = parser.parse_args()

    source = options.source.resolve()
    try:
        mutations = [m for m in load(options.list) if re.search(options.only, m.name)]
    except (ValueError, TypeError, re.error) as error:
        print(f"{options.list}: {error}")
        return 1
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "tree"
        copy_tree(source, copy)
        problems = check(mutations, copy)
    for problem in problems:
        print(problem)
    if problems or options.check:
        return 1 if problems else 0
    return prove(mutations, source, options.jobs, options.keep)


if __name__ == "__main__":
    sys.exit(main())
