#!/usr/bin/env python3
"""Training throughput: our trainer against a tuned PyTorch twin, from the same weights, on the same batches.

First dropout is off and the losses of the first steps are compared (at --check-rate): 100 within 1e-4
relative, 200 within 1e-3. Only then time: blocks of steps of both sides in turn, with the configuration's
dropout, medians. PyTorch runs in the best of its
modes (eager or compiled, padded or packed), found first. Shares are of the ceiling measured between the blocks.

Run it with an interpreter that has torch, safetensors and numpy.
"""

import argparse
import json
import os
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from support.side import Worker, alternate, finish, machine, middle, program, spread, table  # noqa: E402


def read_tensor(path, wanted):
    import numpy

    with open(path, "rb") as file:
        header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
        begin, end = header[wanted]["data_offsets"]
        file.seek(file.tell() + begin)
        kind = {"I64": numpy.int64, "I32": numpy.int32}[header[wanted]["dtype"]]
        return numpy.frombuffer(file.read(end - begin), dtype=kind)


class Job:
    def __init__(self, args, folder, seed=0):
        self.folder = Path(folder)
        subprocess.run(
            [
                program(args.bin, "bench_training"),
                "--do",
                "prepare",
                "--config",
                args.config,
                "--data",
                args.data,
                "--job",
                folder,
                "--batches",
                str(args.total_steps),
                "--seed",
                str(seed),
            ],
            check=True,
        )
        self.config = json.loads((self.folder / "config.json").read_text())

    def operations(self, steps):
        """Multiply-adds count two; forward and twice that backward, of real tokens alone: recomputation and padding are
        each side's own affair. -> operations of each of the first steps."""
        import numpy

        c, v = self.config["model"], self.config["target_vocab"]
        d, f = c["dim"], c["feed_forward"]
        lengths = {
            side: numpy.diff(read_tensor(self.folder / "examples.safetensors", f"{side}_offsets"))
            for side in ("source", "target")
        }
        order = read_tensor(self.folder / "batches.safetensors", "examples")
        offsets = read_tensor(self.folder / "batches.safetensors", "offsets")
        out = []
        for i in range(steps):
            who = order[offsets[i] : offsets[i + 1]]
            s, t = lengths["source"][who].astype(float), lengths["target"][who].astype(float) + 1
            encoder = c["encoder_layers"] * (s.sum() * (4 * d * d + 2 * d * f) + 2 * d * (s * s).sum())
            pairs = (t * (t + 1) / 2 + t * s).sum()
            decoder = c["decoder_layers"] * (
                t.sum() * (6 * d * d + 2 * d * f) + s.sum() * 2 * d * d + 2 * d * pairs
            )
            out.append(3 * 2 * (encoder + decoder + t.sum() * d * v))
        return out


def ours(args, job, threads, *more):
    return Worker(
        [
            program(args.bin, "bench_training"),
            "--do",
            "serve",
            "--job",
            job.folder,
            "--threads",
            threads,
            "--total-steps",
            args.total_steps,
            *more,
        ],
        threads,
    )


def twin(args, job, threads, mode, *more):
    kind, layout = mode.split("-")
    return Worker(
        [
            sys.executable,
            "-B",
            HERE / "torch_twin.py",
            "--job",
            job.folder,
            "--threads",
            threads,
            "--total-steps",
            args.total_steps,
            "--mode",
            kind,
            "--layout",
            layout,
            *more,
        ],
        threads,
    )


def losses(side, steps):
    with side:
        return side.ask(do="train", steps=steps)["losses"]


def largest_difference(a, b):
    return max(abs(x - y) / abs(y) for x, y in zip(a, b))


def check_losses(args, job, threads):
    """-> for each mode the largest relative differences, of the first half of the losses and of all. Ends the
    program where
    they are too large. At the quickstart's rate Adam lets rounding grow tenfold in some twenty steps, between
    PyTorch's own
    two layouts as between the two sides: so the check is made at a rate of its own, and the drift at the
    configuration's is reported beside it."""
    count = args.check_steps
    half = count // 2
    found = {}
    for rate in [args.check_rate, *([None] if args.drift else [])]:
        more = ["--dropout", "none", *(["--rate", rate] if rate else [])]
        runs = {"Headway": losses(ours(args, job, threads, *more), count)}
        for mode in args.modes:
            runs[mode] = losses(twin(args, job, threads, mode, *more), count)
        pairs = [("Headway", mode) for mode in args.modes] + (
            [tuple(args.modes[:2])] if len(args.modes) > 1 else []
        )
        label = f"rate {rate}" if rate else "the configuration's rate"
        for a, b in pairs:
            near, far = largest_difference(runs[a][:half], runs[b][:half]), largest_difference(runs[a], runs[b])
            found[f"{a} and {b}, {label}"] = {half: near, count: far}
            print(
                f"losses at {label}, {a} and {b}: the first {half} differ by {near:.1e}, {count} by {far:.1e}",
                flush=True,
            )
            if rate and a == "Headway" and (near > 1e-4 or far > 1e-3):
                sys.exit("the two sides do not train the same model; nothing was timed")
    return found


def precision_of(name):
    return ["--precision", "bf16"] if name.endswith("bf16") else []


def best_mode(args, job, threads, precision):
    rates = {}
    for mode in args.modes:
        with twin(args, job, threads, mode, *precision_of(precision)) as side:
            side.ask(do="train", steps=args.block)
            block = side.ask(do="train", steps=args.block)
            rates[mode] = block["tokens"] / block["seconds"]
    return max(rates, key=rates.get), rates


def measure(args, job, threads):
    kinds = ["float32", "bf16"] if args.bf16 else ["float32"]
    modes = {kind: best_mode(args, job, threads, kind) for kind in kinds}
    sides = {}
    for kind in kinds:
        sides[f"Headway {kind}"] = ours(args, job, threads, *precision_of(kind))
        sides[f"PyTorch {kind}"] = twin(args, job, threads, modes[kind][0], *precision_of(kind))
    ceiling = Worker([program(args.bin, "bench_ceiling"), "--threads", threads], threads)
    for side in sides.values():  # warm: memory, caches of primitives and kernels
        side.ask(do="train", steps=args.block)
    ceilings = []

    def block(side):
        if side is ceiling:
            ceilings.append(side.ask(do="measure"))
            return None
        return side.ask(do="train", steps=args.block)

    results = alternate({**sides, "ceiling": ceiling}, args.blocks, block)
    for side in [*sides.values(), ceiling]:
        side.close()
    operations = job.operations((args.blocks + 1) * args.block)
    peak = {name: max(c[name] for c in ceilings) for name in ("float32", "bf16")}
    rows = {}
    for name in sides:
        # Both sides' block i has the same batches.
        seconds = [r["seconds"] for r in results[name]]
        rate = [r["tokens"] / r["seconds"] for r in results[name]]
        work = [sum(operations[(i + 1) * args.block : (i + 2) * args.block]) / 1e9 for i in range(args.blocks)]
        gflops = middle([w / s for w, s in zip(work, seconds)])
        rows[name] = {
            "tokens_per_second": middle(rate),
            "spread": spread(rate),
            "ms_per_step": 1e3 * middle(seconds) / args.block,
            "gflops": gflops,
            "share_of_fma_ceiling": gflops / peak["float32"],
            "last_loss": results[name][-1]["losses"][-1],
        }
    ratios = {
        kind: middle(
            [b["seconds"] / a["seconds"] for a, b in zip(results[f"Headway {kind}"], results[f"PyTorch {kind}"])]
        )
        for kind in kinds
    }
    if args.bf16:
        ratios["our bf16 over our float32"] = middle(
            [a["seconds"] / b["seconds"] for a, b in zip(results["Headway float32"], results["Headway bf16"])]
        )
    return {
        "threads": threads,
        "ceiling_gflops": peak,
        "modes": {k: m[0] for k, m in modes.items()},
        "mode_rates": {k: m[1] for k, m in modes.items()},
        "rows": rows,
        "ratios": ratios,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    root = HERE.parent.parent
    parser.add_argument("--bin", default=root / "build/dev/bin", help="folder of the bench programs")
    parser.add_argument("--config", default=root / "configs/quickstart.json")
    parser.add_argument("--data", required=True, help="folder made by `headway prepare`")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--modes", nargs="+", default=["eager-padded", "eager-packed", "compile-padded"])
    parser.add_argument("--block", type=int, default=25, help="steps of a block")
    parser.add_argument("--blocks", type=int, default=12)
    parser.add_argument("--check-steps", type=int, default=200)
    parser.add_argument("--check-rate", type=float, default=5e-4)
    parser.add_argument("--drift", action="store_true", help="also compare losses at the configuration's rate")
    parser.add_argument("--total-steps", type=int, default=2000, help="length the schedule is made for")
    parser.add_argument("--bf16", action="store_true", help="also both sides in bfloat16")
    parser.add_argument("--output", help="JSON file")
    args = parser.parse_args()
    if max(args.check_steps, args.block * (args.blocks + 1)) >= args.total_steps:
        sys.exit("--total-steps is too small for so many blocks")
    report = {"machine": machine(), "runs": []}
    text = []
    with tempfile.TemporaryDirectory() as folder:
        job = Job(args, folder)
        report["losses"] = check_losses(args, job, max(args.threads))
        for threads in args.threads:
            run = measure(args, job, threads)
            report["runs"].append(run)
            rows = [
                [
                    name,
                    f"{r['tokens_per_second']:.0f}",
                    f"± {100 * r['spread']:.0f} %",
                    f"{r['ms_per_step']:.1f}",
                    f"{r['gflops']:.0f}",
                    f"{100 * r['share_of_fma_ceiling']:.0f} %",
                ]
                for name, r in run["rows"].items()
            ]
            text.append(
                f"\n{threads} thread(s); ceiling {run['ceiling_gflops']['float32']:.0f} GFLOP/s float32, "
                f"{run['ceiling_gflops']['bf16']:.0f} bf16; PyTorch in mode {run['modes']}\n"
            )
            text.append(
                table(["side", "target tokens/s", "spread", "ms/step", "GFLOP/s", "of the float32 ceiling"], rows)
            )
            text.append("\nratios: " + ", ".join(f"{name} {ratio:.2f}" for name, ratio in run["ratios"].items()))
    finish(report, "\n".join(text), args.output)


if __name__ == "__main__":
    os.environ.pop("PYTHONPATH", None)
    main()
