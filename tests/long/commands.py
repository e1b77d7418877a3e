#!/usr/bin/env python3
"""What the commands share: results that cannot be written are errors, texts arrive byte for byte, lines are the same
from a file and a pipe, numbers out of range and options that contradict one another are refused, and a run goes on
with its own data alone. A quick test.

usage: commands.py PROGRAM
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import tiny_run

PROGRAM = None
TEXTS = [
    "[OK, Cancel]",
    "[Music]",
    "[]",
    "[",
    "]",
    "{}",
    "%%",
    "a%%b",
    "100 %",
    "",
    " ",
    "\u3000",
    "info",
    "train",
    "-",
]
TEXTS += ['"quoted"', "'s", "a,b", "a=b", "\\n", "$HOME", "#", "- x", "▁", "▅", "\x1f", "[\x1f", "]\x1f", "a]", "{a}"]


def run(*arguments, **options):
    options.setdefault("input", b"")
    return subprocess.run([PROGRAM, *map(str, arguments)], capture_output=True, timeout=60, **options)


class Commands(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.temporary = tempfile.TemporaryDirectory()
        cls.folder = Path(cls.temporary.name)
        tiny_run.write_corpus(cls.folder)
        cls.out = cls.folder / "run"
        tiny_run.train(PROGRAM, cls.folder, cls.out, steps=2, checkpoint_every=2)
        done = run(
            "prepare",
            "tsv",
            cls.folder / "train.tsv",
            "--source",
            "en",
            "--target",
            "de",
            "--out",
            cls.folder / "corpus",
            "--test-share",
            "0.3",
            "--max-similarity",
            "2",
        )
        assert done.returncode == 0, done.stderr

    @classmethod
    def tearDownClass(cls):
        cls.temporary.cleanup()

    def fails(self, done, *words, code=None):
        errors = done.stderr.decode("utf-8").splitlines()  # strictly: a message is well-formed
        self.assertIn(done.returncode, (1, 2) if code is None else (code,), (done.args, done.stdout, errors))
        self.assertTrue(errors and errors[-1].startswith("headway: "), (done.args, errors))
        for word in words:
            self.assertIn(word, errors[-1], done.args)
        return errors

    def write(self, name, data):
        path = self.folder / name
        path.write_bytes(data)
        return path

    def translated(self, *arguments, **options):
        done = run("translate", self.out, "--json", *arguments, **options)
        self.assertEqual(done.returncode, 0, done.stderr)
        return [json.loads(line) for line in done.stdout.decode().split("\n")[:-1]]

    def sources(self, *arguments, **options):
        return [each["source"] for each in self.translated(*arguments, **options)]

    def commands(self):
        """Every command that prints, with something short to do."""
        fresh = self.folder / "again"
        shutil.rmtree(fresh, ignore_errors=True)
        shutil.copytree(self.out, fresh)
        lines = self.write("lines.txt", b"the dog\n")
        pairs = ["prepare", "tsv", self.folder / "valid.tsv", "--source", "en", "--target", "de", "--out"]
        return [
            ["--version"],
            ["--help"],
            ["translate", "--help"],
            [*pairs, self.folder / "other"],
            [*pairs, self.folder / "other", "--json"],
            tiny_run.command(PROGRAM, self.folder, fresh, 2, 2)[1:],
            ["translate", self.out, "the dog"],
            ["translate", self.out, "the dog", "--best", "2"],
            ["translate", self.out, "the dog", "--json"],
            ["translate", self.out, "--input", lines],
            ["evaluate", "-r", lines, "-i", lines],
            ["evaluate", "-r", lines, "-i", lines, "--json"],
            ["evaluate", self.out, "--data", self.folder / "corpus"],
            ["inspect", self.out, "a", "--out", self.folder / "heads.html"],
            ["compare", "--check"],
            ["compare", "--size", "1,8,8,2", "--repeats", "1"],
            ["cost", "--predict-only"],
            ["cost", "--predict-only", "--json"],
            ["explain", "--length", "64"],
            ["explain", "--length", "64", "--json"],
            ["info", self.out],
            ["info", self.out, "--json"],
        ]

    def test_output_that_cannot_be_written_is_an_error_of_every_command(self):
        for command in self.commands():
            call = [PROGRAM, *map(str, command)]
            with open("/dev/full", "wb") as full:
                done = subprocess.run(call, stdout=full, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, timeout=60)
            done.stdout = b""
            self.fails(done, "standard output: cannot be written: No space left on device", code=1)
            reader, writer = os.pipe()
            os.close(reader)
            done = subprocess.run(call, stdout=writer, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, timeout=60)
            os.close(writer)
            self.fails(done, "Broken pipe", code=1)
        done = subprocess.run(["sh", "-c", '"$0" cost --predict-only >&-', PROGRAM], capture_output=True, timeout=60)
        self.fails(done, "cannot be written", code=1)
        # Nobody who reads messages is no reason to fail.
        done = subprocess.run(["sh", "-c", '"$0" translate "$1" x 2>&-', PROGRAM, self.out], capture_output=True)
        self.assertEqual(done.returncode, 0)

    def test_a_training_whose_last_line_cannot_be_printed_is_complete_all_the_same(self):
        out = self.folder / "unseen"
        with open("/dev/full", "wb") as full:
            subprocess.run(tiny_run.command(PROGRAM, self.folder, out, 2, 2), stdout=full, stderr=subprocess.DEVNULL)
        self.assertTrue((out / "COMPLETE").exists())

    def test_texts_arrive_byte_for_byte(self):
        self.assertEqual(self.sources(*TEXTS), TEXTS)
        for text in TEXTS:
            self.assertEqual(self.sources(text), [text])
        self.assertEqual(self.sources("--", "--", "-x", "--json"), ["--", "-x", "--json"])
        self.assertEqual(self.sources("--"), ["--"])
        for text in ["[OK, Cancel]", "{}", "▁"]:
            done = run("inspect", self.out, text, "--json", "--out", self.folder / "heads.html")
            if done.returncode == 0:  # an untrained model may never end a sentence
                self.assertEqual([each["source"] for each in json.loads(done.stdout)["sentences"]], [text])
            else:
                self.fails(done, "want at most")
        for name in ["[a, b]", "{}"]:
            file = self.write(name, b"the dog\n")
            self.assertEqual(self.sources("--input", name, cwd=self.folder), ["the dog"])
            self.assertEqual(run("evaluate", "-r", name, "-i", name, cwd=self.folder).returncode, 0)
            file.unlink()

    def test_a_sentence_without_text_has_one_empty_translation_by_every_way_in(self):
        for blank in ["", " ", "\u3000"]:
            for extra in [[], ["--best", "2"]]:
                for found in (self.translated(blank, *extra), self.translated(*extra, input=blank.encode() + b"\n")):
                    self.assertEqual([each["text"] for each in found[0]["translations"]], [""])
            self.fails(run("inspect", self.out, blank), "sentence 1 is", code=1)

    def test_lines_are_the_same_from_a_file_and_a_pipe(self):
        data = "\ufeffthe dog\r\na\u2028b\u0085c\rd\x0be\x0cf\n\nlast".encode()
        want = ["the dog", "a\u2028b\u0085c\rd\x0be\x0cf", "", "last"]
        self.assertEqual(self.sources(input=data), want)
        self.assertEqual(self.sources("--input", self.write("a.txt", data)), want)
        for bad, word in [
            (b"a\n\0\n", "line 2, has a NUL"),
            (b"a\nb\n\xff\n", "line 3, has byte 0xFF"),
            (b"a\n" + "grün ".encode() * 90 + b"\n", "line 2, has "),
            (b"x" * 1100000, "line 1, is longer than"),
        ]:
            path = self.write("bad.txt", bad)
            self.fails(run("translate", self.out, input=bad), f"standard input, {word}", code=1)
            self.fails(run("translate", self.out, "--input", path), f"bad.txt, {word}", code=1)
        self.fails(
            run("translate", self.out, b"\xff".decode("utf-8", "surrogateescape")), "sentence 1 has byte", code=1
        )
        self.fails(run("evaluate", "-r", self.write("a.txt", b"a\n"), input=b"\0\n"), "standard input, line 1", code=1)

    def test_numbers_out_of_range_are_refused_with_the_range(self):
        lines = self.write("lines.txt", b"the dog\n")
        train = tiny_run.command(PROGRAM, self.folder, self.folder / "never", 2, 2)[1:]
        pairs = ["prepare", "tsv", lines, "--source", "en", "--target", "de", "--out", self.folder / "never"]
        calls = {
            ("translate", str(self.out), "x"): {
                "beam": "0 -1 nan 1.5 0x10 99999999999999999999 +2",
                "length-penalty": "-1 nan inf",
                "best": "0 -1",
                "temperature": "-1 nan inf 1e999",
                "top-k": "-3 0 nan",
                "top-p": "1.5 0 -1 nan",
                "seed": "-1 1.5 nan",
                "threads": "0 -1 99999",
            },
            ("evaluate", "-r", str(lines), "-i", str(lines)): {
                "bootstrap": "-1 1 nan",
                "seed": "-1 18446744073709551616",
                "smooth-value": "-1 nan 0",
            },
            ("evaluate", str(self.out), "--data", "x"): {"beam": "0 nan", "examples": "0 4 -1"},
            ("compare",): {"repeats": "0 nan", "size": "1,2,3 1,2,3,0 1,2,3,4,5 -1,2,3,4 nan"},
            ("compare", "--train"): {"seeds": "0 nan", "steps": "-1", "train-dim": "0", "train-heads": "-1"},
            ("cost", "--predict-only"): dict.fromkeys(["heads", "length", "dim", "head-dim", "batch"], "0 -1 nan 9e9"),
            ("cost",): {"repeats": "0"},
            ("explain",): dict.fromkeys(["length", "keys", "batch", "heads", "kv-heads", "head-dim"], "0 -1 nan")
            | {"dropout": "1 -0.1 nan"},
            tuple(map(str, pairs)): {
                "max-words": "0 -1",
                "max-ratio": "0.5 nan",
                "test-share": "-0.1 1 nan",
                "valid-share": "1 nan",
                "max-similarity": "-1 nan",
                "source-column": "-1",
                "target-column": "-1",
                "document-column": "-2",
                "columns": "0 -1",
            },
            tuple(map(str, train)): {
                "dim": "0 -1 nan",
                "dropout": "1 -1 nan",
                "rate": "-1 nan inf",
                "warmup": "-1",
                "floor": "2 nan",
                "beta1": "1 nan",
                "epsilon": "0 nan",
                "label-smoothing": "1 nan",
                "average": "1 nan",
                "keep": "0",
                "seed": "-1",
                "length-penalty": "-1 nan",
                "vocab": "-1",
                "tokens": "0",
                "minutes": "nan -1",
            },
        }
        for call, options in calls.items():
            for name, values in options.items():
                for value in values.split():
                    # The last of equal options would be refused as given twice.
                    flag = f"--{name}"
                    given = list(call)
                    if flag in given:
                        del given[given.index(flag) : given.index(flag) + 2]
                    errors = self.fails(run(*given, flag, value), "want")
                    self.assertIn(name.replace("-", "_"), errors[-1].replace("-", "_"), (flag, value))
        self.assertFalse((self.folder / "never").exists())

    def test_options_that_contradict_one_another_are_refused(self):
        lines = self.write("lines.txt", b"the dog\n")
        files = ["evaluate", "-r", lines, "-i", lines]
        for call in [
            ["translate", self.out, "x", "--beam", "2", "--temperature", "1"],
            ["translate", self.out, "x", "--beam", "2", "--top-k", "1"],
            ["translate", self.out, "x", "--beam", "2", "--top-p", "0.5"],
            ["translate", self.out, "x", "--input", lines],
            ["translate", self.out, "x", "--temperature", "0", "--best", "2"],
            [*files, "--data", "x"],
            [*files, "--nearest-copy", "x"],
            [*files, "--smooth-value", "1"],
            [*files, self.out],
            ["compare", "--check", "--train"],
            ["compare", "--seeds", "2"],
            ["train", "--data", "x", "--train", lines, "--out", self.folder / "never", "--steps", "1"],
            ["train", "--data", "x", "--skip-bad", "--out", self.folder / "never", "--steps", "1"],
            ["train", "--train", lines, "--out", self.folder / "never", "--steps", "1", "--minutes", "1"],
        ]:
            self.fails(run(*call))

    def test_temperature_0_is_greedy(self):
        self.assertEqual(self.translated("the dog", "--temperature", "0"), self.translated("the dog", "--beam", "1"))

    def test_messages_cut_no_character(self):
        for size in range(28, 48):
            text = "x" * size + "😀 ä" * 100
            self.fails(run("translate", self.out, text), "sentence 1 has", code=1)
            for call in (["explain", "--mask", text], ["compare", "--size", text], ["evaluate", "-m", text, "-r", "x"]):
                self.fails(run(*call))
        self.fails(run("info", b"no\xffwhere\n".decode("utf-8", "surrogateescape")), "neither a run", code=1)

    def test_tables_have_the_columns_that_are_said_and_text_on_both_sides(self):
        good = (self.folder / "valid.tsv").read_bytes()
        for bad, word in [
            (b"a\tb\tc\n", "has 3 columns; want 2"),
            (b"\tb\n", "blank source"),
            (b"a\t \n", "blank target"),
            ("a\t\u3000\n".encode(), "blank target"),
            (b"a\n", "has 1 columns"),
        ]:
            path = self.write("bad.tsv", good + bad)
            command = tiny_run.command(PROGRAM, self.folder, self.folder / "tsv", 1, 1)[1:]
            command[command.index("--train") + 1] = path
            self.fails(run(*command), "line 21, ", word, code=1)
            done = run(*command, "--skip-bad")
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertIn("1 lines skipped", done.stderr.decode())
            shutil.rmtree(self.folder / "tsv")
        self.fails(
            run(
                "train",
                "--train",
                self.write("blank.tsv", "\u3000\t\u00a0\n".encode()),
                "--out",
                self.folder / "never",
                "--steps",
                "1",
            ),
            "blank source",
            code=1,
        )

    def test_a_run_goes_on_with_its_own_data_and_to_a_target_that_may_move(self):
        out = self.folder / "resumed"
        shutil.copytree(self.out, out)
        before = (self.folder / "train.tsv").read_bytes(), (self.folder / "valid.tsv").read_bytes()
        for name, data in zip(("train.tsv", "valid.tsv"), before):
            path = self.folder / name
            try:
                for other, word in [
                    (data + b"a\tb\n", "items, recorded are"),
                    (data.replace(b"dog", b"cat"), "other items"),
                ]:
                    path.write_bytes(other)
                    self.fails(run(*tiny_run.command(PROGRAM, self.folder, out, 2, 2)[1:]), word, path.stem, code=1)
            finally:
                path.write_bytes(data)
        self.fails(run(*tiny_run.command(PROGRAM, self.folder, out, 1, 2)[1:]), "the run has made 2", code=1)
        done = run(*tiny_run.command(PROGRAM, self.folder, out, 4, 2)[1:])
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("steps: 4 instead of 2; the cosine schedule is stretched", done.stderr.decode())
        self.assertEqual(tiny_run.newest(out).name, "step-4")
        # A checkpoint of before has no fingerprint.
        (tiny_run.newest(out) / "data.json").unlink()
        done = run(*tiny_run.command(PROGRAM, self.folder, out, 6, 2)[1:])
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("does not say what it was trained on", done.stderr.decode())

    def test_a_schedule_that_knows_no_end_gives_the_same_bits_with_a_target_that_moved(self):
        weights = []
        for name, targets in [("straight", [6]), ("moved", [2, 6])]:
            for steps in targets:
                command = tiny_run.command(PROGRAM, self.folder, self.folder / name, steps, 2)[1:]
                command[command.index("--schedule") + 1] = "inverse_sqrt"
                self.assertEqual(run(*command).returncode, 0)
            weights.append((self.folder / name / "step-6" / "model.safetensors").read_bytes())
        self.assertEqual(*weights)

    def test_a_checkpoint_without_space_gives_its_reason_in_one_line(self):
        out = self.folder / "nospace"
        command = tiny_run.command(PROGRAM, self.folder, out, 2, 2)
        # A limit on the size of files stands for a full disk; the signal that comes with it is ignored.
        limited = "import resource, signal, os, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        limited += "resource.setrlimit(resource.RLIMIT_FSIZE, (60000, 60000)); os.execv(sys.argv[1], sys.argv[1:])"
        done = subprocess.run([sys.executable, "-c", limited, *command], capture_output=True, timeout=60)
        self.fails(done, "checkpoint: step 2 cannot be saved", "File too large", code=1)
        self.assertFalse([p for p in out.iterdir() if p.name.startswith((".", "step"))])


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    PROGRAM = str(Path(sys.argv.pop(1)).resolve())
    unittest.main()
