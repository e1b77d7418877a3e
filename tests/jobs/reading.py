#!/usr/bin/env python3
"""headway perplexity, embed and search, against what plain Python makes of the same logits and vectors. A quick test.

usage: reading.py PROGRAM
"""

import json
import math
import random
import shutil
import struct

import program
import tiny_models
from program import run
from tiny_models import tokens


def soft(t, n):
    return ((7 * t + 11 * n + t * n) % 29) / 5


class Perplexity(program.Case):
    TEXT = "a text of some tokens\r\nand ä line that lacks its end"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.TEXT = cls.TEXT.replace("x", "k")  # no token
        cls.model = tiny_models.Bigrams(cls.folder / "model", soft)
        cls.begun = tiny_models.Bigrams(cls.folder / "begun", soft, before=[1])
        cls.model.folder.joinpath("text").write_bytes(cls.TEXT.replace("\r", "").encode())

    def want(self, model, ids, size, context=64, stride=0):
        """Windows as they are told of: each token once, with as much before it as its window has."""
        total, scored, start = 0.0, 1, 0
        while scored < len(ids):
            for i in range(scored, min(len(ids), start + context)):
                total -= model.log_probabilities(ids[i - 1], i - 1 - start)[ids[i]]
            scored = min(len(ids), start + context)
            start += stride or context // 2
        loss = total / (len(ids) - 1)
        return {
            "perplexity": math.exp(loss),
            "loss": loss,
            "bits_per_byte": total / math.log(2) / size,
            "tokens": len(ids) - 1,
            "bytes": size,
        }

    def near(self, found, want):
        self.assertEqual(found.keys(), want.keys())
        for key, value in want.items():
            self.assertAlmostEqual(found[key], value, delta=2e-6 * value if isinstance(value, float) else 0, msg=key)

    def test_every_token_is_scored_once_in_windows_that_move(self):
        text = self.TEXT.replace("\r", "")
        file = self.write("text", text)
        ids, size = tokens(text), len(text.encode())
        for context, stride in [(0, 0), (64, 1), (10, 0), (10, 3), (16, 15), (2, 1), (50, 49)]:
            options = [x for pair in (("--context", context), ("--stride", stride)) if pair[1] for x in pair]
            found = self.told("perplexity", self.model.folder, file, *options)
            # The first token is given where none is put before it, and its byte is not scored.
            self.near(found[0], self.want(self.model, ids, size - 1, context or 64, stride))
            found = self.told("perplexity", self.begun.folder, file, *options)
            self.near(found[0], self.want(self.begun, [1, *ids], size, context or 64, stride))
        long = text * 9
        found = self.told("perplexity", self.model.folder, input=long.encode())
        self.near(found[0], self.want(self.model, tokens(long), len(long.encode()) - 1))

    def test_the_text_is_taken_byte_for_byte(self):
        for text in ["ab", "ab\n", "ab\n\n", "\n\na", "a\nb\n"]:
            want = self.want(self.model, tokens(text), len(text) - 1)
            self.near(self.told("perplexity", self.model.folder, self.write("text", text))[0], want)
            self.near(self.told("perplexity", self.model.folder, input=text.encode())[0], want)
            self.near(self.told("perplexity", self.model.folder, "-", input=text.encode())[0], want)
        with_return = self.told("perplexity", self.model.folder, input=b"a\r\nb")[0]
        self.assertEqual((with_return["bytes"], with_return["tokens"]), (3, 3))
        line = self.says("perplexity", self.model.folder, input=b"ab\n")
        self.assertRegex(
            line, r"^perplexity \d+\.\d{4}   loss \d+\.\d{4} a token   \S+ bits per byte   2 tokens, 2 bytes\n$"
        )

    def test_what_is_wrong_is_one_line(self):
        model = self.model.folder
        text = self.write("text", self.TEXT)
        for how in ["--context 65", "--stride 64", "--context 8 --stride 8", "--context 8 --stride 9"]:
            self.fails(run("perplexity", model, text, *how.split()), "context is", "want a context of 2 to 64")
        for how in ["--context 1", "--stride 0", "--stride -1", "--context nan", "--dtype int8"]:
            self.fails(run("perplexity", model, text, *how.split()), code=2)
        for short in [b"", b"a"]:
            self.fails(run("perplexity", model, input=short), "fewer than two tokens; want more text")
        self.fails(run("perplexity", model, input=b"ab\xff"), "byte 0xFF")
        self.fails(run("perplexity", model, self.folder / "nowhere"), "nowhere")
        for family, word in [("t5", "want a decoder"), ("bert-masked", "writes no text")]:
            other = tiny_models.golden(self.folder / family, family)
            self.fails(run("perplexity", other, text), word)
        done = run("perplexity", model, stdin=None, close_fds=True, preexec_fn=lambda: __import__("os").close(0))
        self.fails(done, "standard input: cannot be read")
        self.refuses_output("perplexity", model, text)
        self.refuses_output("perplexity", model, text, "--json")


def npy(path):
    """Rows of a float32 .npy."""
    data = path.read_bytes()
    assert data[:8] == b"\x93NUMPY\x01\x00"
    size = struct.unpack("<H", data[8:10])[0]
    assert (10 + size) % 64 == 0 and data[9 + size : 10 + size] == b"\n"
    header = eval(data[10 : 10 + size], {"__builtins__": {}})
    assert header["descr"] == "<f4" and header["fortran_order"] is False
    rows, width = header["shape"]
    numbers = struct.unpack(f"<{rows * width}f", data[10 + size :])
    return [list(numbers[i * width : (i + 1) * width]) for i in range(rows)]


def length(row):
    return math.sqrt(sum(x * x for x in row))


TEXTS = ["a text", "b", "some more of it", "ä", "a text", "many letters by", "no", "this line is ten"]


class Embed(program.Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.model = tiny_models.golden(cls.folder / "model", "bert-sequence", before=[1], after=[2])
        cls.long = tiny_models.golden(cls.folder / "long", "llama")
        cls.texts = [text.replace("x", "k") for text in TEXTS]

    def rows(self, *arguments, **options):
        return [each["embedding"] for each in self.told("embed", *arguments, **options)]

    def test_a_file_of_numpys_holds_what_is_printed(self):
        file = self.folder / "rows.npy"
        found = self.told("embed", self.model, *self.texts)
        self.assertEqual([each["text"] for each in found], self.texts)
        rows = [each["embedding"] for each in found]
        self.assertEqual({len(row) for row in rows}, {12})
        for options in [{}, {"input": "\n".join(self.texts).encode()}]:
            texts = [] if options else self.texts
            self.assertEqual(
                self.says("embed", self.model, "--out", file, *texts, **options), f"{file}: 8 texts, 12 wide\n"
            )
            self.assertEqual(npy(file), [[tiny_models.single(x) for x in row] for row in rows])
            file.unlink()
        lines = self.write("lines", "\r\n".join(self.texts))
        self.assertEqual(self.told("embed", self.model, "--input", lines), found)
        self.assertEqual(
            self.says("embed", self.model, *self.texts), self.says("embed", self.model, *self.texts, "--json")
        )
        told = self.told("embed", self.model, "--out", file, "a", "abcdefghijklmnopr")
        self.assertEqual(told, [{"file": str(file), "texts": 2, "width": 12, "cut": 1}])
        self.says("embed", self.model, "--out", file, input=b"")
        self.assertEqual(npy(file), [])

    def test_a_text_alone_and_among_others_has_the_same_bits(self):
        for family in ["bert-sequence", "roberta-masked", "modernbert-sequence", "llama", "gemma3", "t5", "transfo-xl"]:
            model = tiny_models.golden(self.folder / f"same-{family}", family, before=[1])
            texts = [text for text in self.texts if len(tokens(text)) < 15]
            for dtype in ["float32", "bfloat16"] if family in ("bert-sequence", "llama") else ["float32"]:
                together = self.rows(model, *texts, "--dtype", dtype)
                backwards = self.rows(model, *texts[::-1], *texts, "--dtype", dtype)
                self.assertEqual(backwards, together[::-1] + together, (family, dtype))
                for text, row in zip(texts[:5], together):
                    self.assertEqual(self.rows(model, text, "--dtype", dtype), [row], (family, dtype))

    def test_long_texts_of_a_wider_model_have_the_same_bits_too(self):
        model = tiny_models.wide(self.folder / "wide")
        draw = random.Random(3)
        texts = ["".join(draw.choice(tiny_models.LETTERS) for _ in range(draw.randrange(1, 600))) for _ in range(24)]
        for dtype in ["float32", "bfloat16"]:
            together = self.rows(model, *texts, "--dtype", dtype)
            self.assertEqual({len(row) for row in together}, {80})
            for threads in ["1", "3"]:
                self.assertEqual(self.rows(model, *texts, "--dtype", dtype, "--threads", threads), together)
            for text, row in list(zip(texts, together))[:6]:
                self.assertEqual(self.rows(model, text, "--dtype", dtype), [row], (len(text), dtype))

    def test_what_the_models_files_say_of_vectors_is_done(self):
        plain = self.rows(self.model, *self.texts)
        model = self.folder / "modules"
        shutil.copytree(self.model, model)
        modules = [
            {"type": f"sentence_transformers.models.{name}", "path": path}
            for name, path in [("Transformer", ""), ("Pooling", "1_Pooling"), ("Normalize", "2_Normalize")]
        ]
        tiny_models.write_json(model / "modules.json", modules)
        tiny_models.write_json(model / "1_Pooling" / "config.json", {"pooling_mode_mean_tokens": True})
        normal = self.rows(model, *self.texts)
        for row, raw in zip(normal, plain):
            self.assertAlmostEqual(length(row), 1, delta=1e-6)
            for a, b in zip(row, raw):
                self.assertAlmostEqual(a, b / length(raw), delta=1e-6)
        self.assertEqual(self.rows(model, "--raw", *self.texts), plain)
        # Pooled otherwise.
        tiny_models.write_json(model / "1_Pooling" / "config.json", {"pooling_mode_cls_token": True})
        first = self.rows(model, "--raw", *self.texts)
        self.assertNotEqual(first, plain)
        tiny_models.write_json(
            model / "1_Pooling" / "config.json", {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True}
        )
        both = self.rows(model, "--raw", *self.texts)
        self.assertEqual(both, [a + b for a, b in zip(first, plain)])
        tiny_models.write_json(model / "1_Pooling" / "config.json", {"pooling_mode_max_tokens": True})
        self.fails(run("embed", model, "a"), "pooling_mode_max_tokens is true; want cls, mean or lasttoken")

    def test_prompts_stand_before_texts(self):
        model = self.folder / "prompts"
        shutil.copytree(self.model, model)
        prompts = {"prompts": {"query": "ask ", "passage": "say "}, "default_prompt_name": None}
        tiny_models.write_json(model / "config_sentence_transformers.json", prompts)
        self.assertEqual(self.rows(model, "--prompt", "query", "it"), self.rows(self.model, "ask it"))
        self.assertEqual(self.rows(model, "it"), self.rows(self.model, "it"))
        tiny_models.change_json(model / "config_sentence_transformers.json", default_prompt_name="passage")
        self.assertEqual(self.rows(model, "it"), self.rows(self.model, "say it"))
        self.fails(
            run("embed", model, "--prompt", "poem", "it"), 'prompt_name is "poem"; this model has passage, query'
        )

    def test_texts_are_lowered_where_the_files_say_so(self):
        model = self.folder / "lower"
        shutil.copytree(self.model, model)
        self.assertNotEqual(self.rows(model, "AB Ä"), self.rows(model, "ab ä"))
        tiny_models.write_json(model / "sentence_bert_config.json", {"do_lower_case": True})
        self.assertEqual(self.rows(model, "AB Ä"), self.rows(self.model, "ab ä"))

        self.fails(run("embed", model, "A\udcff"), "text 0 has byte 0xFF")

    def test_damaged_files_beside_a_model_are_named(self):
        good = {"type": "sentence_transformers.models.Pooling", "path": "1"}
        for name, value, words in [
            ("modules.json", {}, ["modules.json", "is not a list of modules"]),
            ("modules.json", [1], ["modules.json", 'a module is "1"; want an object']),
            ("modules.json", [{"type": 3}], ["modules.json", 'type is "3"; want text']),
            ("modules.json", [good | {"type": "a.b.Poem"}], ["modules.json", "has a module a.b.Poem"]),
            ("modules.json", [good | {"path": "gone"}], ["gone/config.json"]),
            ("1/config.json", [], ["1/config.json", "is not a JSON object"]),
            ("1/config.json", {"pooling_mode_cls_token": 1}, ["1/config.json", 'is "1"; want true or false']),
            ("1/config.json", {"pooling_mode": "poem"}, ["1/config.json", "want cls, mean or lasttoken"]),
            ("1/config.json", {}, ["1/config.json", "asks for no pooling"]),
            ("sentence_bert_config.json", "text", ["sentence_bert_config.json", "is not a JSON object"]),
            ("config_sentence_transformers.json", [], ["config_sentence_transformers.json", "is not a JSON object"]),
        ]:
            model = self.folder / "damaged"
            shutil.rmtree(model, ignore_errors=True)
            shutil.copytree(self.model, model)
            tiny_models.write_json(model / "modules.json", [good])
            tiny_models.write_json(model / "1" / "config.json", {"pooling_mode": "mean"})
            self.says("embed", model, "a")
            tiny_models.write_json(model / name, value)
            self.fails(run("embed", model, "a"), *words)
        (model / "config_sentence_transformers.json").unlink()
        (model / "modules.json").write_text("[{")
        self.fails(run("embed", model, "a"), "modules.json", "is not JSON")

    def test_pooling_without_the_prompt_is_refused(self):
        model = self.folder / "without"
        shutil.copytree(self.model, model)
        tiny_models.write_json(model / "modules.json", [{"type": "sentence_transformers.models.Pooling", "path": "1"}])
        tiny_models.write_json(model / "1" / "config.json", {"pooling_mode": "mean", "include_prompt": False})
        tiny_models.write_json(model / "config_sentence_transformers.json", {"prompts": {"query": "ask "}})
        self.assertEqual(self.rows(model, "a"), self.rows(self.model, "a"))
        self.fails(run("embed", model, "a", "--prompt", "query"), "include_prompt is false")

    def test_how_many_texts_were_cut_is_said(self):
        full = "abcdefghijklmn"  # with two tokens around it all that the model takes
        done = run("embed", self.model, full, full + "o", full * 3, "a")
        self.assertEqual(done.stderr.decode(), "2 of 4 texts have more than 16 tokens and were cut\n")
        rows = [json.loads(line)["embedding"] for line in done.stdout.decode().splitlines()]
        self.assertEqual(rows[0], rows[1])
        self.assertEqual(rows[0], self.rows(self.model, full)[0])
        self.assertEqual(run("embed", self.model, full).stderr, b"")
        shorter = self.folder / "shorter"
        shutil.copytree(self.model, shorter)
        tiny_models.write_json(shorter / "sentence_bert_config.json", {"max_seq_length": 6})
        done = run("embed", shorter, full, "abcd")
        self.assertEqual(done.stderr.decode(), "1 of 2 texts have more than 6 tokens and were cut\n")
        self.assertEqual(
            json.loads(done.stdout.decode().splitlines()[0])["embedding"], self.rows(self.model, "abcd")[0]
        )

    def test_what_is_wrong_is_one_line(self):
        out = self.folder / "never.npy"
        self.fails(run("embed", self.model, "--out", out, "a", "b\udcff"), "text 1", "byte 0xFF")
        self.fails(run("embed", self.model, "--out", out, input=b"a\n\xff\n"), "line 2")
        self.fails(run("embed", self.long, "--out", out, "a", ""), "a text has no tokens")
        self.assertFalse(out.exists())
        self.fails(run("embed", self.model, "--out", self.folder / "no" / "a.npy", "a"), "a.npy")
        self.fails(run("embed", self.folder / "nowhere", "a"), "nowhere")
        self.fails(run("embed", self.model, "a", "--input", "x"), code=2)
        self.fails(run("embed", self.model, "a", "--dtype", "x"), code=2)
        self.refuses_output("embed", self.model, "a")
        self.refuses_output("embed", self.model, "a", "--json")
        full = self.folder / "full"
        limited = "import resource, signal, os, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        limited += "resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100)); os.execv(sys.argv[1], sys.argv[1:])"
        import subprocess
        import sys

        call = [sys.executable, "-c", limited, program.PROGRAM, "embed", self.model, "a", "b", "c", "--out", full]
        self.fails(subprocess.run(list(map(str, call)), capture_output=True), "File too large")
        self.assertEqual([path.name for path in self.folder.glob("*full*")], [])


class Search(program.Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.model = tiny_models.golden(cls.folder / "model", "bert-sequence", before=[1], after=[2])
        cls.write(cls, "docs/one.txt", "the first one\nof two lines\n\n\n  \t\nby itself\n")
        cls.write(cls, "docs/deep/two.md", "\n\nsome line\r\nthe next\r\n\r\nlast one without an end")
        cls.write(cls, "docs/three.rst", "ask me\n")
        cls.write(cls, "docs/four.bin", b"\xff\xfe")
        cls.write(cls, "docs/long.txt", "\n".join("word " * 25 for _ in range(20)))
        cls.docs = cls.folder / "docs"

    PASSAGES = {
        ("deep/two.md", 3): "some line the next",
        ("deep/two.md", 6): "last one without an end",
        ("one.txt", 1): "the first one of two lines",
        ("one.txt", 6): "by itself",
        ("three.rst", 1): "ask me",
    }

    def test_passages_and_their_places(self):
        found = self.told("search", self.model, self.docs, "what", "--best", "99")
        places = {(each["file"].removeprefix(f"{self.docs}/"), each["line"]): each["text"] for each in found}
        self.assertEqual(len(places), len(found))
        long = {place: text for place, text in places.items() if place[0] == "long.txt"}
        self.assertEqual({place: text for place, text in places.items() if place not in long}, self.PASSAGES)
        # Cut between lines where it grows beyond what is read at once; nothing is lost, places are right.
        self.assertEqual(sorted(line for _, line in long), [1, 7, 13, 19])
        self.assertTrue(all(len(text) <= 800 for text in long.values()))
        self.assertEqual(sum(text.count("word") for text in long.values()), 500)

    def test_the_closest_come_first_by_their_exact_scores(self):
        vectors = {}
        for text in [*self.PASSAGES.values(), "who asks"]:
            row = self.told("embed", self.model, text)[0]["embedding"]
            vectors[text] = [x / length(row) for x in row]
        want = {}
        for (file, line), text in self.PASSAGES.items():
            if file != "three.rst":
                score = sum(a * b for a, b in zip(vectors[text], vectors["who asks"]))
                want[f"{self.docs}/{file}", line, text] = score
        docs = self.folder / "some"
        shutil.copytree(self.docs, docs)
        for name in ["three.rst", "long.txt"]:
            (docs / name).unlink()
        found = self.told("search", self.model, docs, "who asks")
        self.assertEqual(len(found), 4)
        scores = [each["score"] for each in found]
        self.assertEqual(scores, sorted(scores, reverse=True))
        for each in found:
            place = each["file"].replace("/some/", "/docs/"), each["line"], each["text"]
            self.assertAlmostEqual(each["score"], want[place], delta=1e-6)
        self.assertEqual(self.told("search", self.model, docs, "who asks", "--best", "2"), found[:2])
        lines = self.says("search", self.model, docs, "who asks", "--best", "1").splitlines()
        self.assertEqual(
            lines, [f"{scores[0]:.4f}  {found[0]['file']}:{found[0]['line']}", "        " + found[0]["text"]]
        )
        one = self.told("search", self.model, docs / "one.txt", "by itself")
        self.assertEqual(one[0]["text"], "by itself")
        self.assertAlmostEqual(one[0]["score"], 1, delta=1e-6)

    def test_the_models_prompts_stand_before_question_and_passages(self):
        model = self.folder / "prompts"
        shutil.copytree(self.model, model)
        prompts = {"prompts": {"query": "ask ", "document": "say "}, "default_prompt_name": "query"}
        tiny_models.write_json(model / "config_sentence_transformers.json", prompts)
        rows = [self.told("embed", self.model, text)[0]["embedding"] for text in ["ask who", "say ask me"]]
        want = sum(a * b for a, b in zip(*rows)) / length(rows[0]) / length(rows[1])
        found = self.told("search", model, self.docs / "three.rst", "who")
        self.assertAlmostEqual(found[0]["score"], want, delta=1e-6)

    def test_what_was_cut_is_said(self):
        done = run("search", self.model, self.docs / "long.txt", "word")
        self.assertEqual(done.stderr.decode(), "4 of 4 passages have more than 16 tokens and were cut\n")

    def test_what_is_wrong_is_one_line(self):
        empty = self.folder / "empty"
        empty.mkdir()
        self.fails(run("search", self.model, empty, "a"), "empty has no text; want some in .txt, .md or .rst files")
        self.fails(run("search", self.model, self.folder / "nowhere", "a"), "nowhere")
        self.fails(run("search", self.model, self.docs / "four.bin", "a"), "four.bin, line 1", "0xFF")
        self.fails(run("search", self.model, self.docs), "question is required", code=2)
        self.fails(run("search", self.model, self.docs, "a", "--best", "0"), code=2)
        self.fails(run("search", self.folder / "nowhere", self.docs, "a"), "nowhere")
        self.refuses_output("search", self.model, self.docs / "one.txt", "a")
        self.refuses_output("search", self.model, self.docs / "one.txt", "a", "--json")


if __name__ == "__main__":
    program.main(__doc__)
