#!/usr/bin/env python3
"""Attention, ours and its peers', in turn: shapes, decoding, masks and biases, sparse patterns, packed batches, memory.

Ours is first compared with float64 loops. Every peer is verified on every row against our float32 result before it is
timed, in the fastest of the ways it offers. All sides then take turns, medians of medians; ceilings are measured beside
each row. Writes attention.md, attention.json and plots into --output.

Run it with an interpreter that has bench/requirements.txt, or with --peers alone (no names) and any.
"""

import argparse
import contextlib
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from bench import PEERS, Bench  # noqa: E402
from sections import SECTIONS, headline  # noqa: E402
from support.side import finish, machine, program  # noqa: E402


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--bin", default=HERE.parent.parent / "build/dev/bin", help="folder of the bench programs")
    add("--output", type=Path, required=True, help="folder for tables, plots and numbers")
    add("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS), help="sections")
    add("--rows", nargs="+", help="regular expressions: rows of grid, decode, variants, sparse that match one")
    add("--peers", nargs="*", choices=PEERS, default=list(PEERS))
    add("--dtypes", nargs="+", default=["float32", "bfloat16"], help="of grid and decode; all others: float32")
    add("--masks", nargs="+", default=["full", "causal"], choices=["full", "causal"], help="of the grid")
    add("--threads", type=int, nargs="+", default=[1, 2], help="grid and decode: each; all others: the last")
    add("--rounds", type=int, default=3)
    add("--seconds", type=float, default=0.1, help="of each measurement in a round, at least, or one run")
    add("--row-seconds", type=float, default=10, help="after which a row takes no further round")
    add("--length", type=int, default=2048, help="of the variants")
    add("--sparse-length", type=int, default=16384)
    add("--lengths", type=int, nargs="+", default=[1024 << i for i in range(7)], help="of curve and memory")
    add("--corpus", help="folder with a prepared corpus (train.tsv), for the lengths of packed")
    return parser.parse_args()


def check(args):
    checked = subprocess.run(
        [program(args.bin, "bench_attention"), "--do", "check"], capture_output=True, text=True
    )
    if checked.returncode:
        sys.exit(f"{checked.stdout}{checked.stderr}ours is wrong; nothing was timed")
    return checked.stdout.splitlines()


def draw(report, folder):
    try:
        from pictures import PICTURES
    except ImportError:
        return print("matplotlib is not installed: no plots", file=sys.stderr)
    for name, picture in PICTURES.items():
        if report["sections"].get(name, {}).get("rows"):
            picture(report["sections"][name], folder)


def markdown(report):
    ceilings = " and ".join(
        f"{c['float32']:.0f} GFLOP/s float32, {c['bf16']:.0f} bf16 on {threads} thread(s)"
        for threads, c in report["ceilings"].items()
    )
    about = [f"{report['machine']['processor']}, {report['machine']['cores']} cores; ceilings {ceilings}"]
    about += [f"{name} {version}" for name, version in report["versions"].items()]
    text = [f"# Attention\n\n{', '.join(about)}."]
    text.append(headline(report["sections"]))
    for name, section in report["sections"].items():
        text.append(f"## {SECTIONS[name][0]}\n\n{section['text'].strip()}")
    return "\n\n".join(part for part in text if part) + "\n"


def main():
    args = arguments()
    args.output.mkdir(parents=True, exist_ok=True)
    report = {"machine": machine(), "checks": check(args), "sections": {}}
    begin = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        benches = [
            stack.enter_context(Bench(args, threads, Path(folder) / str(threads))) for threads in args.threads
        ]
        report["versions"] = benches[-1].versions
        report["ceilings"] = {bench.threads: bench.ceiling.ask(do="measure") for bench in benches}
        for name in args.only:
            print(f"{name} …", file=sys.stderr)
            report["sections"][name] = SECTIONS[name][1](benches, args)
    report["minutes"] = (time.monotonic() - begin) / 60
    written = markdown(report)
    draw(report, args.output)
    (args.output / "attention.md").write_text(written)
    finish(report, written, args.output / "attention.json")
    if any(section.get("failed") for section in report["sections"].values()):
        sys.exit("a check failed: see above")


if __name__ == "__main__":
    main()
