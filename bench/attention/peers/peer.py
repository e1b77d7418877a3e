"""What the peers' workers share: the case a request names, with the arrays that ours wrote for it; each path a peer
offers verified against our float32 result and only then timed; of those that are right the fastest, for each pass.

A worker answers {"do": "versions"} with {"versions": ...}, and {"case": ..., "folder": of the arrays, "seconds": of
each measurement, "only": a path's name, if any} with {"forward": seconds, "forward_backward": seconds or null, "paths":
names, "errors": of every path}, or with {"cannot": why}. The first request for a case verifies it and chooses; with
"seconds": null that is all.
"""

import argparse
import json
import re
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path as File
from typing import Any, Callable, Optional

import numpy

# No peer's operator has these: programs rotate, or add arrays of T x S, around it.
OURS_ALONE = ("rope", "Shaw", "Transformer-XL")
TO_CHOOSE = 0.03  # seconds for each path of a case, before it is measured


class Cannot(Exception):
    """A peer has no such thing: a dash in the table."""


@dataclass
class Path:
    """One way to compute a case. forward() gives the output, both() that and three gradients, as rows() makes NumPy's
    [B, T, H, D] of them. Where results are drawn, `verify` is the same path without that."""

    name: str
    forward: Callable
    rows: Callable
    both: Optional[Callable] = None
    verify: Optional[Any] = None


class Case:
    def __init__(self, fields, folder):
        self.folder = File(folder)
        self.lengths = fields.get("lengths", [])
        self.heads, self.dim, self.dtype = fields["heads"], fields["dim"], fields.get("dtype", "float32")
        self.kv_heads = fields.get("kv_heads", self.heads)
        self.packed = len(self.lengths) > 1
        self.batch = len(self.lengths) or fields["batch"]
        self.queries = fields.get("queries") or max(self.lengths)
        self.keys = fields.get("keys", self.queries)
        self.variant = fields.get("variant") or ("causal" if fields["causal"] else "plain")
        self.forward_only = fields.get("forward_only", False)
        self.q, self.d_o = self.array("q", self.heads), self.array("d_o", self.heads)
        self.k, self.v = self.array("k", self.kv_heads), self.array("v", self.kv_heads)

    def file(self, name, dtype=numpy.float32):
        return numpy.fromfile(self.folder / f"{name}.bin", dtype=dtype)

    def array(self, name, heads):
        shape = (-1, heads, self.dim) if self.packed else (self.batch, -1, heads, self.dim)
        return self.file(name).reshape(shape)

    def wanted(self, count):
        heads = {"o": self.heads, "dq": self.heads, "dk": self.kv_heads, "dv": self.kv_heads}
        return [self.array(name, heads[name]) for name in list(heads)[:count]]

    def pair_test(self):
        """f(i, j), which pairs a mask shows, for the integers of NumPy and PyTorch alike; None: not a mask."""
        n = [int(x) for x in re.findall(r"\d+", self.variant)]
        if self.variant == "causal":
            return lambda i, j: j <= i
        if self.variant.startswith("strided"):
            return lambda i, j: (j <= i) & ((i - j <= n[0]) | ((i - j) % n[0] == 0))
        if "global" in self.variant:
            return lambda i, j: ((i - j <= n[0]) & (j - i <= n[1])) | (i == n[2]) | (j == n[2])
        if self.variant.startswith("window"):
            return lambda i, j: (i - j <= n[0]) & (j - i <= n[1])
        return None

    def blocks(self):
        """BigBird's pattern: bool, one for each 64 x 64 pairs."""
        seen = self.file("extra", numpy.bool_)
        return seen.reshape(int(len(seen) ** 0.5), -1)

    def seen(self):
        """bool [T, S]; None: everything, or not a mask."""
        if self.variant == "allow":
            return self.file("extra", numpy.bool_).reshape(self.queries, self.keys)
        if self.variant == "big_bird":
            return self.blocks().repeat(64, 0).repeat(64, 1)[: self.queries, : self.keys]
        test = self.pair_test()
        return test and test(numpy.arange(self.queries)[:, None], numpy.arange(self.keys)[None, :])

    def buckets(self):
        """T5's, by distance i - j + S - 1 (Raffel et al. 2020; 32, both ways, up to 128)."""
        distance = numpy.arange(1 - self.keys, self.queries)
        far = numpy.maximum(numpy.abs(distance), 1)
        log = (8 + numpy.log(far / 8) / numpy.log(128 / 8) * 8).astype(int)
        return numpy.where(far < 8, numpy.abs(distance), numpy.minimum(log, 15)) + 16 * (distance < 0)

    def table(self):
        return self.file("extra").reshape(32, self.heads)

    def by_distance(self):
        """float32 [H, T + S - 1]: what ALiBi or T5 add at distance i - j + S - 1; None: neither."""
        if self.variant == "ALiBi":
            slopes = 2.0 ** (-8 / self.heads * numpy.arange(1, self.heads + 1))
            distance = numpy.abs(numpy.arange(1 - self.keys, self.queries))
            return (-slopes[:, None] * distance).astype(numpy.float32)
        return self.table()[self.buckets()].T.copy() if self.variant == "T5, learned" else None

    def added(self):
        """float32 [1 or H, T, S]: all of it as one array added to the scores; None: nothing is."""
        if self.variant.startswith("bias"):
            return self.file("extra").reshape(self.heads, self.queries, self.keys)
        distances = self.by_distance()
        if distances is not None:
            far = numpy.arange(self.queries)[:, None] - numpy.arange(self.keys)[None, :] + self.keys - 1
            return distances[:, far]
        seen = self.seen()
        return seen if seen is None else numpy.where(seen, numpy.float32(0), numpy.float32("-inf"))[None]


def median_seconds(at_least, body):
    """As ours: a first run warms up; where it alone takes as long as was asked for, it is the measurement."""
    times = []

    def once():
        begin = time.perf_counter()
        body()
        return time.perf_counter() - begin

    first = once()
    if first >= at_least:
        return first
    while sum(times) < at_least or len(times) < 5:
        times.append(once())
    return statistics.median(times)


def bound(case):
    """Of the relative distance to our float32 result from the same inputs, which are rounded to bfloat16. float32: S
    terms added in turn are off by about 2^-24 √S, as their roundings are independent; 8 for what is around them.
    bfloat16: roundings of 2^-9 in the inputs of five products and in each result."""
    return 8 * 2.0**-24 * case.keys**0.5 if case.dtype == "float32" else 8 * 2.0**-9


def distance(got, want):
    return float(numpy.linalg.norm((got - want).ravel()) / numpy.linalg.norm(want.ravel()))


def shown(error):
    return " ".join(str(error).split())[:200] or type(error).__name__


def verified(case, paths):
    """-> (the paths that are right, {name: error or what it raised})"""
    right, notes = [], {}
    for path in paths:
        try:
            checked = path.verify or path
            results = checked.both() if path.both else [checked.forward()]
            results = [checked.rows(x) for x in results]
            worst = max(distance(*pair) for pair in zip(results, case.wanted(len(results))))
        except Exception as error:
            notes[path.name] = shown(error)
            continue
        notes[path.name] = worst
        if worst <= bound(case):  # false for NaN
            right.append(path)
    return right, notes


class Work:
    """A case, verified, and which path is fastest for each pass."""

    def __init__(self, prepare, request):
        case = Case(request["case"], request["folder"])
        paths, self.notes = verified(case, prepare(case))
        if not paths:
            raise Cannot("; ".join(f"{name}: {note}" for name, note in self.notes.items()))
        self.paths = {path.name: path for path in paths}
        self.fastest = {}
        for what in ("forward", "both"):
            able = [path for path in paths if getattr(path, what)]
            if len(able) > 1:
                able.sort(key=lambda path: median_seconds(TO_CHOOSE, getattr(path, what)))
            self.fastest[what] = able[0] if able else None

    def time(self, seconds, only):
        if only and only not in self.paths:
            raise Cannot(str(self.notes.get(only, "no such path")))
        out = {"paths": {}, "errors": self.notes}
        if seconds is None:
            return out
        for what, key in (("forward", "forward"), ("both", "forward_backward")):
            path = self.paths[only] if only else self.fastest[what]
            body = path and getattr(path, what)
            out[key] = median_seconds(seconds, body) if body else None
            out["paths"][key] = path.name if body else None
        return out


def threads_asked_for(description):
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args().threads


def serve(prepare, versions):
    """prepare(case) -> paths, or raises Cannot."""
    known, work = None, None
    for line in sys.stdin:
        request = json.loads(line)
        if request.get("do") == "versions":
            answer = {"versions": versions}
        elif request.get("do") == "quit":
            break
        else:
            try:
                if request["case"].get("variant") in OURS_ALONE:
                    raise Cannot("no such position in its operator")
                wanted = json.dumps([request["case"], request["folder"]])
                if wanted != known:
                    known = work = None
                    work = Work(prepare, request)
                    known = wanted
                answer = work.time(request["seconds"], request.get("only"))
            except Exception as reason:  # Cannot, or whatever a library raises: the report says why
                answer = {"cannot": shown(reason)}
        print(json.dumps(answer), flush=True)
