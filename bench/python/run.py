#!/usr/bin/env python3
"""headway.torch beside PyTorch, in one process, alternately: the attention layer, an encoder layer's training step, and
what a call costs.

    PYTHONPATH=build/release/python python3 bench/python/run.py --bin build/release/bin

Each round times one call of either side, the order turning; the table has medians and the ratio of medians. Forward is
evaluation without gradients, PyTorch's fast path where it has one. The share of the ceiling is that of all products of
the layer (with --bin, which names bench_ceiling's folder).
"""

import argparse
import itertools
import math
import platform
import sys
import time
from pathlib import Path

import numpy
import torch
from torch import nn

import headway
import headway.torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from support.side import Worker, alternate, finish, machine, middle, program, table  # noqa: E402

SHAPES = {"512": (512, 8, 16, 128), "768": (768, 12, 8, 512), "256": (256, 4, 64, 32)}  # d_model, heads, batch, length
DTYPES = {"float32": torch.float32, "bf16": torch.bfloat16}
LONG = 5.0  # seconds of a round, of which one is enough
SIDES = ("PyTorch", "Headway")


def seconds_of(body):
    begin = time.perf_counter()
    body()
    return time.perf_counter() - begin


def compare(sides, seconds):
    """{side: median seconds} of calls in turn; the first of each warms up."""
    first = max(seconds_of(body) for body in sides.values())
    rounds = 1 if first > LONG else max(5, min(200, int(seconds / max(first, 1e-6))))
    return {name: middle(times) for name, times in alternate(sides, rounds, seconds_of).items()}


def padding(batch, length):
    """Half of the sequences are whole, the others between half and whole."""
    lengths = [length if b % 2 else length // 2 + (b * 7919) % (length // 2) for b in range(batch)]
    return torch.arange(length)[None, :] >= torch.tensor(lengths)[:, None]


def layers(shape, dtype):
    width, heads, batch, length = shape
    torch.manual_seed(0)
    theirs = nn.MultiheadAttention(width, heads, batch_first=True, dtype=dtype)
    ours = headway.torch.MultiheadAttention(width, heads, batch_first=True, dtype=dtype)
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(batch, length, width).to(dtype)
    return {"PyTorch": theirs, "Headway": ours}, x


def verify(outputs, dtype):
    theirs, ours = (outputs[name].float() for name in SIDES)
    bound = (2.0**-20 if dtype == torch.float32 else 2.0**-6) * theirs.abs().max()
    if not (ours - theirs).abs().max() <= bound:
        sys.exit(f"the two disagree by {(ours - theirs).abs().max():.2g}")


def layer_cases(shape, dtype, seconds):
    """(what, passes of the products, {side: seconds})"""
    both, x = layers(shape, dtype)
    hidden = padding(shape[2], shape[3])
    gradient = torch.randn_like(x)
    for mask_name, mask in (("", None), (", padding", hidden)):
        for weights in (False, True):
            options = {"key_padding_mask": mask, "need_weights": weights}
            what = mask_name + (", weights" if weights else "")

            def forward(layer):
                with torch.no_grad():
                    return layer(x, x, x, **options)[0]

            leaf = x.clone().requires_grad_()

            def train(layer):
                layer.zero_grad(set_to_none=True)
                leaf.grad = None
                layer(leaf, leaf, leaf, **options)[0].backward(gradient)

            for layer in both.values():
                layer.eval()
            verify({name: forward(both[name]) for name in SIDES}, dtype)
            yield "forward" + what, 1, compare({n: lambda m=m: forward(m) for n, m in both.items()}, seconds)
            for layer in both.values():
                layer.train()
            yield "forward + backward" + what, 3, compare({n: lambda m=m: train(m) for n, m in both.items()}, seconds)


def encoder_cases(shape, dtype, seconds):
    width, heads, batch, length = shape
    hidden = padding(batch, length)
    x = torch.randn(batch, length, width).to(dtype)
    torch.manual_seed(0)
    theirs = nn.TransformerEncoderLayer(width, heads, 4 * width, dropout=0.1, batch_first=True, dtype=dtype)
    ours = nn.TransformerEncoderLayer(width, heads, 4 * width, dropout=0.1, batch_first=True, dtype=dtype)
    ours.load_state_dict(theirs.state_dict())
    sides = {"PyTorch": theirs, "Headway": headway.torch.replace(ours)}
    optimizers = {name: torch.optim.SGD(layer.parameters(), 1e-4) for name, layer in sides.items()}
    for what, mask in (("", None), (", padding", hidden)):

        def step(name):
            optimizers[name].zero_grad(set_to_none=True)
            sides[name](x, src_key_padding_mask=mask).float().square().mean().backward()
            optimizers[name].step()

        yield "encoder layer, training step" + what, compare({n: lambda n=n: step(n) for n in SIDES}, seconds)


def products(shape, passes):
    """Floating-point operations of the layer's products; attention's backward has five for the forward's two."""
    width, _, batch, length = shape
    return 8 * batch * length * width**2 * passes + 4 * batch * length**2 * width * (1 if passes == 1 else 3.5)


def overhead(seconds):
    """Microseconds of calls that hardly compute, on one thread: (what, {side: microseconds})."""
    torch.set_num_threads(1)
    headway.set_threads(1)

    q = torch.randn(1, 2, 4, 8, requires_grad=True)
    k, v = torch.randn_like(q).requires_grad_(), torch.randn_like(q).requires_grad_()
    gradient = torch.ones_like(q)
    function = {
        "PyTorch": nn.functional.scaled_dot_product_attention,
        "Headway": headway.torch.scaled_dot_product_attention,
    }
    both, x = layers((16, 2, 1, 4), torch.float32)
    array = numpy.ones((1, 4, 2, 8), numpy.float32)

    def micro(body, times=200):
        def many():
            for _ in range(times):
                body()

        return many, times

    def measure(sides):
        found = compare({name: micro(body)[0] for name, body in sides.items()}, seconds)
        return {name: value / 200 * 1e6 for name, value in found.items()}

    yield "NumPy forward", measure({"Headway": lambda: headway.attention(array, array, array)})
    yield "sdpa forward, recorded", measure({n: lambda f=f: f(q, k, v) for n, f in function.items()})
    yield "sdpa forward + backward", measure(
        {n: lambda f=f: torch.autograd.grad(f(q, k, v), (q, k, v), gradient) for n, f in function.items()}
    )
    yield "layer forward, recorded", measure({n: lambda m=m: m(x, x, x, need_weights=False) for n, m in both.items()})
    both["Headway"].train(), both["PyTorch"].train()
    yield "layer forward + backward", measure(
        {n: lambda m=m: m(x, x, x, need_weights=False)[0].sum().backward() for n, m in both.items()}
    )


def mean(ratios):
    return math.exp(sum(map(math.log, ratios)) / len(ratios))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=list(SHAPES))
    parser.add_argument("--dtypes", nargs="+", choices=DTYPES, default=list(DTYPES))
    parser.add_argument(
        "--parts", nargs="+", choices=("layer", "encoder", "overhead"), default=("layer", "encoder", "overhead")
    )
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--seconds", type=float, default=1.0, help="of either side, for each line")
    parser.add_argument("--bin", help="folder of bench_ceiling")
    parser.add_argument("--output", help="a file for the numbers, as JSON")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    headway.set_threads(arguments.threads)
    ceiling = (
        Worker([program(arguments.bin, "bench_ceiling"), "--threads", arguments.threads], arguments.threads)
        if arguments.bin
        else None
    )
    report = {
        "machine": machine(),
        "versions": {"torch": torch.__version__, "headway": headway.__version__, "python": platform.python_version()},
        "rows": [],
    }

    found, most = [], 0.0
    for name in arguments.shapes:
        for dtype in arguments.dtypes:
            shape, of = SHAPES[name], DTYPES[dtype]
            cases = layer_cases(shape, of, arguments.seconds) if "layer" in arguments.parts else ()
            encoders = encoder_cases(shape, of, arguments.seconds) if "encoder" in arguments.parts else ()
            for what, passes, sides in itertools.chain(cases, ((what, 0, sides) for what, sides in encoders)):
                most = max(most, ceiling.ask()["float32"] * 1e9) if ceiling else 0.0
                row = {"shape": name, "dtype": dtype, "what": what, **sides}
                row["products"] = products(shape, passes) if passes else 0
                found.append(row)
                print(*row.values(), file=sys.stderr, flush=True)
    report["rows"], report["ceiling"] = found, most
    rows, ratios = [], []
    for row in found:
        ratio = row["PyTorch"] / row["Headway"]
        if row["products"]:
            ratios.append((row["dtype"], ratio))
        shares = [f"{row['products'] / row[n] / most:.0%}" if most and row["products"] else "" for n in SIDES]
        times = [f"{row[n] * 1e3:.1f}" for n in SIDES]
        rows.append([row["shape"], row["dtype"], row["what"], *times, f"{ratio:.2f}", *shares])
    header = ["shape", "type", "what", *(f"{n}, ms" for n in SIDES), "ratio", *(f"{n}, share" for n in SIDES)]
    text = table(header, rows)
    for dtype in arguments.dtypes:
        if of := [ratio for kind, ratio in ratios if kind == dtype]:
            text += f"\n\nattention layer, {dtype}: {mean(of):.2f} geometric mean, {min(of):.2f} least"
    if ratios:
        text += f"\n\nattention layer: {mean([ratio for _, ratio in ratios]):.2f} geometric mean"
    if "overhead" in arguments.parts:
        calls = [
            [what, *(f"{sides[n]:.1f}" if n in sides else "" for n in SIDES)]
            for what, sides in overhead(arguments.seconds)
        ]
        text += "\n\n" + table(["a call", *(f"{n}, µs" for n in SIDES)], calls)
    finish(report, text, arguments.output)


if __name__ == "__main__":
    main()
