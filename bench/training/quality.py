#!/usr/bin/env python3
"""What training with dropout comes to: BLEU on the test set, ours and PyTorch's, several seeds each.

For each seed both sides start from the same weights, see the same batches and train the same number of steps with
--dropout and the configuration's averaging; only the random numbers of dropout differ. Both results are translated
by our decoder, greedily and with beam 4, and scored by sacreBLEU: so the difference is the training's alone.

Long: seeds x 2 x steps. Each side gets all threads, one after the other. Run it with an interpreter that has torch,
safetensors, numpy and sacrebleu.
"""
import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

import sacrebleu

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
sys.path.insert(0, str(HERE))
from run import Job, best_mode, ours, twin  # noqa: E402
from support.side import Worker, finish, machine, program, table  # noqa: E402


def train(side, steps, weights, block=200):
    begin = time.monotonic()
    with side:
        for done in range(0, steps, block):
            loss = side.ask(do="train", steps=min(block, steps - done))["losses"][-1]
        side.ask(do="save", path=str(weights))
    return {"last_loss": loss, "seconds": time.monotonic() - begin}


def bleu(args, job, weights):
    lines = (Path(args.data) / "test.tsv").read_bytes().decode().split("\n")[:-1][:args.sentences]
    references = [line.split("\t")[1] for line in lines]
    data = job.folder / "test.tsv"
    data.write_text("\n".join(lines) + "\n", encoding="utf-8")
    with Worker([program(args.bin, "bench_translation"), "--job", job.folder, "--weights", weights, "--threads",
                 args.threads], args.threads) as side:
        side.ask(do="sources", input=str(data.resolve()))
        metric = sacrebleu.BLEU()
        scores = {f"beam {beam}": metric.corpus_score(side.ask(do="text", beam=beam)["lines"], [references]).score
                  for beam in (1, 4)}
    return scores, str(metric.get_signature())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    root = HERE.parent.parent
    parser.add_argument("--bin", default=root / "build/dev/bin", help="folder of the bench programs")
    parser.add_argument("--config", default=root / "configs/quickstart.json")
    parser.add_argument("--dropout", type=float, default=0.1, help="in place of the configuration's")
    parser.add_argument("--data", required=True, help="folder made by `headway prepare`")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--modes", nargs="+", default=["eager-padded", "eager-packed"])
    parser.add_argument("--sentences", type=int, help="of the test set, the first (default: all)")
    parser.add_argument("--output", help="JSON file")
    args = parser.parse_args()
    args.total_steps, args.block = args.steps, 10
    report = {"machine": machine(), "runs": []}
    rows, mode = [], None
    with tempfile.TemporaryDirectory() as folder:
        config = json.loads(Path(args.config).read_text())
        config["model"]["dropout"] = args.dropout
        args.config = Path(folder) / "config.json"
        args.config.write_text(json.dumps(config))
        for seed in args.seeds:
            job = Job(args, Path(folder) / str(seed), seed)
            if mode is None:
                mode = best_mode(args, job, args.threads, "float32")[0] if len(args.modes) > 1 else args.modes[0]
            sides = {"Headway": ours(args, job, args.threads), "PyTorch": None}
            for name in sides:
                side = sides[name] or twin(args, job, args.threads, mode)
                weights = job.folder / f"{name}.safetensors"
                run = {"seed": seed, "side": name, **train(side, args.steps, weights)}
                run["bleu"], report["signature"] = bleu(args, job, weights)
                report["runs"].append(run)
                rows.append([seed, name, f"{run['last_loss']:.3f}", *(f"{b:.2f}" for b in run["bleu"].values()),
                             f"{run['seconds']:.0f} s"])
                print(rows[-1], flush=True)
    means = {name: {beam: sum(r["bleu"][beam] for r in report["runs"] if r["side"] == name) / len(args.seeds)
                    for beam in ("beam 1", "beam 4")} for name in ("Headway", "PyTorch")}
    report["means"] = means
    rows += [["mean", name, "", *(f"{b:.2f}" for b in mean.values()), ""] for name, mean in means.items()]
    text = table(["seed", "side", "last loss", "BLEU greedy", "BLEU beam 4", "training"], rows)
    finish(report, f"{args.steps} steps, {report['signature']}\n\n{text}", args.output)


if __name__ == "__main__":
    main()
