#!/usr/bin/env python3
"""The examples of docs/jobs.md run, on tiny models of the names that stand there; the page has every option of the
commands, and the JSON that they print. A quick test.

usage: page.py PROGRAM PAGE
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import program
import tiny_gguf
import tiny_models
from program import run

PAGE = None
COMMANDS = ["generate", "chat", "perplexity", "embed", "search", "classify", "translate", "export"]


def make_models(folder):
    """The models and files that the page names."""
    names = ("<|im_start|>", "<|im_end|>")
    writer = tiny_models.Bigrams(folder / "SmolLM2-135M", tiny_models.chain("\nhey"), positions=500, names=names)
    template = {"chat_template": "{{'<|im_start|>' + m['role'] + m['content'] + '<|im_end|>'}}"}
    tiny_models.write_json(writer.folder / "tokenizer_config.json", template)
    for name in ["all-MiniLM-L6-v2", "distilbert-sst2", "bert-mnli"]:
        tiny_models.golden(folder / name, "bert-sequence", before=[1], after=[2])
    prompts = {"prompts": {"query": "query: "}}
    tiny_models.write_json(folder / "all-MiniLM-L6-v2" / "config_sentence_transformers.json", prompts)
    size = {"image_processor_type": "ViTImageProcessor", "size": {"height": 12, "width": 12}}
    tiny_models.golden(folder / "vit-base", "vit-classes")
    tiny_models.write_json(folder / "vit-base" / "preprocessor_config.json", size)
    tiny_models.golden(folder / "opus-mt-en-de", "marian")
    task = {"task_specific_params": {"translation_en_to_de": {"prefix": "to german: "}}}
    tiny_models.change_json(tiny_models.golden(folder / "t5-small", "t5") / "config.json", **task)
    tiny_gguf.write(folder / "SmolLM2-135M.Q4_1.gguf", "llama")
    (folder / "photo.ppm").write_bytes(b"P6 2 2 255\n" + bytes(range(12)))
    (folder / "notes").mkdir()
    (folder / "notes" / "one.md").write_text("the key\n\nis here\n")
    (folder / "book.txt").write_text("a long book of many words\n" * 6)
    (folder / "lines.txt").write_text("one line\nanother\n")
    (folder / "examples.tsv").write_text("so fine\tgood\nit rains\tbad\n")


class Page(program.Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        make_models(cls.folder)
        (cls.folder / "bin").mkdir()
        (cls.folder / "bin" / "headway").symlink_to(program.PROGRAM)
        cls.path = {**os.environ, "PATH": f"{cls.folder / 'bin'}:{os.environ['PATH']}"}
        cls.text = PAGE.read_text(encoding="utf-8")
        cls.blocks = re.findall(r"^```sh\n(.*?)^```$", cls.text, re.MULTILINE | re.DOTALL)

    def test_every_example_runs(self):
        self.assertEqual(
            {line.split()[1] for block in self.blocks for line in re.findall(r"headway \S+", block)}, set(COMMANDS)
        )
        for block in self.blocks:
            done = subprocess.run(
                ["sh", "-euc", block], cwd=self.folder, env=self.path, capture_output=True, timeout=60
            )
            self.assertEqual(done.returncode, 0, (block, done.stderr))
            self.assertNotIn(b"headway:", done.stderr, block)

    def test_an_example_that_fails_is_seen(self):
        block = 'headway generate nowhere "a"\nheadway generate SmolLM2-135M "a"\n'
        done = subprocess.run(["sh", "-euc", block], cwd=self.folder, env=self.path, capture_output=True, timeout=60)
        self.assertNotEqual(done.returncode, 0)

    def test_the_page_has_the_options_that_there_are(self):
        known = {"--help", "--threads"}
        for command in COMMANDS:
            known |= set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", self.says(command, "--help")))
        self.assertEqual(set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", self.text)), known)

    def test_the_json_has_the_fields_that_the_page_lists(self):
        table = dict(re.findall(r"^\| `(\w+)` \| (`.*) \|$", self.text, re.MULTILINE))
        calls = {
            "generate": ["SmolLM2-135M", "a", "--max-tokens", "2"],
            "chat": ["SmolLM2-135M", "a"],
            "perplexity": ["SmolLM2-135M", "book.txt"],
            "embed": ["all-MiniLM-L6-v2", "a"],
            "search": ["all-MiniLM-L6-v2", "notes", "a"],
            "classify": ["distilbert-sst2", "a"],
            "translate": ["opus-mt-en-de", "a"],
            "export": ["vit-base", "out"],
        }
        self.assertEqual(table.keys(), calls.keys())
        for command, arguments in calls.items():
            done = run(command, *arguments, "--json", cwd=self.folder)
            self.assertEqual(done.returncode, 0, done.stderr)
            for line in done.stdout.decode().splitlines():
                fields = re.findall(r"`(\w+)`", table[command].partition(", or")[0])
                self.assertEqual(list(json.loads(line)), fields, command)

    def test_long_work_shows_how_far_it_has_come(self):
        """A second of work, on a pipe: lines that say so; short work says nothing."""
        self.write("long.txt", "a long book of many words\n" * 20)
        short = run("perplexity", self.folder / "SmolLM2-135M", self.folder / "book.txt")
        self.assertEqual((short.returncode, short.stderr), (0, b""))
        for times in [1, 8, 64, 512]:
            self.write("long.txt", "a long book of many words\n" * 20 * times)
            how = ["--context", "400", "--stride", "8"]
            done = run("perplexity", self.folder / "SmolLM2-135M", self.folder / "long.txt", *how)
            self.assertEqual(done.returncode, 0, done.stderr)
            if done.stderr:
                break
        self.assertRegex(done.stderr.decode(), r"^tokens +\d+ %  \d+/\d+  .* left\n")


if __name__ == "__main__":
    PAGE = Path(sys.argv.pop(2)).resolve()
    program.main(__doc__)
