"""Writes tests/text/data/metrics.json: scores of sacreBLEU for text that exercises its corners.

python3 -m venv v && v/bin/pip install sacrebleu==2.6.0 && v/bin/python tests/text/make_golden.py
"""
import json
import pathlib
import random

import sacrebleu
from sacrebleu.metrics import BLEU, CHRF

SENTENCES = [
    ("Click OK.", "Click OK.", "Press OK."),
    ("The cat sat on the mat.", "A cat is sitting on the mat.", "The cat sat upon the mat!"),
    ("Wählen Sie Ansicht – Navigator…", "Wählen Sie »Ansicht – Navigator«.", "Bitte „Ansicht“ wählen …"),
    ("It costs 1,234.56 $ or 12-13 %, i.e. 5.", "It cost 1,234.56$ or 12–13%, i.e., 5.", "1.234,56 $; about 12 %."),
    ("&quot;A &amp; B&quot; &lt;tag&gt; <skipped>", '"A & B" <tag>', "A&B <tag>"),
    ("don't won't 'tis e-mail x-y-z", "do n't won't it's e-mail x-y-z", "don't will not"),
    ("ΣΊΣΥΦΟΣ ist İSTANBUL straße STRASSE", "σίσυφος ist istanbul STRASSE strasse", "ΣΊΣΥΦΟΣ"),
    ("日本語のテキスト。すごい！", "日本語の文章です。すごい！", "日本語。"),
    ("हिन्दी में १२३,४५ रुपये।", "हिन्दी में १२३,४५ रुपए ।", "१२३ रुपये"),
    ("😀 emoji 👩‍👩‍👧 and € £ ¥ + = ~", "😀 emojis 👩‍👩‍👧 and €, £, ¥ + = ~", "emoji"),
    ("", "An empty hypothesis.", "Nothing"),
    ("An empty reference.", "", "Something"),
    ("  leading, trailing \t and   inner  ", "leading , trailing and inner", "leading trailing inner"),
    ("a.b,c.1,2.3.x 4-5 -6 7- 8.", "a.b, c.1,2.3.x 4-5 -6 7- 8 .", "4 - 5"),
    ("(hi) [there] {you} \\ / | ^ _ `", "(hi) [there] {you} / | ^", "hi there you"),
    ("no\u00a0break\u2009thin\u3000wide\u200bzero\x1cfs", "no break thin wide zero fs", "no break"),
    ("the the the the the the the", "the cat is on the mat", "there is a cat on the mat"),
    ("½ ² Ⅳ ٣,٤ x², 10²-5", "½ ² Ⅳ ٣,٤ x² , 10² - 5", "4"),
    ("Don’t “quote” me—ever…really?!", 'Don\'t "quote" me - ever... really?!', "Never quote me"),
    ("x", "x", "y"),
    ("one two", "one two", "one"),
    (".", ".", ","),
]


def variants(rng):
    """Longer sentences with random edits, so that every order of n-gram has partial matches."""
    words = ("the a cell row column of in and select formula =SUM(A1:B7) is value, text. Zelle Zeile die der und "
             "3.5 1,000 menu File – Open OK? button; (default) “new” page's").split()
    for _ in range(40):
        reference = [rng.choice(words) for _ in range(rng.randint(3, 25))]
        sides = []
        for _ in range(2):
            side = [w for w in reference if rng.random() > 0.12]
            side = [rng.choice(words) if rng.random() < 0.15 else w for w in side]
            sides.append(" ".join(side))
        yield sides[0], " ".join(reference), sides[1]


def main():
    rng = random.Random(7)
    rows = SENTENCES + list(variants(rng))
    hypotheses = [r[0] for r in rows]
    lists = [[r[1] for r in rows], [r[2] for r in rows]]
    golden = {"sacrebleu": sacrebleu.__version__, "hypotheses": hypotheses, "references": lists,
              "bleu": [], "chrf": [], "tokens": {}, "sentence_bleu": [], "sentence_chrf": []}
    for count in (1, 2):
        references = lists[:count]
        for tokenize in ("13a", "intl", "char", "none"):
            for lowercase in (False, True):
                for smooth, value in (("exp", None), ("floor", None), ("floor", 0.01), ("add-k", None),
                                      ("add-k", 2.0), ("none", None)):
                    if lowercase and smooth != "exp":
                        continue
                    for effective in (False, True):
                        metric = BLEU(tokenize=tokenize, lowercase=lowercase, smooth_method=smooth,
                                      smooth_value=value, effective_order=effective, force=True)
                        # Few sentences leave orders without a match, so that smoothing shows.
                        for begin, end in ((0, len(rows)), (6, 9), (19, 22), (10, 11), (16, 17)):
                            score = metric.corpus_score(hypotheses[begin:end], [r[begin:end] for r in references])
                            golden["bleu"].append({
                                "references": count, "tokenize": tokenize, "lowercase": lowercase, "smooth": smooth,
                                "value": value, "effective": effective, "begin": begin, "end": end,
                                "score": score.score, "bp": score.bp, "precisions": score.precisions,
                                "hypothesis_length": score.sys_len, "reference_length": score.ref_len,
                                "signature": str(metric.get_signature()).rsplit("|", 1)[0]})
        for word_order in (0, 2):
            for lowercase in (False, True):
                for whitespace in (False, True):
                    metric = CHRF(word_order=word_order, lowercase=lowercase, whitespace=whitespace)
                    for begin, end in ((0, len(rows)), (6, 9), (19, 22), (10, 11), (11, 12)):
                        score = metric.corpus_score(hypotheses[begin:end], [r[begin:end] for r in references])
                        golden["chrf"].append({
                            "references": count, "word_order": word_order, "lowercase": lowercase,
                            "whitespace": whitespace, "begin": begin, "end": end, "score": score.score,
                            "name": score.name, "signature": str(metric.get_signature()).rsplit("|", 1)[0]})
    for tokenize in ("13a", "intl", "char", "none"):
        metric = BLEU(tokenize=tokenize)
        golden["tokens"][tokenize] = [" ".join(metric._preprocess_segment(h).split()) for h in hypotheses]
    for row in rows:
        golden["sentence_bleu"].append(sacrebleu.sentence_bleu(row[0], list(row[1:])).score)
        golden["sentence_chrf"].append(sacrebleu.sentence_chrf(row[0], list(row[1:])).score)
    path = pathlib.Path(__file__).parent / "data" / "metrics.json"
    path.write_text(json.dumps(golden, ensure_ascii=False, indent=None, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
