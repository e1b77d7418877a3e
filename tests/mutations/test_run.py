#!/usr/bin/env python3
"""The mutation runner, on a project of one function: it must tell a caught mutation from one that survives."""

import contextlib
import io
import json
import tempfile
import unittest
from pathlib import Path

import run

CMAKE = """cmake_minimum_required(VERSION 3.25)
project(tiny CXX)
enable_testing()
add_executable(tiny tiny.cpp)
add_test(NAME tiny COMMAND tiny)
"""
SOURCE = """int add(int a, int b) { return a + b; }
int unseen(int a) { return a * 2; }
int main() { return add(2, 3) == 5 ? 0 : 1; }
"""


def mutation(**changes):
    return {
        "name": "sum",
        "file": "tiny.cpp",
        "find": "a + b",
        "replace": "a - b",
        "target": "tiny",
        "tests": "tiny",
    } | changes


class Runner(unittest.TestCase):
    def outcome(self, *entries, source=SOURCE):
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()) as printed:
            root = Path(folder)
            (root / "CMakeLists.txt").write_text(CMAKE)
            (root / "tiny.cpp").write_text(source)
            (root / "list.json").write_text(json.dumps(entries))
            mutations = run.load(root / "list.json")
            problems = run.check(mutations, root)
            if problems:
                return 1, "\n".join(problems)
            status = run.prove(mutations, root, 2, keep=False)
            self.assertEqual((root / "tiny.cpp").read_text(), source)
        return status, printed.getvalue()

    def test_mutation_that_a_test_sees_is_caught(self):
        status, printed = self.outcome(mutation())
        self.assertEqual(status, 0, printed)

    def test_mutation_that_no_test_sees_survives(self):
        status, printed = self.outcome(mutation(), mutation(name="unseen", find="a * 2", replace="a * 3"))
        self.assertEqual(status, 1)
        self.assertIn("SURVIVED: unseen", printed)

    def test_mutation_that_does_not_compile_is_a_fault(self):
        status, printed = self.outcome(mutation(replace="a +"))
        self.assertEqual(status, 1)
        self.assertIn("does not compile", printed)

    def test_tests_that_fail_anyway_prove_nothing(self):
        self.assertEqual(self.outcome(mutation(), source=SOURCE.replace("== 5", "== 6"))[0], 1)

    def test_expression_that_matches_no_test(self):
        self.assertEqual(self.outcome(mutation(tests="nothing"))[0], 1)

    def test_text_that_is_gone_or_ambiguous(self):
        self.assertIn("0 times", self.outcome(mutation(find="a / b"))[1])
        self.assertIn("3 times", self.outcome(mutation(find="return", replace="throw"))[1])


if __name__ == "__main__":
    unittest.main()
