"""A training small enough to be repeated: a corpus of made-up sentences and the command that trains on it."""

import random
import subprocess
from pathlib import Path

WORDS = {
    "the": "der",
    "red": "rote",
    "small": "kleine",
    "old": "alte",
    "dog": "Hund",
    "tree": "Baum",
    "table": "Tisch",
    "sees": "sieht",
    "finds": "findet",
    "likes": "mag",
    "a": "einen",
    "big": "großen",
    "green": "grünen",
    "letter": "Brief",
    "key": "Schlüssel",
    "stone": "Stein",
    "today": "heute",
    "here": "hier",
    "never": "nie",
}


def write_corpus(folder, pairs=400, seed=5):
    """train.tsv and valid.tsv of word-by-word translations."""
    rng = random.Random(seed)
    lines = []
    for _ in range(pairs + 20):
        words = rng.choices(sorted(WORDS), k=rng.randint(3, 12))
        lines.append(" ".join(words) + "\t" + " ".join(WORDS[w] for w in words) + "\n")
    (folder / "train.tsv").write_text("".join(lines[:pairs]), encoding="utf-8")
    (folder / "valid.tsv").write_text("".join(lines[pairs:]), encoding="utf-8")


def command(program, folder, out, steps, checkpoint_every):
    return [
        str(program),
        "train",
        "--train",
        str(folder / "train.tsv"),
        "--valid",
        str(folder / "valid.tsv"),
        "--out",
        str(out),
        "--steps",
        str(steps),
        "--checkpoint-every",
        str(checkpoint_every),
        "--evaluate-every",
        str(2 * checkpoint_every),
        "--evaluate-sentences",
        "4",
        "--dim",
        "32",
        "--heads",
        "4",
        "--encoder-layers",
        "1",
        "--decoder-layers",
        "1",
        "--feed-forward",
        "64",
        "--max-length",
        "64",
        "--vocab",
        "90",
        "--tokens",
        "256",
        "--dropout",
        "0.1",
        "--schedule",
        "cosine",
        "--warmup",
        "20",
        "--rate",
        "0.002",
        "--average",
        "0.99",
        "--keep",
        "2",
        "--clip",
        "1",
        "--share-source",
        "true",
    ]


def train(program, folder, out, steps, checkpoint_every, timeout=600):
    done = subprocess.run(
        command(program, folder, out, steps, checkpoint_every), capture_output=True, text=True, timeout=timeout
    )
    if done.returncode:
        raise AssertionError(f"training ended with {done.returncode}: {done.stderr.strip()}")


def newest(out):
    return Path(out) / (Path(out) / "LATEST").read_text().strip()


def checkpoints(out):
    return sorted(p for p in Path(out).glob("step-*") if p.is_dir())
