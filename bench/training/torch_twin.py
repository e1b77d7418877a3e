#!/usr/bin/env python3
"""A worker, the PyTorch side of run.py: the twin model trained from the same weights on the same batches.

Requests and answers are those of bench_training --do serve. Batches have the same sentences as ours, which are
sorted by
length; here they are padded to the longest, before the clock starts.
  --layout padded   activations are [B·T, C] throughout
  --layout packed   only attention sees padding: rows are copied in and out around it
"""

import argparse
import json
import math
import sys
import time
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from twin_model import Part, Transformer

BOS, EOS = 1, 2


class Batch:
    def __init__(self, sources, targets, packed):
        ins = [torch.cat([torch.tensor([BOS]), t]) for t in targets]
        outs = [torch.cat([t, torch.tensor([EOS])]) for t in targets]
        self.source, self.source_places, self.source_part = lay_out(sources, packed, True)
        self.target_in, self.target_places, self.target_part = lay_out(ins, packed, False)
        self.target_out = torch.cat(outs) if packed else pad(outs, -100).flatten()
        self.tokens = sum(len(t) for t in outs)


def pad(sentences, value):
    return torch.nn.utils.rnn.pad_sequence(sentences, batch_first=True, padding_value=value)


def lay_out(sentences, packed, keys):
    """ids and places of all rows, and how they lie in [B, T]. Causal attention needs no mask: padding is on
    the right."""
    lengths = torch.tensor([len(s) for s in sentences])
    longest = int(lengths.max())
    inside = torch.arange(longest)[None, :] < lengths[:, None]
    full = bool(inside.all())
    mask = inside[:, None, None, :] if keys and not full else None
    if packed and not full:
        rows = inside.flatten().nonzero().flatten()
        places = torch.arange(longest).repeat(len(sentences))[rows]
        return torch.cat(sentences), places, Part(len(sentences), longest, rows, mask)
    ids = pad(sentences, 0).flatten()
    return ids, torch.arange(longest).repeat(len(sentences)), Part(len(sentences), longest, None, mask)


class Corpus:
    def __init__(self, job, packed):
        e, b = load_file(job / "examples.safetensors"), load_file(job / "batches.safetensors")
        self.sources = e["source"].long().tensor_split(e["source_offsets"][1:-1])
        self.targets = e["target"].long().tensor_split(e["target_offsets"][1:-1])
        self.batches = [part.tolist() for part in b["examples"].tensor_split(b["offsets"][1:-1])]
        self.packed = packed

    def batch(self, i):
        return Batch(
            [self.sources[e] for e in self.batches[i]], [self.targets[e] for e in self.batches[i]], self.packed
        )


def learning_rate(t, step, total):
    """schedule.h"""
    rate, w = t["rate"], t["warmup"]
    if step <= w:
        return rate * step / w
    if t["schedule"] == "constant":
        return rate
    if t["schedule"] == "inverse_sqrt":
        return rate * math.sqrt(max(w, 1) / step)
    if step >= total:
        return rate * t["floor"]
    p = (step - w) / (total - w)
    return rate * (
        t["floor"] + (1 - t["floor"]) * ((1 + math.cos(math.pi * p)) / 2 if t["schedule"] == "cosine" else 1 - p)
    )


class Side:
    def __init__(self, args):
        job = Path(args.job)
        self.config = json.loads((job / "config.json").read_text())
        self.training, self.total, self.step = self.config["training"], args.total_steps, 0
        if self.training["accumulate"] != 1 or self.training["weight_decay"] != 0:
            raise ValueError("the twin knows neither accumulation nor weight decay")
        if args.dropout == "none":
            for key in ("dropout", "attention_dropout", "activation_dropout"):
                self.config["model"][key] = 0.0
        if args.rate:
            self.training["rate"] = args.rate
        torch.manual_seed(self.training["seed"])
        self.corpus = Corpus(job, args.layout == "packed")
        self.model = Transformer(self.config).train()
        self.model.load_state_dict(load_file(job / "initial.safetensors"))
        self.parameters = list(self.model.parameters())
        self.adam = torch.optim.Adam(
            self.parameters,
            lr=0.0,
            betas=(self.training["beta1"], self.training["beta2"]),
            eps=self.training["epsilon"],
            fused=True,
        )
        self.average = [p.detach().clone() for p in self.parameters] if self.training["average"] > 0 else None
        self.forward = torch.compile(self.model, dynamic=True) if args.mode == "compile" else self.model
        self.bf16 = args.precision == "bf16"

    def update(self, batch):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.bf16):
            loss = self.forward(batch)
        loss.backward()
        if self.training["clip"] > 0:
            torch.nn.utils.clip_grad_norm_(self.parameters, self.training["clip"])
        self.step += 1
        self.adam.param_groups[0]["lr"] = learning_rate(self.training, self.step, self.total)
        self.adam.step()
        self.adam.zero_grad(set_to_none=True)
        if self.average:
            keep = min(self.training["average"], (1 + self.step) / (10 + self.step))
            torch._foreach_lerp_(self.average, [p.detach() for p in self.parameters], 1 - keep)
        return loss.item()

    def train(self, steps):
        batches = [self.corpus.batch(i) for i in range(self.step, self.step + steps)]
        begin = time.perf_counter()
        losses = [self.update(batch) for batch in batches]
        return {"seconds": time.perf_counter() - begin, "tokens": sum(b.tokens for b in batches), "losses": losses}

    def save(self, path):
        names = [name for name, _ in self.model.named_parameters()]
        weights = self.average or [p.detach() for p in self.parameters]
        save_file({name: w.contiguous() for name, w in zip(names, weights)}, path)
        return {}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--job", required=True)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--total-steps", type=int, required=True)
    parser.add_argument("--dropout", default="")
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--rate", type=float, help="instead of the configuration's")
    parser.add_argument("--mode", choices=["eager", "compile"], default="eager")
    parser.add_argument("--layout", choices=["padded", "packed"], default="padded")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.set_num_interop_threads(1)
    torch.set_flush_denormal(True)
    side = Side(args)
    for line in sys.stdin:
        request = json.loads(line)
        if request["do"] == "quit":
            break
        print(
            json.dumps(side.train(request["steps"]) if request["do"] == "train" else side.save(request["path"])),
            flush=True,
        )


if __name__ == "__main__":
    main()
