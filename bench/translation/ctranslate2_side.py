#!/usr/bin/env python3
"""A worker, CTranslate2's side of run.py.
{"beam": 4, "inter": 1, "intra": 2, "batch": 64, "type": "examples"} -> {"seconds": ..., "outputs": [[tokens], ...]}
"""

import argparse
import json
import sys
import time
from pathlib import Path

import ctranslate2


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--sources", required=True, help="JSON: a list of lists of tokens")
    args = parser.parse_args()
    sources = json.loads(Path(args.sources).read_text())
    translators = {}  # one pool of threads alive at a time
    for line in sys.stdin:
        request = json.loads(line)
        if request.get("do") == "quit":
            break
        pool = (request["inter"], request["intra"])
        if pool not in translators:
            translators.clear()
            translators[pool] = ctranslate2.Translator(
                args.model, device="cpu", compute_type="float32", inter_threads=pool[0], intra_threads=pool[1]
            )
        begin = time.perf_counter()
        results = translators[pool].translate_batch(
            sources,
            beam_size=request["beam"],
            length_penalty=1,
            patience=1,
            max_decoding_length=256,
            max_input_length=0,
            min_decoding_length=1,
            max_batch_size=request["batch"],
            batch_type=request["type"],
        )
        seconds = time.perf_counter() - begin
        print(json.dumps({"seconds": seconds, "outputs": [r.hypotheses[0] for r in results]}), flush=True)


if __name__ == "__main__":
    main()
