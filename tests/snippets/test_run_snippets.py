#!/usr/bin/env python3
"""run_snippets.py must see a snippet that does not compile, fails, or throws another message.

usage: test_run_snippets.py COMPILER
"""
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import run_snippets

COMPILER = sys.argv.pop(1) if len(sys.argv) > 1 else "c++"
HEADER = """#pragma once
#include <stdexcept>
namespace headway { struct Error : std::runtime_error { using runtime_error::runtime_error; }; int two(); }
"""


def document(kind, code, rest=""):
    return f"text\n<!-- {kind} -->\n```cpp\n{code}\n```\n{rest}"


class Snippets(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.root = Path(self.folder.name)
        (self.root / "include/headway").mkdir(parents=True)
        (self.root / "include/headway/all.h").write_text(HEADER)
        (self.root / "lib.cpp").write_text("namespace headway { int two() { return 2; } }")
        subprocess.run([COMPILER, "-shared", "-fPIC", "-o", "lib.so", "lib.cpp"], cwd=self.root, check=True)

    def outcome(self, readme):
        (self.root / "README.md").write_text(readme)
        runner = str(Path(run_snippets.__file__).resolve())
        ended = subprocess.run([sys.executable, "-B", runner, "--root", str(self.root), "--library",
                                str(self.root / "lib.so"), "--compiler", COMPILER],
                               capture_output=True, text=True, check=False)
        return ended.returncode, ended.stdout

    def test_sound_snippet_passes(self):
        self.assertEqual(self.outcome(document("run", "if (headway::two() != 2) return 1;"))[0], 0)

    def test_snippet_that_fails(self):
        self.assertEqual(self.outcome(document("run", "if (headway::two() == 2) return 1;"))[0], 1)

    def test_snippet_that_does_not_compile(self):
        status, output = self.outcome(document("run", "headway::three();"))
        self.assertEqual(status, 1)
        self.assertIn("does not compile", output)

    def test_continued_snippet_knows_the_names_before_it(self):
        readme = document("run", "int a = headway::two();") + document("run continued", "if (a != 2) return 1;")
        self.assertEqual(self.outcome(readme)[0], 0)

    def test_thrown_message_is_the_documents(self):
        code = 'throw headway::Error("mask: T is 3; want 4");'
        self.assertEqual(self.outcome(document("run throws", code, "```\nmask: T is 3; want 4\n```\n"))[0], 0)
        status, output = self.outcome(document("run throws", code, "```\nmask: T is 3; want 5\n```\n"))
        self.assertEqual(status, 1)
        self.assertIn("the document says", output)

    def test_snippet_that_should_throw_and_does_not(self):
        self.assertEqual(self.outcome(document("run throws", ";", "```\nmask\n```\n"))[0], 1)

    def test_uncaught_error_fails(self):
        self.assertEqual(self.outcome(document("run", 'throw headway::Error("no");'))[0], 1)

    def test_document_without_a_marked_block(self):
        self.assertEqual(self.outcome("nothing to run\n")[0], 1)

    def test_misspelt_mark(self):
        self.assertEqual(self.outcome(document("run trows", ";"))[0], 1)


if __name__ == "__main__":
    unittest.main()
