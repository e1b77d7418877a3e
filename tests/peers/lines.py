"""Lines of text in many scripts for comparing tokenizers: lines.py OUT [COUNT].

From translations that the system carries, Python's sources, and made lines of every Unicode block, emoji, controls.
Seeded; U+0001 stands for a line feed.
"""

import glob
import gzip
import os
import random
import sys
import unicodedata

EMOJI = ["👩‍👩‍👧‍👦", "🏳️‍🌈", "👍🏽", "🇩🇪🇫🇷", "❤️", "1️⃣", "🧑🏿‍🚀", "☎️", "🫱🏻‍🫲🏾", "🙂"]
ODD = [
    "\u200b",
    "\u200d",
    "\u00ad",
    "\ufeff",
    "\u2028",
    "\u0085",
    "\u00a0",
    "\u3000",
    "\t",
    "\1",
    "\r\1",
    "\x07",
    "\x1b[0m",
    "\x7f",
    "\ufffd",
    "ﬁ",
    "½",
    "ſ",
    "İ",
    "ǅ",
    "ß",
    "Å",
    "e\u0301\u0323",
    "가",
    "각",
    "\u1100\u1161\u11a8",
    "①",
    "㌀",
    "ℌ",
    "ａ",
    "𝔘",
    "क्षि",
    "ก็",
]


def translations(random_source):
    """Messages of installed programs (.mo files hold UTF-8 strings between NULs)."""
    files = sorted(
        glob.glob("/usr/share/locale/*/LC_MESSAGES/*.mo") + glob.glob("/usr/lib/python3*/**/*.mo", recursive=True)
    )
    random_source.shuffle(files)
    for name in files:
        with open(name, "rb") as f:
            parts = f.read().split(b"\0")
        for part in parts[len(parts) // 2 :]:
            try:
                text = part.decode("utf-8")
            except UnicodeDecodeError:
                continue
            if 3 < len(text) < 600 and any(ord(c) > 127 for c in text):
                yield text.replace("\n", "\1")


def package_texts():
    for name in sorted(
        glob.glob("/var/lib/apt/lists/*_Translation-*")
        + glob.glob("/usr/share/i18n/locales/*")
        + glob.glob("/usr/share/doc/*/README*")
    ):
        try:
            opener = gzip.open if name.endswith(".gz") else open
            with opener(name, "rt", encoding="utf-8", errors="ignore") as f:
                for line in f.read(2_000_000).split("\n"):
                    if len(line) > 20:
                        yield line.replace("\1", "")
        except OSError:
            continue


def code():
    for name in sorted(glob.glob("/usr/lib/python3*/*.py")):
        with open(name, encoding="utf-8", errors="ignore") as f:
            for line in f.read().split("\n"):
                if line:
                    yield line.replace("\1", "")


def blocks(random_source, count):
    """Words of neighbouring code points, all assigned ones in turn."""
    assigned = [c for c in range(1, 0x110000) if c != 10 and unicodedata.category(chr(c)) not in ("Cs", "Cn", "Co")]
    points = [c for c in assigned if c < 0x20000 or c % 40 == 0]  # of the rare ideographs a few
    at = 0
    for _ in range(count):
        words = []
        for _ in range(random_source.randint(1, 8)):
            size = random_source.randint(1, 9)
            words.append("".join(chr(c) for c in points[at : at + size]))
            at = (at + size) % len(points)
            if random_source.random() < 0.2:
                words.append(
                    random_source.choice(
                        EMOJI + ODD + ["it's", "123", "3.14", "12345", "...", "don't", "THE", "<s>", "word", "<mask>"]
                    )
                )
        yield random_source.choice([" ", " ", " ", "  ", ""]).join(words)


def mixed(random_source, lines, count):
    for _ in range(count):
        parts = [random_source.choice(lines)[: random_source.randint(0, 40)] for _ in range(3)]
        for _ in range(random_source.randint(0, 3)):
            parts.insert(
                random_source.randint(0, len(parts)),
                random_source.choice(
                    EMOJI + ODD + [" ", "   ", " <mask> ", "<unk>", "[MASK]", "</s>", "Straße ", " two "]
                ),
            )
        yield "".join(parts)


def make(count, seed=1):
    random_source = random.Random(seed)
    lines = []
    for source, share in ((translations(random_source), 0.4), (package_texts(), 0.1), (code(), 0.1)):
        for _, line in zip(range(int(count * share)), source):
            lines.append(line)
    lines += blocks(random_source, max(int(count * 0.25), 0))
    lines += mixed(random_source, lines, count - len(lines))
    random_source.shuffle(lines)
    return ["", " ", "  ", "\1", "a", "é", *lines][:count]


if __name__ == "__main__":
    with open(sys.argv[1], "w", encoding="utf-8", newline="\n") as f:
        f.write("\n".join(make(int(sys.argv[2]) if len(sys.argv) > 2 else 100_000)) + "\n")
