#!/usr/bin/env python3
"""Attention kernels, ours and PyTorch's: share of the multiply-add ceiling, forward and forward + backward.

Ours are first compared with float64 loops. Then every case is timed on both sides in turn, medians of medians; the
ceiling is measured beside each case. Run it with an interpreter that has torch (or --no-peer with any).
"""

import argparse
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from support.side import Worker, alternate, finish, machine, middle, program, table  # noqa: E402

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
PASSES = {"forward": 1.0, "forward_backward": 3.5}  # operations, as multiples of forward's


def one_case(args, sides, ceiling, case):
    measured = ceiling.ask(do="measure")
    # Without bf16 products of its own a processor computes them in float32.
    peak = measured["float32"] if case["dtype"] == "float32" else measured["bf16"] or measured["float32"]
    results = alternate(sides, args.rounds, lambda side: side.ask(**case))
    work = results["Headway"][0]["operations"] / 1e9
    row = {**case, "ceiling_gflops": peak}
    for name in sides:
        for what, factor in PASSES.items():
            seconds = middle([r[what] for r in results[name]])
            row[f"{name} {what}"] = {"seconds": seconds, "share": factor * work / seconds / peak if peak else None}
    return row


def percent(row, name, what):
    value = row.get(f"{name} {what}")
    if value is None:
        return "—"
    return f"{100 * value['share']:.0f} %" if value["share"] is not None else f"{1e6 * value['seconds']:.0f} µs"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", default=HERE.parent.parent / "build/dev/bin", help="folder of the bench programs")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.2, help="of each measurement, at least")
    parser.add_argument("--cases", type=int, nargs="+", help="places in the grid, from 0")
    parser.add_argument("--masks", nargs="+", default=["full", "causal"], choices=["full", "causal", "boolean"])
    parser.add_argument("--no-peer", action="store_true", help="ours alone")
    parser.add_argument("--output", help="JSON file")
    args = parser.parse_args()
    report = {"machine": machine(), "rows": []}
    binary = program(args.bin, "bench_attention")
    checked = subprocess.run([binary, "--do", "check"], capture_output=True, text=True)
    report["checks"] = checked.stdout.splitlines()
    if checked.returncode:
        sys.exit(f"{checked.stdout}{checked.stderr}ours is wrong; nothing was timed")
    text = []
    for threads in args.threads:
        sides = {"Headway": Worker([binary, "--do", "serve", "--threads", threads], threads)}
        if not args.no_peer:
            sides["PyTorch"] = Worker([sys.executable, "-B", HERE / "torch_sdpa.py", "--threads", threads], threads)
        ceiling = Worker([program(args.bin, "bench_ceiling"), "--threads", threads], threads)
        for dtype in args.dtypes:
            rows = []
            for place in args.cases or range(len(GRID)):
                for mask in args.masks:
                    case = {
                        "shape": GRID[place],
                        "causal": mask == "causal",
                        "masked": mask == "boolean",
                        "dtype": dtype,
                        "seconds": args.seconds,
                    }
                    row = {"threads": threads, **one_case(args, sides, ceiling, case)}
                    report["rows"].append(row)
                    rows.append(
                        [
                            GRID[place],
                            mask,
                            *(percent(row, name, what) for what in PASSES for name in ("Headway", "PyTorch")),
                        ]
                    )
            text.append(f"\n{dtype}, {threads} thread(s), share of the ceiling\n")
            text.append(
                table(["(B, H, T, D)", "mask", "forward", "PyTorch", "forward + backward", "PyTorch"], rows)
            )
        for worker in [*sides.values(), ceiling]:
            worker.close()
    finish(report, "\n".join(text), args.output)


if __name__ == "__main__":
    main()
