"""Folders of tiny models for the tests of whole jobs, made of the golden families, a tokenizer of 32 tokens, and a
language model whose every logit is known. Standard library alone.
"""

import json
import math
import random
import shutil
import struct
from pathlib import Path

FAMILIES = Path(__file__).resolve().parents[1] / "golden" / "families"

# 32 tokens, as the golden models have. ä and ö are two tokens each: a character that comes in halves. Ids 0 to 4 are
# special in BERT's way or in Llama's.
LETTERS = "abcdefghijklmnoprstuvwyz"  # 24 of them
VOCABULARY = ["<unk>", "<s>", "</s>", "Ċ", "Ġ", "Ã", "¤", "¶", *LETTERS]
assert len(VOCABULARY) == 32


def token(letter):
    """The id of a character that is one token, or of the unknown."""
    name = {"\n": "Ċ", " ": "Ġ"}.get(letter, letter)
    return VOCABULARY.index(name) if name in VOCABULARY else 0


def tokens(text):
    out = []
    for letter in text:
        out += [5, 6] if letter == "ä" else [5, 7] if letter == "ö" else [token(letter)]
    return out


def tokenizer(before=(), after=(), words=False, names=("<s>", "</s>")):
    """tokenizer.json: a token for each byte, or words "t0" to "t31" that name their ids. `before` and `after` are ids
    put around a text; of a pair the second text has type 1. `names` are those of tokens 1 and 2."""
    vocabulary = [f"t{i}" for i in range(32)] if words else ["<unk>", *names, *VOCABULARY[3:]]
    special = [vocabulary[i] for i in sorted({*before, *after} | (set() if words else {1, 2}))]

    def around(first, second):
        marks = lambda ids, kind: [{"SpecialToken": {"id": vocabulary[i], "type_id": kind}} for i in ids]
        out = [*marks(before, 0), {"Sequence": {"id": "A", "type_id": 0}}, *marks(after, 0)]
        return out + ([{"Sequence": {"id": "B", "type_id": 1}}, *marks(after, 1)] if second else [])

    one = {"add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {"id": vocabulary.index(name), "content": name, "special": True, "normalized": False}
            | dict.fromkeys(["single_word", "lstrip", "rstrip"], False)
            for name in special
        ],
        "normalizer": None,
        "pre_tokenizer": {"type": "WhitespaceSplit"} if words else {"type": "ByteLevel"} | one,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": around("A", None),
            "pair": around("A", "B"),
            "special_tokens": {
                name: {"id": name, "ids": [vocabulary.index(name)], "tokens": [name]} for name in special
            },
        },
        "decoder": None if words else {"type": "ByteLevel"} | one,
        "model": (
            {"type": "WordLevel", "vocab": {name: i for i, name in enumerate(vocabulary)}, "unk_token": "t0"}
            if words
            else {
                "type": "BPE",
                "vocab": {name: i for i, name in enumerate(vocabulary)},
                "merges": [],
                "unk_token": "<unk>",
                **dict.fromkeys(["dropout", "continuing_subword_prefix", "end_of_word_suffix"]),
                **dict.fromkeys(["fuse_unk", "byte_fallback", "ignore_merges"], False),
            }
        ),
    }


def write_json(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")


def golden(folder, family, **how):
    """A golden model with a tokenizer beside it; its expectations stay where they are."""
    shutil.copytree(FAMILIES / family, folder, ignore=shutil.ignore_patterns("expected.*"))
    write_json(folder / "tokenizer.json", tokenizer(**how))
    return folder


def change_json(path, **fields):
    value = json.loads(path.read_text()) if path.exists() else {}
    write_json(path, value | fields)


def read_tensors(path):
    """name -> (shape, list of numbers); float32 and integers."""
    data = path.read_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    out = {}
    for name, entry in json.loads(data[8 : 8 + size]).items():
        if name == "__metadata__":
            continue
        begin, end = entry["data_offsets"]
        kind = {"F32": "f", "I32": "i", "I64": "q"}[entry["dtype"]]
        count = (end - begin) // struct.calcsize(kind)
        numbers = struct.unpack(f"<{count}{kind}", data[8 + size + begin : 8 + size + end])
        out[name] = (entry["shape"], list(numbers))
    return out


def write_tensors(path, tensors):
    header, data = {}, b""
    for name, (shape, numbers) in tensors.items():
        part = struct.pack(f"<{len(numbers)}f", *numbers)
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [len(data), len(data) + len(part)]}
        data += part
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def text_of(ids):
    """What the tokenizer of bytes makes of ids."""
    table = {"Ċ": 0x0A, "Ġ": 0x20, "Ã": 0xC3, "¤": 0xA4, "¶": 0xB6}
    data = bytes(table.get(VOCABULARY[i], ord(VOCABULARY[i][0])) for i in ids if i > 2)
    return data.decode("utf-8", "replace")


def single(value):
    """Rounded to float32."""
    return struct.unpack("<f", struct.pack("<f", value))[0]


class Bigrams:
    """A GPT-2 without attention or feed-forward: its logits depend on the last token and its position alone, and
    are known. `wanted(token, next)` is about the logit of a next token; positions favour odd ones by `lean`, more and
    more."""

    WIDTH = 36  # 32 for the token, 4 heads' worth for the position

    def __init__(self, folder, wanted, positions=64, end=2, lean=0.2, **how):
        self.folder, self.positions = folder, positions
        width, size = self.WIDTH, 32
        self.embedding = [[4.0 if i == t else 0.0 for i in range(width)] for t in range(size)]
        self.places = [[0.0] * 32 + [single(0.05 * p), 0.0, 0.0, 0.0] for p in range(positions)]
        self.head = [
            [single(wanted(t, n) / 6) for t in range(size)] + [single(lean * (n % 2)), 0, 0, 0] for n in range(size)
        ]
        flat = lambda rows: [x for row in rows for x in row]
        tensors = {
            "transformer.wte.weight": ([size, width], flat(self.embedding)),
            "transformer.wpe.weight": ([positions, width], flat(self.places)),
            "lm_head.weight": ([size, width], flat(self.head)),
        }
        inner = 8
        shapes = {
            "attn.c_attn.weight": [width, 3 * width],
            "attn.c_attn.bias": [3 * width],
            "attn.c_proj.weight": [width, width],
            "attn.c_proj.bias": [width],
            "mlp.c_fc.weight": [width, inner],
            "mlp.c_fc.bias": [inner],
            "mlp.c_proj.weight": [inner, width],
            "mlp.c_proj.bias": [width],
        }
        for name, shape in shapes.items():
            tensors[f"transformer.h.0.{name}"] = (shape, [0.0] * math.prod(shape))
        for name in ["h.0.ln_1", "h.0.ln_2", "ln_f"]:
            tensors[f"transformer.{name}.weight"] = ([width], [1.0] * width)
            tensors[f"transformer.{name}.bias"] = ([width], [0.0] * width)
        config = json.loads((FAMILIES / "gpt2-scaled" / "config.json").read_text())
        config |= {"n_embd": width, "n_layer": 1, "n_inner": inner, "n_positions": positions, "eos_token_id": end}
        folder.mkdir(parents=True)
        write_json(folder / "config.json", config | {"vocab_size": size})
        write_tensors(folder / "model.safetensors", tensors)
        write_json(folder / "tokenizer.json", tokenizer(**how))

    def logits(self, last, position):
        row = [a + b for a, b in zip(self.embedding[last], self.places[position])]
        mean = sum(row) / len(row)
        deviation = math.sqrt(sum((x - mean) ** 2 for x in row) / len(row) + 1e-5)
        row = [(x - mean) / deviation for x in row]
        return [sum(a * b for a, b in zip(row, weights)) for weights in self.head]

    def log_probabilities(self, last, position):
        return log_softmax(self.logits(last, position))

    def greedy(self, prompt, count, ends=(2,), repetition=1.0, presence=0.0):
        """Ids that follow a prompt of ids, the most probable at every step."""
        text = list(prompt)
        while len(text) < len(prompt) + count:
            row = self.logits(text[-1], len(text) - 1)
            for i in set(text):
                row[i] = row[i] / repetition if row[i] > 0 else row[i] * repetition
            for i in set(text[len(prompt) :]):
                row[i] -= presence
            best = sorted(row)[-2:]
            assert best[1] - best[0] > 1e-3, "too close to call in float32"
            text.append(row.index(best[1]))
            if text[-1] in ends:
                return text[len(prompt) : -1]
        return text[len(prompt) :]


def wide(folder, **how):
    """A GPT-2 of random weights whose products have more than one tile in every direction."""
    draw, width, inner = random.Random(7), 80, 200
    config = json.loads((FAMILIES / "gpt2-scaled" / "config.json").read_text())
    config |= {"n_embd": width, "n_layer": 2, "n_inner": inner, "n_head": 5, "n_positions": 600}
    shapes = {"wte.weight": [32, width], "wpe.weight": [600, width]}
    for layer in range(2):
        shapes |= {f"h.{layer}.attn.c_attn.weight": [width, 3 * width], f"h.{layer}.attn.c_attn.bias": [3 * width]}
        shapes |= {f"h.{layer}.attn.c_proj.weight": [width, width], f"h.{layer}.attn.c_proj.bias": [width]}
        shapes |= {f"h.{layer}.mlp.c_fc.weight": [width, inner], f"h.{layer}.mlp.c_fc.bias": [inner]}
        shapes |= {f"h.{layer}.mlp.c_proj.weight": [inner, width], f"h.{layer}.mlp.c_proj.bias": [width]}
        for norm in ["ln_1", "ln_2"]:
            shapes |= {f"h.{layer}.{norm}.weight": [width], f"h.{layer}.{norm}.bias": [width]}
    shapes |= {"ln_f.weight": [width], "ln_f.bias": [width]}
    numbers = lambda shape: (shape, [draw.gauss(0, 0.2) for _ in range(math.prod(shape))])
    tensors = {f"transformer.{name}": numbers(shape) for name, shape in shapes.items()}
    folder.mkdir(parents=True)
    write_json(folder / "config.json", config)
    write_tensors(folder / "model.safetensors", tensors | {"lm_head.weight": numbers([32, width])})
    write_json(folder / "tokenizer.json", tokenizer(**how))
    return folder


def log_softmax(logits):
    largest = max(logits)
    total = math.log(sum(math.exp(x - largest) for x in logits))
    return [x - largest - total for x in logits]


def chain(text, end=2):
    """Logits for Bigrams that write `text`, whose tokens are all different, after its first token, and then `end`.
    Other tokens lie close together, in an order that depends on both."""
    ids = [*tokens(text), end]
    after = dict(zip(ids, ids[1:]))
    return lambda t, n: 20.0 if after.get(t) == n else ((7 * t + 11 * n) % 32) / 16
