"""What run.py measures, a function each: (benches by number of threads, args) -> {"rows": ..., "text": Markdown}."""

import math
import random
import re
from pathlib import Path

from bench import OURS, PASSES, PEERS, advantage, cells, geometric_mean, milliseconds
from support.side import table

GRID = [
    (1, 12, 128, 64),
    (8, 12, 128, 64),
    (1, 12, 1024, 64),
    (1, 12, 4096, 64),
    (1, 16, 2048, 128),
    (32, 8, 32, 32),
    (64, 8, 20, 64),
    (2, 32, 512, 80),
]
CACHES = [512, 4096, 32768]
OPERATIONS = {"forward": 1.0, "forward_backward": 3.5}  # as multiples of forward's
VARIANTS = [
    "plain",
    "causal",
    "allow",
    "bias",
    "bias, learned",
    "ALiBi",
    "T5, learned",
    "rope",
    "Shaw",
    "Transformer-XL",
    "softcap",
    "dropout",
    "window(512, 0)",
    "window(256, 256) | global(0)",
    "big_bird",
    "strided(128)",
]
SPARSE = ["window(512, 0)", "big_bird", "strided(128)"]
# FlexAttention is compiled for every shape, some ten seconds: in the grid only where masks save it work.
FLEX_FROM = 1024


def wanted(args, label):
    return not args.rows or any(re.search(pattern, label) for pattern in args.rows)


def variant_case(variant, lengths, heads, **more):
    return {"variant": variant, "lengths": lengths, "heads": heads, "dim": 64, **more}


def notes(rows):
    """Which way each peer was fastest, and on how many rows; why there are dashes, once each."""
    taken = {}
    for row in rows:
        for name, side in row["sides"].items():
            if ": " in name:  # a path of its own
                continue
            for what, path in (side["paths"] or {}).items():
                if path:
                    counts = taken.setdefault(f"{name}, {PASSES[what]}", {})
                    counts[path] = counts.get(path, 0) + 1
    lines = [
        f"{name}: {', '.join(f'{path} ({count})' for path, count in counts.items())}"
        for name, counts in taken.items()
    ]
    lines += sorted({f"{name} cannot: {why}" for row in rows for name, why in row["cannot"].items()})
    return "".join(f"\n- {line}" for line in lines)


def bfloat16_or_float32(measured, dtype):
    """Without bf16 products of its own a processor computes them in float32."""
    return measured["float32"] if dtype == "float32" else measured["bf16"] or measured["float32"]


def by_kind(rows):
    """Rows of one dtype and number of threads together."""
    groups = {}
    for row in rows:
        groups.setdefault((row["case"]["dtype"], row["threads"]), []).append(row)
    return groups.items()


def names_with(rows, what):
    return [name for name in [OURS, *PEERS] if any(row["sides"].get(name, {}).get(what) for row in rows)]


def grid(benches, args):
    rows = []
    for bench in benches:
        for shape in GRID:
            for mask in args.masks:
                for dtype in args.dtypes:
                    if not wanted(args, f"{shape} {mask}"):
                        continue
                    batch, heads, length, dim = shape
                    case = {"batch": batch, "heads": heads, "kv_heads": heads, "queries": length, "keys": length}
                    case.update(dim=dim, causal=mask == "causal", dtype=dtype)
                    flex = mask == "causal" and length >= FLEX_FROM and dtype == "float32"
                    peak = bfloat16_or_float32(bench.ceiling.ask(do="measure"), dtype)
                    row = bench.compare(case, [name for name in bench.peers if flex or name != "FlexAttention"])
                    rows.append({**row, "label": [str(shape), mask], "gflops": peak})
    text = []
    for (dtype, threads), group in by_kind(rows):
        header, lines = ["(B, H, T, D)", "mask"], [list(row["label"]) for row in group]
        for what, title in PASSES.items():
            names = names_with(group, what)
            header += [f"{title}: {names[0]}", *names[1:]]
            for row, line in zip(group, lines):
                work = OPERATIONS[what] * row["operations"] / 1e9 / row["gflops"]
                line += cells(row, what, names, lambda s: f"{100 * work / s:.0f} %")  # noqa: B023
        peak = max(row["gflops"] for row in group)
        text.append(f"{dtype}, {threads} thread(s), share of {peak:.0f} GFLOP/s\n\n{table(header, lines)}\n")
    return {"rows": rows, "text": "\n".join(text) + notes(rows)}


def decode(benches, args):
    rows = []
    for bench in benches:
        for keys in CACHES:
            for dtype in args.dtypes:
                if not wanted(args, f"decode {keys}"):
                    continue
                case = {"batch": 1, "heads": 32, "kv_heads": 8, "queries": 1, "keys": keys, "dim": 128}
                case.update(causal=False, dtype=dtype, forward_only=True)
                width = 4 if dtype == "float32" else 2
                read = lambda: bench.ceiling.ask(bytes=keys * 8 * 128 * width)["read"]  # noqa: E731,B023
                before = read()
                row = bench.compare(case, [name for name in bench.peers if name != "FlexAttention"])
                rows.append({**row, "label": [f"S = {keys}", ""], "read": max(before, read())})
    text = []
    for (dtype, threads), group in by_kind(rows):
        names = names_with(group, "forward")
        lines = [
            [
                row["case"]["keys"],
                f"{row['read']:.1f} GB/s",
                *cells(
                    row,
                    "forward",
                    names,
                    lambda s: f"{100 * row['key_value_bytes'] / 1e9 / s / row['read']:.0f} %",  # noqa: B023
                ),
            ]
            for row in group
        ]
        title = f"{dtype}, {threads} thread(s), share of the read bandwidth"
        text.append(f"{title}\n\n{table(['S', 'read', *names], lines)}\n")
    return {"rows": rows, "text": "\n".join(text) + notes(rows)}


def variants(benches, args):
    bench, length = benches[-1], args.length
    rows = [bench.compare(variant_case(v, [length], 8), bench.peers) for v in VARIANTS if wanted(args, v)]
    forward, both = (names_with(rows, what) for what in PASSES)
    header = [f"T = {length}", "pairs", f"forward: {forward[0]}", *forward[1:]]
    header += [f"forward + backward: {both[0]}", *both[1:]]
    lines = [
        [
            row["case"]["variant"].replace("|", "\\|"),
            f"{100 * row['share']:.2f} %",
            *cells(row, "forward", forward, milliseconds),
            *cells(row, "forward_backward", both, milliseconds),
        ]
        for row in rows
    ]
    title = f"One sequence, H = 8, D = 64, float32, {bench.threads} thread(s)"
    return {"rows": rows, "text": f"{title}\n\n{table(header, lines)}\n{notes(rows)}"}


def sparse(benches, args):
    """Time beside the share of dense attention's time that the live pairs would take."""
    bench, length = benches[-1], args.sparse_length
    peers = [name for name in ("PyTorch", "FlexAttention") if name in bench.peers]
    patterns = ["plain", *(v for v in SPARSE if wanted(args, v))]
    rows = [bench.compare(variant_case(v, [length], 2), peers) for v in patterns]
    dense = rows[0]["sides"]

    def over(row, name, what):
        side = row["sides"].get(name, {})
        if not side.get(what) or not dense.get(name, {}).get(what):
            return "—"
        return f"{side[what] / (dense[name][what] * row['share']):.2f}"

    header, lines = [f"T = {length}", "pairs"], [[r["case"]["variant"], f"{100 * r['share']:.2f} %"] for r in rows]
    for what, title in PASSES.items():
        for name in names_with(rows, what):
            header += [f"{title}: {name}", "× its share"]
            for row, line in zip(rows, lines):
                line += [*cells(row, what, [name], milliseconds), over(row, name, what)]
    title = f"One sequence, H = 2, D = 64, float32, {bench.threads} thread(s)"
    return {"rows": rows, "text": f"{title}\n\n{table(header, lines)}\n{notes(rows)}"}


def curve(benches, args):
    """Ours alone, forward, from 1k to the longest length: how time grows with each pattern."""
    bench, lengths = benches[-1], args.lengths
    patterns = {
        "dense": lambda n: "plain",
        "strided(√n)": lambda n: f"strided({round(n**0.5)})",
        "big_bird": lambda n: "big_bird",
        "window(512, 0)": lambda n: "window(512, 0)",
    }
    rows = []
    for name, variant in patterns.items():
        for length in lengths:
            case = variant_case(variant(length), [length], 1, forward_only=True)
            rows.append(
                {**bench.compare(case, [], seconds=min(args.seconds, 0.1)), "pattern": name, "length": length}
            )
    lines = []
    for name in patterns:
        times = [row["sides"][OURS]["forward"] for row in rows if row["pattern"] == name]
        far = math.log(times[-1] / times[-2], lengths[-1] / lengths[-2]) if len(times) > 1 else float("nan")
        lines.append([name, *map(milliseconds, times), f"n^{far:.2f}"])
    title = f"Forward, H = 1, D = 64, float32, {bench.threads} thread(s)"
    return {"rows": rows, "text": f"{title}\n\n{table(['pattern', *map(str, lengths), 'at the end'], lines)}\n"}


def sentence_lengths(args, count=256):
    """Drawn without replacement from the corpus: words and marks of its first column. Without one from the log-normal
    distribution that fits those of the LibreOffice help: median 8.2, deviation of the logarithm 0.94, cut at 100.
    """
    draw = random.Random(1)
    if args.corpus:
        lines = (Path(args.corpus) / "train.tsv").read_bytes().decode().split("\n")[:-1]
        return [len(re.findall(r"\w+|[^\w\s]", line.split("\t")[0])) or 1 for line in draw.sample(lines, count)]
    return [min(100, max(1, round(draw.lognormvariate(math.log(8.2), 0.94)))) for _ in range(count)]


def packed(benches, args):
    bench, lengths = benches[-1], sentence_lengths(args)
    names = [f"PyTorch: {path}" for path in ("padded", "nested", "one by one")]
    row = bench.compare(variant_case("plain", lengths, 8), names)
    tokens, longest = sum(lengths), max(lengths)
    waste = len(lengths) * longest**2 / sum(n * n for n in lengths)
    header, lines = ["side"], [[name] for name in row["sides"]]
    for what, title in PASSES.items():
        header += [title, "per live token", "× ours"]
        for line, side in zip(lines, row["sides"].values()):
            ratio = side[what] / row["sides"][OURS][what]
            line += [milliseconds(side[what]), f"{1e9 * side[what] / tokens:.0f} ns", f"{ratio:.2f}"]
    source = "drawn from the corpus" if args.corpus else "drawn from a log-normal distribution"
    title = (
        f"{len(lengths)} sequences of {min(lengths)} to {longest}, {tokens} tokens, {source}; H = 8, D = 64, float32, "
        f"{bench.threads} thread(s). Padded, they are {len(lengths) * longest} tokens, and {waste:.1f} times the pairs."
    )
    return {"rows": [row], "text": f"{title}\n\n{table(header, lines)}\n{notes([row])}"}


def memory(benches, args):
    """The allocator's high-water mark of forward and backward. From length to length no token may cost more than
    between the first two."""
    bench = benches[-1]
    rows = []
    for length in args.lengths:
        told = bench.ours.ask(case=variant_case("causal", [length], 1), memory=True)
        rows.append({"length": length, "bytes": told["bytes"], "threads": bench.threads})
    steps = [(b["bytes"] - a["bytes"]) / (b["length"] - a["length"]) for a, b in zip(rows, rows[1:])]
    linear = all(step <= 1.1 * steps[0] for step in steps)
    lines = [[r["length"], f"{r['bytes'] / 1e6:.2f} MB", f"{r['bytes'] / r['length']:.0f}"] for r in rows]
    verdict = "It grows linearly." if linear else "**It grows faster than linearly.**"
    title = f"Causal, one sequence, H = 1, D = 64, float32, {bench.threads} thread(s). {verdict}"
    text = f"{title}\n\n{table(['T', 'peak beyond the inputs', 'bytes per token'], lines)}\n"
    return {"rows": rows, "text": text, "failed": not linear}


SECTIONS = {
    "grid": ("Shapes", grid),
    "decode": ("Decoding: one query, H = 32, G = 8, D = 128", decode),
    "variants": ("Masks, biases, positions", variants),
    "sparse": ("Sparse patterns", sparse),
    "curve": ("Time by length", curve),
    "packed": ("Sequences of unequal lengths", packed),
    "memory": ("Peak memory of forward and backward", memory),
}


def headline(sections):
    """How much longer than ours the best peer takes: geometric means over grid and decoding, and where it is faster."""
    rows = [row for name in ("grid", "decode") for row in sections.get(name, {}).get("rows", [])]
    parts = []
    for what, title in PASSES.items():
        ratios = [ratio for row in rows if (ratio := advantage(row, what))]
        if ratios:
            behind = sum(ratio < 1 for ratio in ratios)
            parts.append(f"{title} {geometric_mean(ratios):.2f} ({len(ratios)} rows, the peer faster on {behind})")
    return f"The best peer's time over ours, geometric mean: {'; '.join(parts)}." if parts else ""
