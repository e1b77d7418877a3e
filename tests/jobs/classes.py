#!/usr/bin/env python3
"""headway classify and export: against transformers' logits, and those of a model that is known. A quick test.

usage: classes.py PROGRAM
"""

import json
import math
import shutil
import subprocess

import program
import tiny_gguf
import tiny_models
from program import run
from tiny_models import FAMILIES, log_softmax, read_tensors, tokens


def ranked(pairs):
    return sorted(pairs, key=lambda pair: -pair[1])


class Classify(program.Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.model = tiny_models.golden(cls.folder / "model", "bert-sequence", words=True)

    def classes(self, *arguments, **options):
        told = self.told("classify", *arguments, "--best", "9", **options)
        return [[(each["label"], each["probability"]) for each in one["classes"]] for one in told]

    def near(self, found, want):
        self.assertEqual([label for label, _ in found], [label for label, _ in want])
        for (_, a), (_, b) in zip(found, want):
            self.assertAlmostEqual(a, b, delta=1e-5)

    def golden_rows(self, family):
        """For each row of a golden model: its ids, its types, its logits."""
        tensors = read_tensors(FAMILIES / family / "expected.safetensors")
        ids, logits = tensors["ids"][1], tensors["logits"][1]
        types = tensors.get("types", (0, [0] * len(ids)))[1]
        for begin, end, row in [(0, 9, logits[:3]), (9, 14, logits[3:])]:
            yield ids[begin:end], types[begin:end], row

    def test_texts_have_the_classes_that_transformers_gives(self):
        for family in ["distilbert-sequence", "modernbert-sequence", "llama-sequence"]:
            model = tiny_models.golden(self.folder / family, family, words=True)
            tiny_models.change_json(model / "config.json", id2label={"0": "bad", "1": "good", "2": "ü\t"})
            rows = list(self.golden_rows(family))
            texts = [" ".join(f"t{i}" for i in ids) for ids, _, _ in rows]
            found = self.classes(model, *texts)
            for got, (_, _, logits) in zip(found, rows):
                self.near(got, ranked(zip(["bad", "good", "ü\t"], map(math.exp, log_softmax(logits)))))
            self.assertEqual(self.classes(model, *texts[::-1], *texts), found[::-1] + found)
            for text, got in zip(texts, found):
                self.assertEqual(self.classes(model, text), [got])  # alone: the same bits
            self.assertEqual(self.classes(model, input="\n".join(texts).encode()), found)
            self.assertEqual(self.classes(model, "--input", self.write("texts", "\n".join(texts))), found)
            best = self.says("classify", model, *texts)
            self.assertEqual(best, "".join(f"{got[0][0]} {got[0][1]:.4f}\n" for got in found))
            two = self.says("classify", model, *texts, "--best", "2")
            self.assertEqual(two, "".join("\t".join(f"{k} {p:.4f}" for k, p in got[:2]) + "\n" for got in found))

    def test_pairs_have_types(self):
        rows = list(self.golden_rows("bert-sequence"))
        pairs = [
            "\t".join(" ".join(f"t{i}" for i, k in zip(ids, types) if k == n) for n in (0, 1)) for ids, types, _ in rows
        ]
        found = self.classes(self.model, "--pairs", *pairs)
        for got, (_, _, logits) in zip(found, rows):
            self.near(got, ranked(zip(["LABEL_0", "LABEL_1", "LABEL_2"], map(math.exp, log_softmax(logits)))))
        self.assertEqual(self.classes(self.model, "--pairs", input="\n".join(pairs).encode()), found)
        # Of a pair that is too long the longer text is cut.
        done = run("classify", self.model, "--pairs", "--json", "t5 t6\t" + "t7 " * 20, "t5 t6\t" + "t7 " * 14)
        self.assertEqual(done.stderr.decode(), "1 of 2 texts were cut to what the model takes\n")
        self.assertEqual(len({json.dumps(json.loads(line)["classes"]) for line in done.stdout.splitlines()}), 1)
        self.fails(run("classify", self.model, "--pairs", pairs[0], "t5 t6"), 'a pair has no tab: "t5 t6"')

    def test_classes_that_do_not_exclude_one_another(self):
        ids, types, logits = next(self.golden_rows("distilbert-sequence"))
        text = " ".join(f"t{i}" for i in ids)
        each = [1 / (1 + math.exp(-x)) for x in logits]
        model = tiny_models.golden(self.folder / "several", "distilbert-sequence", words=True)
        tiny_models.change_json(model / "config.json", problem_type="multi_label_classification")
        self.near(self.classes(model, text)[0], ranked(zip(["LABEL_0", "LABEL_1", "LABEL_2"], each)))
        tiny_models.change_json(model / "config.json", problem_type="regression")
        self.fails(run("classify", model, text), "problem_type is regression")
        # A head with one output: a cross-encoder.
        tensors = read_tensors(model / "model.safetensors")
        shape, numbers = tensors["classifier.weight"]
        tensors["classifier.weight"] = ([1, shape[1]], numbers[shape[1] : 2 * shape[1]])
        tensors["classifier.bias"] = ([1], tensors["classifier.bias"][1][1:2])
        tiny_models.write_tensors(model / "model.safetensors", tensors)
        config = json.loads((model / "config.json").read_text())
        for labels in [{"id2label": {"0": "fits"}}, {"num_labels": 1}]:
            fields = {
                key: value for key, value in config.items() if key not in ("id2label", "label2id", "problem_type")
            }
            tiny_models.write_json(model / "config.json", fields | labels)
            name = "fits" if "id2label" in labels else "LABEL_0"
            self.near(self.classes(model, text)[0], [(name, each[1])])

    def test_images(self):
        model = tiny_models.golden(self.folder / "vit", "vit-classes")
        (model / "tokenizer.json").unlink()
        fields = {"image_processor_type": "ViTImageProcessor", "size": {"height": 12, "width": 12}}
        tiny_models.write_json(model / "preprocessor_config.json", fields)
        files = []
        for k in range(3):
            pixels = bytes((x * x + 37 * k * x) % 251 for x in range(12 * 12 * 3))
            files.append(self.write(f"{k}.ppm", b"P6 12 12 255\n" + pixels))
        found = self.classes(model, *files)
        self.assertEqual(len({got[0][1] for got in found}), 3)
        for got in found:
            self.assertAlmostEqual(sum(p for _, p in got), 1, delta=1e-6)
            self.assertEqual(sorted(label for label, _ in got), ["LABEL_0", "LABEL_1", "LABEL_2"])
        self.assertEqual(self.classes(model, files[1]), [found[1]])
        self.assertEqual(self.classes(model, input="\n".join(map(str, files)).encode()), found)
        self.fails(run("classify", model, self.folder / "nowhere.png"), "nowhere.png")
        self.fails(run("classify", model, self.write("text.png", "text")), "text.png")
        self.fails(run("classify", model, "--pairs", "a\tb"), "this model classifies images")

    def test_a_few_examples_do(self):
        model = tiny_models.Bigrams(
            self.folder / "few", lambda t, n: ((7 * t + 11 * n + t * n) % 29) / 4, positions=400
        )
        shots = [("a fine day", "good"), ("rain", "bad"), ("fine", "good"), ("so", "in between")]
        file = self.write("shots.tsv", "".join(f"{text}\t{label}\n\n" for text, label in shots))
        texts = ["what a day", "rain again", "", "tt"]
        begin = "".join(f"Text: {text}\nLabel: {label}\n\n" for text, label in shots)
        found = self.classes(model.folder, "--shots", file, *texts)
        orders = set()
        for text, got in zip(texts, found):
            before = tokens(f"{begin}Text: {text}\nLabel:")
            means = []
            for label in ["good", "bad", "in between"]:
                ids = before + tokens(f" {label}\n")
                scored = range(len(before), len(ids))
                total = sum(model.log_probabilities(ids[i - 1], i - 1)[ids[i]] for i in scored)
                means.append((label, total / len(scored)))
            total = sum(math.exp(mean) for _, mean in means)
            want = ranked((label, math.exp(mean) / total) for label, mean in means)
            self.near(got, want)
            orders.add(tuple(label for label, _ in want))
        self.assertEqual(self.classes(model.folder, "--shots", file, texts[1]), [found[1]])
        self.assertEqual(self.classes(model.folder, "--shots", file, input=b"rain again\n"), [found[1]])
        for bad, word in [
            ("a\tb\nc\tb\n", "have 1 labels; want at least two"),
            ("a\n", "an example has no tab"),
            ("a\t\nb\tc\n", "an example has no label"),
            ("", "have 0 labels"),
            (b"\xff\t\n", "line 1"),
        ]:
            self.fails(run("classify", model.folder, "--shots", self.write("bad.tsv", bad), "a"), word)
        words = tiny_models.golden(self.folder / "words", "llama", words=True)
        blank = self.write("blank.tsv", "a\t \nb\tc\n")
        self.fails(run("classify", words, "--shots", blank, "a"), "a label has no tokens")
        self.fails(run("classify", model.folder, "--shots", file, "a" * 400), "400")
        self.fails(run("classify", model.folder, "--shots", file, "--pairs", "a\tb"), code=2)
        self.fails(run("classify", self.model, "--shots", file, "a"), "writes no text")
        self.refuses_output("classify", model.folder, "--shots", file, "a")

    def test_what_is_wrong_is_one_line(self):
        done = run("classify", self.model, "t5 " * 17, "t5", "t6 " * 16)
        self.assertEqual(done.stderr.decode(), "1 of 3 texts were cut to what the model takes\n")
        self.assertEqual(done.returncode, 0)
        masked = tiny_models.golden(self.folder / "masked", "bert-masked")
        self.fails(
            run("classify", masked, "a"), "is a BertForMaskedLM; want a model for sequence or image classification"
        )
        self.fails(run("classify", self.model, input=b"t1\n\xff\n"), "line 2")
        self.fails(run("classify", self.folder / "nowhere", "a"), "nowhere")
        self.fails(run("classify", self.model, "a", "--best", "0"), code=2)
        self.fails(run("classify", self.model, "a", "--input", "x"), code=2)
        self.refuses_output("classify", self.model, "t5")
        self.refuses_output("classify", self.model, "t5", "--json")


class Export(program.Case):
    def test_a_model_goes_out_and_comes_back(self):
        for family in ["bert-sequence", "llama-shards", "t5"]:
            model = tiny_models.golden(self.folder / family, family)
            beside = {"tokenizer_config.json": b'{"model_max_length": 16}', "vocab.txt": b"a\r\nb", "README.md": b"no"}
            beside |= {
                "1_Pooling/config.json": b'{"pooling_mode_cls_token": true}',
                "chat_template.jinja": b"{{ poem }}",
            }
            beside["sentence_roberta_config.json"] = b'{"max_seq_length": 7}'
            beside["own/deep/config.json"] = b"{}"
            for name, data in beside.items():
                (model / name).parent.mkdir(parents=True, exist_ok=True)
                (model / name).write_bytes(data)
            kinds = [("Transformer", ""), ("Pooling", "1_Pooling"), ("Normalize", "own/deep")]
            modules = [{"type": f"sentence_transformers.models.{kind}", "path": path} for kind, path in kinds]
            tiny_models.write_json(model / "modules.json", modules)
            # As the Hub's cache has it: links.
            blob = self.write(f"blobs/{family}", beside["vocab.txt"])
            (model / "vocab.txt").unlink()
            (model / "vocab.txt").symlink_to(blob)
            (model / "1_Pooling" / "config.json").unlink()
            (model / "1_Pooling" / "config.json").symlink_to(
                self.write("blobs/pooling", beside["1_Pooling/config.json"])
            )
            out = self.folder / f"{family}-out"
            if family == "t5":
                self.assertEqual(self.told("export", model, out), [{"folder": str(out)}])
            else:
                self.assertEqual(self.says("export", model, out), f"{out}\n")
            for name, data in beside.items():
                if name == "README.md":
                    self.assertFalse((out / name).exists())
                    continue
                self.assertEqual((out / name).read_bytes(), data, name)
                self.assertFalse((out / name).is_symlink() or (out / name).parent.is_symlink(), name)
            self.assertEqual((out / "config.json").read_bytes(), (model / "config.json").read_bytes())
            if family == "bert-sequence":
                self.assertEqual(self.says("classify", out, "abc"), self.says("classify", model, "abc"))
                self.assertEqual(self.says("embed", out, "abc"), self.says("embed", model, "abc"))
                self.assertEqual(read_tensors(out / "model.safetensors"), read_tensors(model / "model.safetensors"))
            else:
                how = ["abc", "--max-tokens", "9"]
                self.assertEqual(self.says("generate", out, *how), self.says("generate", model, *how))
            self.fails(run("export", model, out), "exists; want a new name")

    def test_a_gguf_file_is_the_same_model_and_becomes_a_folder(self):
        for family in ["llama", "qwen2", "qwen3"]:
            folder = tiny_models.golden(self.folder / f"hub-{family}", family)
            tiny_models.change_json(folder / "config.json", use_sliding_window=False, layer_types=None)
            model = tiny_gguf.write(self.folder / f"{family}.gguf", family)
            out = self.folder / f"folder-{family}"
            self.assertEqual(self.says("export", model, out), f"{out}\n")
            weights = [read_tensors(path / "model.safetensors") for path in (folder, out)]
            self.assertEqual(*weights)
            for how in [["generate", "abc", "k", "--max-tokens", "20", "--json"], ["embed", "abc", "so m"]]:
                command, *rest = how
                want = self.says(command, folder, *rest)
                self.assertEqual(self.says(command, model, *rest), want, family)
                self.assertEqual(self.says(command, out, *rest), want, family)

    def test_what_a_folder_cannot_say_is_not_written(self):
        factors = [("rope_freqs.weight", ([2], [1.0, 8.0]))]
        model = tiny_gguf.write(self.folder / "factors.gguf", "llama", factors)
        plain = tiny_gguf.write(self.folder / "plain.gguf", "llama")
        text = ["abcdefghijklmnop", "--max-tokens", "30"]
        self.assertNotEqual(self.says("generate", model, *text), self.says("generate", plain, *text))
        self.fails(run("export", model, self.folder / "never"), "rope_freqs")
        gemma = tiny_gguf.write(self.folder / "gemma.gguf", "gemma3")
        self.says("generate", gemma, *text)
        self.fails(run("export", gemma, self.folder / "never"), "norms have 1 added")
        self.assertFalse((self.folder / "never").exists())

    def test_nothing_is_left_half_written(self):
        model = tiny_models.golden(self.folder / "model", "llama")
        before = sorted(path.name for path in self.folder.iterdir())
        broken = self.folder / "broken"
        shutil.copytree(model, broken)
        (broken / "vocab.txt").symlink_to(self.folder / "gone")
        (broken / "special_tokens_map.json").mkdir()
        (broken / "special_tokens_map.json").joinpath("x").symlink_to(self.folder / "gone")
        self.fails(run("export", broken, self.folder / "out"), "special_tokens_map.json")
        self.fails(run("export", model, self.folder / "no" / "out"), "out")
        self.fails(run("export", self.folder / "nowhere", self.folder / "out"), "nowhere")
        self.fails(run("export", model), "out is required", code=2)
        shutil.rmtree(broken)
        self.assertEqual(sorted(path.name for path in self.folder.iterdir()), before)
        with open("/dev/full", "wb") as full:
            call = list(map(str, [program.PROGRAM, "export", model, self.folder / "unseen"]))
            done = subprocess.run(call, stdout=full, stderr=subprocess.PIPE)
        done.stdout = b""
        self.fails(done, "No space left on device")
        self.assertTrue((self.folder / "unseen" / "model.safetensors").exists())  # all of it, but untold


if __name__ == "__main__":
    program.main(__doc__)
