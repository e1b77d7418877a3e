"""Makes hub_tokenizers.json: tiny tokenizers of each kind, and what PyPI's `tokenizers` makes of some lines.

hub_tokenizers.py OUT, with `tokenizers` installed. Offsets are bytes.
"""

import json
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "peers"))

LINES = [
    "",
    " ",
    "Hello, world!",
    "  Zwei  Wörter\n\tund 12345 Zahlen ",
    "don't we'll IT'S",
    "中文字 漢字",
    "été déjà ÀÉÎ İ",
    "👩‍👩‍👧‍👦 👍🏽 🇩🇪",
    "e\u0301\u0323 \u1100\u1161\u11a8",
    "ﬁ ½ ſ ㌀ ａ",
    "\x07a\u200bb\u00adc\u2028d\ufffd",
    "क्षि ก็ ꦥꦽ",
    "a <mask> b<mask>c word words  two  Straße x",
    "if (x[i] == 0x1F) { return -1; }",
]


def main():
    import lines as maker
    import make_tokenizers as kinds

    text = [line for line in maker.make(3000) if line.isascii()][:250] + LINES
    out = []
    for name, tokenizer in kinds.make(text, small=True):
        cases = []
        for line in LINES:
            encoding = tokenizer.encode(line)
            at = [0]
            for c in line:
                at.append(at[-1] + len(c.encode()))
            cases.append(
                {
                    "text": line,
                    "ids": encoding.ids,
                    "types": encoding.type_ids,
                    "decoded": tokenizer.decode(encoding.ids),
                    "offsets": [at[x] for pair in encoding.offsets for x in pair],
                }
            )
        out.append({"name": name, "tokenizer": json.loads(tokenizer.to_str()), "cases": cases})
    with open(sys.argv[1], "w", encoding="utf-8") as f:
        json.dump(out, f, ensure_ascii=False, separators=(",", ":"))
        f.write("\n")


if __name__ == "__main__":
    main()
