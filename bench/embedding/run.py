#!/usr/bin/env python3
"""Texts per second of an embedding model (BERT's kind, mean pooling): Headway beside PyTorch and, with --onnx, ONNX
Runtime, in one process, alternately.

    PYTHONPATH=build/release/python python3 bench/embedding/run.py MODEL --texts FILE [--threads 1]

MODEL is a Hugging Face folder such as all-MiniLM-L6-v2, FILE has a text a line; the first 1,000 are taken. Every
side cuts its texts into tokens and gives normalized float32 vectors; they must agree first (cosine 0.99999). "64":
all texts, PyTorch and ONNX Runtime in batches of 64 sorted by length, padded; Headway packs them itself. "1": one
text a call. PyTorch is transformers' class with SDPA under inference_mode, as it is and (--compile) compiled.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy
import torch
import transformers

import headway

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from support.side import alternate, finish, machine, middle, spread, table  # noqa: E402

BATCH = 64


def pooled(hidden, mask):
    mask = mask[:, :, None].astype(hidden.dtype)
    mean = (hidden * mask).sum(1) / mask.sum(1)
    return mean / numpy.linalg.norm(mean, axis=1, keepdims=True)


class Padded:
    """Batches sorted by length; `forward` takes ids, mask and types as NumPy arrays and gives hidden states."""

    def __init__(self, folder, forward):
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        self.forward = forward

    def __call__(self, texts, batch=BATCH):
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        rows = [None] * len(texts)
        for at in range(0, len(order), batch):
            chosen = order[at : at + batch]
            of = self.tokenizer([texts[i] for i in chosen], padding=True, truncation=True, return_tensors="np")
            hidden = self.forward(of["input_ids"], of["attention_mask"], of["token_type_ids"])
            for i, row in zip(chosen, pooled(hidden, of["attention_mask"])):
                rows[i] = row
        return numpy.stack(rows)


def torch_side(folder, compiled):
    model = transformers.AutoModel.from_pretrained(folder, attn_implementation="sdpa").eval()
    call = torch.compile(model, dynamic=True) if compiled else model

    def forward(ids, mask, types):
        given = {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}
        with torch.inference_mode():
            return call(**{name: torch.from_numpy(array) for name, array in given.items()}).last_hidden_state.numpy()

    return Padded(folder, forward)


def onnx_side(folder, file, threads):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    names = [entry.name for entry in session.get_inputs()]

    def forward(ids, mask, types):
        given = {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}
        return session.run(None, {name: given[name] for name in names})[0]

    return Padded(folder, forward)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--texts", required=True)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--singles", type=int, default=100)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--onnx", help="the model as an ONNX file: ids, mask, types to hidden states")
    parser.add_argument("--compile", action="store_true", help="PyTorch compiled, too")
    parser.add_argument("--output")
    o = parser.parse_args()
    torch.set_num_threads(o.threads)
    headway.set_threads(o.threads)
    texts = [line for line in Path(o.texts).read_text(encoding="utf-8").split("\n") if line.strip()][: o.count]
    ours = headway.load(o.model)
    sides = {
        "Headway": lambda given: ours.embed(given, normalize=True),
        "PyTorch": torch_side(o.model, False),
    }
    if o.compile:
        sides["PyTorch, compiled"] = torch_side(o.model, True)
    if o.onnx:
        sides["ONNX Runtime"] = onnx_side(o.model, o.onnx, o.threads)
    want = sides["PyTorch"](texts)
    for name, side in sides.items():
        least = float((side(texts) * want).sum(1).min())
        if least < 0.99999:
            sys.exit(f"{name} and PyTorch disagree: cosine {least:.6f}")

    def all_at_once(side):
        begin = time.perf_counter()
        side(texts)
        return len(texts) / (time.perf_counter() - begin)

    def one_by_one(side):
        begin = time.perf_counter()
        for text in texts[: o.singles]:
            side([text])
        return o.singles / (time.perf_counter() - begin)

    report = {"machine": machine(), "threads": o.threads, "texts": len(texts)}
    rows = []
    for what, work in (("64", all_at_once), ("1", one_by_one)):
        rates = alternate(sides, o.rounds, work)
        report[what] = rates
        ours_now = middle(rates["Headway"])
        for name, values in rates.items():
            rate, width = middle(values), 100 * spread(values)
            rows.append([what, name, f"{rate:,.0f}", f"± {width:.0f} %", f"{ours_now / rate:.2f}"])
    finish(report, table(["batch", "side", "texts/s", "spread", "Headway / side"], rows), o.output)


if __name__ == "__main__":
    main()
