"""What the tests of whole jobs share: the program, a folder for a class of tests, and how an error looks."""

import json
import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

PROGRAM = None


def run(*arguments, **options):
    if "stdin" not in options:
        options.setdefault("input", b"")
    return subprocess.run([PROGRAM, *map(str, arguments)], capture_output=True, timeout=60, **options)


class Case(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.temporary = tempfile.TemporaryDirectory()
        cls.folder = Path(cls.temporary.name)

    @classmethod
    def tearDownClass(cls):
        cls.temporary.cleanup()

    def write(self, name, data):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
        return path

    def says(self, *arguments, **options):
        """Standard output of a command that ends well."""
        done = run(*arguments, **options)
        self.assertEqual(done.returncode, 0, (done.args, done.stderr))
        return done.stdout.decode()

    def told(self, *arguments, **options):
        """The JSON objects that a command prints, one a line."""
        return [json.loads(line) for line in self.says(*arguments, "--json", **options).split("\n")[:-1]]

    def fails(self, done, *words, code=1):
        errors = done.stderr.decode("utf-8").splitlines()
        self.assertEqual(done.returncode, code, (done.args, done.stdout, errors))
        self.assertEqual(len(errors), 1, (done.args, errors))
        self.assertTrue(errors[0].startswith("headway: "), (done.args, errors))
        for word in words:
            self.assertIn(word, errors[0], done.args)

    def refuses_output(self, *arguments, **options):
        """A full disk and a reader that is gone are errors."""
        call = [PROGRAM, *map(str, arguments)]
        with open("/dev/full", "wb") as full:
            done = subprocess.run(call, stdout=full, stderr=subprocess.PIPE, timeout=60, **options)
        self.assertEqual(done.returncode, 1, call)
        self.assertIn(b"No space left on device", done.stderr)
        reader, writer = os.pipe()
        os.close(reader)
        done = subprocess.run(call, stdout=writer, stderr=subprocess.PIPE, timeout=60, **options)
        os.close(writer)
        self.assertEqual(done.returncode, 1, call)
        self.assertIn(b"Broken pipe", done.stderr)


def main(usage):
    global PROGRAM
    if len(sys.argv) < 2:
        sys.exit(usage)
    PROGRAM = str(Path(sys.argv.pop(1)).resolve())
    unittest.main(module="__main__")
