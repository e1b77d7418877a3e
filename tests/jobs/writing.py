#!/usr/bin/env python3
"""headway generate and chat: on golden models, and on one whose every logit is known. A quick test.

usage: writing.py PROGRAM
"""

import json
import os
import subprocess

import program
import tiny_models
from program import run
from tiny_models import text_of, token, tokens


def restless(t, n):
    """Several likely next tokens, the same one after another if nothing holds it back."""
    return {0: 13.0, 1: 12.0, 2: 11.4}.get((n - t) % 24, 4 + ((7 * t + 11 * n) % 32) / 16) if n > 7 < t else -20.0


class Generate(program.Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.line = tiny_models.Bigrams(cls.folder / "line", tiny_models.chain("abcdefgh"))
        cls.umlaut = tiny_models.Bigrams(cls.folder / "umlaut", tiny_models.chain("cäb"))
        after = {1: token("w")}
        spell = tiny_models.chain("whiz")
        cls.begun = tiny_models.Bigrams(cls.folder / "begun", lambda t, n: 20.0 if after.get(t) == n else spell(t, n))
        cls.restless = tiny_models.Bigrams(cls.folder / "restless", restless, lean=0.0)

    def test_what_transformers_writes_is_written(self):
        for family in ["llama", "gpt2", "qwen2", "t5", "bart"]:
            model = tiny_models.golden(self.folder / family, family, words=True)
            expected = tiny_models.FAMILIES / family
            prompt = json.loads((expected / "expected.json").read_text())["prompt"]
            written = tiny_models.read_tensors(expected / "expected.safetensors")["written"][1]
            words = [" ".join(f"t{i}" for i in ids) for ids in (prompt, written)]
            found = self.told("generate", model, words[0], "--max-tokens", len(written), "--greedy")
            self.assertEqual(found, [{"prompt": words[0], "text": words[1]}], family)

    def test_texts_come_from_everywhere_byte_for_byte(self):
        model = self.line.folder
        self.assertEqual(self.says("generate", model, "a"), "bcdefgh\n")
        self.assertEqual(self.says("generate", model, "a", "h", "f"), "bcdefgh\n\ngh\n")
        self.assertEqual(self.says("generate", model, "--", "a"), "bcdefgh\n")
        text = "d\r\nb\n\na"
        want = [{"prompt": text, "text": "bcdefgh"}]
        for ending in ["", "\n", "\r\n"]:
            file = self.write("prompt.txt", text + ending)
            self.assertEqual(self.told("generate", model, "--input", file), want)
            self.assertEqual(self.told("generate", model, input=(text + ending).encode()), want)
            self.assertEqual(self.told("generate", model, "--input", "-", input=(text + ending).encode()), want)
        self.assertEqual(self.told("generate", model, input=b"a\n\n")[0]["prompt"], "a\n")
        found = self.told("generate", model, "--lines", input=b"a\ng\n")
        self.assertEqual(found, [{"prompt": "a", "text": "bcdefgh"}, {"prompt": "g", "text": "h"}])

    def test_a_text_alone_and_among_others_is_the_same(self):
        texts = ["a", "kl", "mnop", "c", "zyw", "a"]
        wide = tiny_models.wide(self.folder / "wide")
        drawn = ["--temperature", "1.5", "--seed", "7"]
        for model, how in [(self.restless.folder, ["--greedy"]), (self.restless.folder, drawn), (wide, drawn)]:
            how = ["generate", model, *how, "--max-tokens", "30"]
            together = [each["text"] for each in self.told(*how, *texts)]
            for text, found in zip(texts[:-1], together):
                self.assertEqual([each["text"] for each in self.told(*how, text)], [found])
                self.assertEqual(self.says(*how, text), found + "\n")  # shown as it is written
            back = [each["text"] for each in self.told(*how, *texts[::-1])][::-1]
            self.assertEqual(back[1:-1], together[1:-1])
            self.assertEqual(together[0] == together[-1], "--greedy" in how)  # the same prompt again draws anew

    def test_more_texts_than_are_written_at_once(self):
        for family in ["t5", "llama"]:
            model = tiny_models.golden(self.folder / f"many-{family}", family)
            texts = ["".join("abcdefghij"[i // 10**k % 10] for k in range(1 + i % 4)) for i in range(150)]
            how = ["generate", model, "--max-tokens", "6"]
            together = [each["text"] for each in self.told(*how, "--lines", input="\n".join(texts).encode())]
            self.assertEqual(len(together), 150)
            for i in [0, 63, 64, 65, 100, 149]:
                self.assertEqual(self.told(*how, texts[i])[0]["text"], together[i], (family, i))

    def test_characters_come_whole(self):
        model = self.umlaut.folder
        self.assertEqual(self.says("generate", model, "c"), "äb\n")
        half = self.told("generate", model, "c", "--max-tokens", "1")[0]["text"]
        self.assertEqual(half, "\ufffd")
        self.assertEqual(self.says("generate", model, "c", "--max-tokens", "1"), half + "\n")

    def test_stop_words_end_a_text_before_them(self):
        model = self.line.folder
        for stop, want in [
            (["d"], "bc"),
            (["de"], "bc"),  # one word of two tokens
            (["defgh"], "bc"),
            (["gh", "ef", "h"], "bcd"),  # the first that comes
            (["fg", "efg"], "bcd"),  # two that end with one token: the longer begins before
            (["b"], ""),
            (["hz"], "bcdefgh"),  # what was held back is shown at the end
            (["ez"], "bcdefgh"),
            (["a"], "bcdefgh"),  # the prompt's text is not looked at
        ]:
            how = ["generate", model, "a", *(word for each in stop for word in ("--stop", each))]
            self.assertEqual(self.says(*how), want + "\n", stop)
            self.assertEqual(self.told(*how)[0]["text"], want, stop)
        self.assertEqual(self.says("generate", self.umlaut.folder, "c", "--stop", "ä"), "\n")
        self.fails(run("generate", model, "a", "--stop", ""), "a stop word is empty; want text")

    def test_any_of_several_end_marks_ends_a_text(self):
        model = tiny_models.Bigrams(self.folder / "ends", tiny_models.chain("abcdefgh")).folder
        tiny_models.write_json(model / "generation_config.json", {"eos_token_id": [token("z"), token("d"), 2]})
        self.assertEqual(self.says("generate", model, "a", "e"), "bc\nfgh\n")
        tiny_models.write_json(model / "generation_config.json", {"eos_token_id": token("e")})  # alone: 2 is none then
        tiny_models.write_json(model / "tokenizer_config.json", {"eos_token": "f"})
        self.assertEqual(self.says("generate", model, "a", "e"), "bcd\n\n")

    def test_max_tokens_and_the_models_own_limit(self):
        model = self.restless.folder
        self.assertEqual(len(self.says("generate", model, "a", "--greedy", "--max-tokens", "5")), 6)
        for length in [1, 40, 63]:
            self.assertEqual(len(self.says("generate", model, "a" * length, "--greedy")), 64 - length + 1)
        for length in [64, 65]:
            self.fails(run("generate", model, "a" * length), f"prompt 0 has {length} tokens; want fewer than the 64")
        # Without text a begin token is enough.
        self.assertEqual(self.says("generate", self.begun.folder, "", "--max-tokens", "9"), "whiz\n")
        tiny_models.change_json(self.begun.folder / "config.json", bos_token_id=None)
        self.fails(run("generate", self.begun.folder, ""), "prompt 0 has no tokens; want at least one")

    def test_penalties(self):
        model = self.restless
        for text in ["a", "kb"]:
            texts = set()
            for repetition, presence in [
                (1, 0),
                (1.02, 0),
                (1.08, 0),
                (2, 0),
                (1, 0.7),
                (1, 1.5),
                (1.05, 0.4),
                (1, -3),
            ]:
                ids = model.greedy(tokens(text), 25, repetition=repetition, presence=presence)
                how = ["--greedy", "--repetition-penalty", repetition, "--presence-penalty", presence]
                found = self.says("generate", model.folder, text, "--max-tokens", "25", *how)
                self.assertEqual(found, text_of(ids) + "\n", how)
                texts.add(found)
            self.assertGreater(len(texts), 3)

    def test_drawing(self):
        model = self.restless.folder
        write = lambda *how: self.says("generate", model, "a", "--max-tokens", "40", *how)
        greedy = write("--greedy")
        for how in ["--temperature 0", "--top-k 1", "--min-p 1", "--top-p 0.01", "--temperature 0.01"]:
            self.assertEqual(write(*how.split(), "--seed", "3"), greedy, how)
        drawn = {seed: write("--temperature", "1", "--seed", seed) for seed in range(4)}
        self.assertEqual(len({*drawn.values(), greedy}), 5)
        self.assertEqual(write("--temperature", "1", "--seed", "2"), drawn[2])
        self.assertEqual(write("--temperature", "1"), drawn[0])
        # The three likely steps are 0, 1 and 2 letters on, with probabilities of about 0.60, 0.22 and 0.12.
        steps = lambda text: {(b - a) % 24 for a, b in zip([8, *tokens(text[:-1])], tokens(text[:-1]))}
        for how, want in [("--top-k 2", {0, 1}), ("--min-p 0.3", {0, 1}), ("--min-p 0.15", {0, 1, 2})]:
            self.assertEqual(steps("".join(write(*how.split(), "--seed", s)[:-1] for s in range(1)) + "\n"), want, how)
        self.assertEqual(steps(write("--top-p", "0.7", "--seed", "1")), {0, 1})
        # The model's files may propose all this; what is said comes first.
        own = tiny_models.Bigrams(self.folder / "own", restless, lean=0.0).folder
        tiny_models.write_json(own / "generation_config.json", {"do_sample": True, "top_k": 1, "temperature": 5.0})
        self.assertEqual(self.says("generate", own, "a", "--max-tokens", "40"), greedy)
        self.assertNotEqual(self.says("generate", own, "a", "--max-tokens", "40", "--top-k", "3"), greedy)
        tiny_models.write_json(own / "generation_config.json", {"do_sample": True, "top_k": 9, "temperature": 5.0})
        self.assertNotEqual(self.says("generate", own, "a", "--max-tokens", "40"), greedy)
        self.assertEqual(self.says("generate", own, "a", "--max-tokens", "40", "--greedy"), greedy)

    def test_what_is_wrong_is_one_line(self):
        model = self.line.folder
        for how in ["--greedy --top-k 3", "--greedy --seed 1", "--top-p 0", "--top-p 1.1", "--min-p 2", "--top-k -1"]:
            self.fails(run("generate", model, "a", *how.split()), code=2)
        for how in ["--temperature nan", "--repetition-penalty 0", "--max-tokens 0", "--dtype int8", "--input x"]:
            self.fails(run("generate", model, "a", *how.split()), code=2)
        self.fails(run("generate"), "model is required", code=2)
        self.fails(run("generate", model, "a", "--temperature", "0", "--top-k", "3"), "want one of them")
        self.fails(run("generate", self.folder / "nowhere", "a"), "nowhere")
        self.fails(run("generate", model, "--input", self.folder / "nowhere"), "nowhere")
        self.fails(run("generate", model, input=b"a\xff"), "byte 0xFF")
        self.fails(run("generate", model, "--lines", input=b"a\n\xff\n"), "line 2")
        bare = tiny_models.golden(self.folder / "bare", "llama")
        (bare / "tokenizer.json").unlink()
        self.fails(run("generate", bare, "a"), "bare")
        reads = tiny_models.golden(self.folder / "reads", "bert-masked")
        self.fails(run("generate", reads, "a"), "which writes no text; want a decoder or an encoder")
        self.refuses_output("generate", model, "a")
        self.refuses_output("generate", model, "a", "c", "--json")


IM = ("<|im_start|>", "<|im_end|>")


class Chat(program.Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        # After "assistant\n" either of two chains, by the length of the conversation.
        first = tiny_models.chain("\nhey")
        second = tiny_models.chain("\ncat")
        wanted = lambda t, n: max(first(t, n), second(t, n)) - (2 if t == 3 and n == token("h") else 0)
        cls.model = tiny_models.Bigrams(cls.folder / "chat", wanted, positions=400, names=IM, lean=0.35)
        template = (
            "{% for m in messages %}{{'<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>'}}{% endfor %}"
        )
        tiny_models.write_json(cls.model.folder / "tokenizer_config.json", {"chat_template": template})

    def ids(self, turns, begun=True):
        out = []
        for role, text in turns:
            out += [1, *tokens(f"{role}\n{text}"), 2, 3]
        return out + ([1, *tokens("assistant\n")] if begun else [])

    def conversation(self, messages, system=""):
        """What has to be told of a conversation, by the model's logits."""
        turns, out = [("system", system)] if system else [], []
        for message in messages:
            turns.append(("user", message))
            reply = text_of(self.model.greedy(self.ids(turns), 30))
            turns.append(("assistant", reply))
            out.append({"user": message, "assistant": reply, "tokens": len(self.ids(turns))})
        return out

    def test_every_turn_is_given_with_those_before_it(self):
        messages = ["hi", "and then some", "ä", "b" * 60, "no", "end"]
        for system in ["", "be brief"]:
            want = self.conversation(messages, system)
            how = ["chat", self.model.folder, "--greedy", *(["--system", system] if system else [])]
            self.assertEqual(self.told(*how, *messages), want)
            replies = "".join(each["assistant"] + "\n" for each in want)
            self.assertEqual(self.says(*how, *messages), replies)
            lines = "\n".join(messages[:2]) + "\n\n" + "\n".join(messages[2:])
            self.assertEqual(self.says(*how, input=lines.encode()), replies)
            self.assertEqual({each["assistant"] for each in want}, {"hey", "cat"})  # both, or it proves nothing

    def test_a_person_goes_on_after_an_error(self):
        person, terminal = os.openpty()
        call = [program.PROGRAM, "chat", self.model.folder, "--greedy"]
        with subprocess.Popen(call, stdin=terminal, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as chat:
            os.close(terminal)
            os.write(person, b"hi\n" + b"b" * 400 + b"\nhi\n\x04")
            told, errors = chat.communicate(timeout=60)
        os.close(person)
        want = self.conversation(["hi", "hi"])
        self.assertEqual(told.decode(), "".join(each["assistant"] + "\n" for each in want))
        first, second = errors.decode().splitlines()
        self.assertEqual(first, "One turn a line; Ctrl-D ends.")
        self.assertIn("begin a new one", second)
        self.assertEqual(chat.returncode, 0)

    def test_options_of_writing_hold_for_every_turn(self):
        how = ["chat", self.model.folder, "--greedy", "hi", "hi"]
        self.assertTrue(all(len(each["assistant"]) == 1 for each in self.told(*how, "--max-tokens", "1")))
        self.assertEqual([each["assistant"] for each in self.told(*how, "--stop", "e", "--stop", "a")][0][1:], "")

    def test_what_is_wrong_is_one_line(self):
        plain = tiny_models.Bigrams(self.folder / "plain", tiny_models.chain("abc")).folder
        self.fails(run("chat", plain, "hi"), "has no chat template", "want an instruction-tuned one")
        tiny_models.write_json(plain / "tokenizer_config.json", {"chat_template": "{{ poem }}"})
        self.fails(run("chat", plain, "hi"), "this chat template is not known", "poem")
        done = run("chat", self.model.folder, "--greedy", "hi", "b" * 400)
        self.fails(done, "the conversation has", "the model takes 400: begin a new one")
        self.assertIn(done.stdout.decode(), ["hey\n", "cat\n"])
        self.refuses_output("chat", self.model.folder, "hi")
        self.refuses_output("chat", self.model.folder, "hi", "--json")


if __name__ == "__main__":
    program.main(__doc__)
