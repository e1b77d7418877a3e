#!/usr/bin/env python3
"""Translation throughput: our decoder against CTranslate2 float32 with the same weights, greedy and beam 4.

Both sides go from ids to ids, loading not counted, in turn; CTranslate2 with the best of a grid of batch sizes
and thread
layouts, found first. Outputs are compared: where they differ, both are scored by our model, and a difference
is a tie when
the log-probabilities are within 1e-3.

Run it with an interpreter that has ctranslate2, safetensors and numpy.
"""

import argparse
import itertools
import json
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from support.side import Worker, alternate, finish, machine, middle, program, spread, table  # noqa: E402
from ctranslate2_model import export  # noqa: E402

BATCHES = [("examples", 32), ("examples", 64), ("examples", 128), ("tokens", 2048), ("tokens", 8192)]
TIE = 1e-3
LIMIT = 256  # tokens of an output, on both sides


def best_settings(args, peer, beam, threads):
    layouts = {(1, threads), (threads, 1)}
    found = []
    for (inter, intra), (kind, batch) in itertools.product(sorted(layouts), args.batches):
        settings = {"beam": beam, "inter": inter, "intra": intra, "batch": batch, "type": kind}
        if not found or found[-1][1]["inter"] != inter:
            peer.ask(**settings)  # a new pool's first run
        found.append((peer.ask(**settings)["seconds"], settings))
    return min(found, key=lambda f: f[0]), found


def pair_of(i, mine, theirs, p, q):
    """Two outputs and the log-probabilities of their tokens and end marks: differences of the whole, of what a beam
    ranks by, and of the first tokens that differ, where a greedy search chose."""
    fork = next(t for t in range(len(p)) if (mine + [None])[t] != (theirs + [None])[t])
    return {"sentence": i, "ours": sum(p), "theirs": sum(q), "difference": abs(sum(p) - sum(q)),
            "of_scores": abs(sum(p) / len(p) - sum(q) / len(q)), "at_fork": abs(p[fork] - q[fork])}


def compare(ours, mine, theirs, tokens, beam):
    """Where the two differ, and both log-probabilities under our model."""
    ids = {token: i for i, token in enumerate(tokens)}
    # An output that ran to the limit leaves no place for the end mark it is scored with.
    theirs = [[ids[t] for t in sentence[:LIMIT - 1]] for sentence in theirs]
    mine = [sentence[:LIMIT - 1] for sentence in mine]
    different = [i for i, (a, b) in enumerate(zip(mine, theirs)) if a != b]
    pairs = []
    if different:
        p, q = (ours.ask(do="score", targets=outputs)["log_probabilities"] for outputs in (mine, theirs))
        pairs = [pair_of(i, mine[i], theirs[i], p[i], q[i]) for i in different]
    choice = "at_fork" if beam == 1 else "of_scores"
    return {"identical": 1 - len(different) / len(mine), "differences": pairs,
            "no_ties": [x for x in pairs if min(x["difference"], x[choice]) > TIE]}


def measure(args, ours, peer, tokens, beam, threads):
    (_, settings), tried = best_settings(args, peer, beam, threads)
    ours.ask(do="translate", beam=beam)
    sides = {"Headway": (ours, {"do": "translate", "beam": beam}), "CTranslate2": (peer, settings)}
    results = alternate(sides, args.rounds, lambda side: side[0].ask(**side[1]))
    seconds = {name: [r["seconds"] for r in results[name]] for name in sides}
    mine = results["Headway"][0]["outputs"]
    return {
        "threads": threads,
        "beam": beam,
        "settings": settings,
        "tried": tried,
        "sentences": len(mine),
        "sentences_per_second": {name: len(mine) / middle(s) for name, s in seconds.items()},
        "spread": {name: spread(s) for name, s in seconds.items()},
        "ratio": middle([b / a for a, b in zip(seconds["Headway"], seconds["CTranslate2"])]),
        **compare(ours, mine, results["CTranslate2"][0]["outputs"], tokens, beam),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", default=HERE.parent.parent / "build/dev/bin", help="folder of the bench programs")
    parser.add_argument("--run", required=True, help="a trained run's folder, or a checkpoint")
    parser.add_argument(
        "--input", required=True, help="sentences to translate: first column of a TSV, such as test.tsv"
    )
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--beams", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--batches",
        nargs="+",
        default=BATCHES,
        help="of CTranslate2, such as examples:64 tokens:4096",
        type=lambda text: (text.split(":")[0], int(text.split(":")[1])),
    )
    parser.add_argument("--output", help="JSON file")
    args = parser.parse_args()
    report = {"machine": machine(), "runs": []}
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for threads in args.threads:
            ours = Worker(
                [program(args.bin, "bench_translation"), "--run", args.run, "--threads", threads], threads
            )
            model = ours.ask(do="model")
            tokens = model["vocabulary"]
            sources = ours.ask(do="sources", input=str(Path(args.input).resolve()))["sources"]
            place, listed = Path(folder) / f"model-{threads}", Path(folder) / "sources.json"
            export(model["config"], tokens, model["weights"], place)
            listed.write_text(json.dumps([[tokens[i] for i in s] for s in sources]))
            peer = Worker(
                [sys.executable, "-B", HERE / "ctranslate2_side.py", "--model", place, "--sources", listed], threads
            )
            for beam in args.beams:
                run = measure(args, ours, peer, tokens, beam, threads)
                report["runs"].append(run)
                rate = run["sentences_per_second"]
                rows.append(
                    [
                        threads,
                        beam,
                        f"{rate['Headway']:.0f}",
                        f"{rate['CTranslate2']:.0f}",
                        f"{run['ratio']:.2f}",
                        f"{100 * run['identical']:.2f} %",
                        len(run["differences"]),
                        len(run["no_ties"]),
                    ]
                )
            ours.close()
            peer.close()
    text = [
        table(
            ["threads", "beam", "Headway sentences/s", "CTranslate2", "ratio", "identical", "different", "no ties"],
            rows,
        )
    ]
    for run in report["runs"]:
        s = run["settings"]
        text.append(
            f"\n{run['threads']} thread(s), beam {run['beam']}: CTranslate2 at {s['inter']} x {s['intra']} threads, "
            f"{s['batch']} {s['type']}; {run['sentences']} sentences"
        )
        text += [
            f"  no tie: sentence {p['sentence']}: log-probability {p['ours']:.4f}, theirs {p['theirs']:.4f}"
            for p in run["no_ties"]
        ]
    finish(report, "\n".join(text), args.output)


if __name__ == "__main__":
    main()
