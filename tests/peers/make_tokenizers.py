"""Small tokenizers of every kind, trained by the `tokenizers` library: make_tokenizers.py LINES FOLDER.

Each is FOLDER/<kind>/tokenizer.json. What they are trained on decides only the vocabulary; the pipelines are those of
published models.
"""

import os
import sys

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
O200K = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
DEEPSEEK = (
    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"
    r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def special(*contents):
    return [AddedToken(c, special=True, normalized=False) for c in contents]


def byte_level(lines, size, pre, normalizer=None, ignore_merges=False, post=None, specials=("<|endoftext|>",)):
    t = Tokenizer(models.BPE(ignore_merges=ignore_merges))
    t.normalizer = normalizer
    t.pre_tokenizer = pre
    t.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    t.train_from_iterator(
        lines,
        trainers.BpeTrainer(
            vocab_size=size, initial_alphabet=alphabet, special_tokens=special(*specials), show_progress=False
        ),
    )
    if post:
        t.post_processor = post(t)
    return t


def split(pattern):
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )


def few(lines):
    """Lines of few different characters, since a unigram vocabulary must hold them all."""
    return [line for line in lines if all(ord(c) < 0x530 for c in line)][:6000]


def make(lines, small=False):
    size = (lambda n: 330) if small else (lambda n: n)
    wide = 60 if small else 500
    B = pre_tokenizers.ByteLevel
    yield "gpt2", byte_level(
        lines, size(3000), B(add_prefix_space=False), post=lambda t: processors.ByteLevel(trim_offsets=False)
    )
    yield "roberta", byte_level(
        lines,
        size(3000),
        B(add_prefix_space=True),
        specials=("<s>", "<pad>", "</s>", "<unk>"),
        post=lambda t: processors.RobertaProcessing(("</s>", 2), ("<s>", 0)),
    )
    t = byte_level(lines, size(3000), B(add_prefix_space=True), post=lambda t: processors.ByteLevel(trim_offsets=True))
    t.add_tokens(
        [
            AddedToken("<mask>", lstrip=True, special=True),
            AddedToken("word", single_word=True),
            AddedToken(" two "),
            AddedToken("Straße", normalized=True, rstrip=True),
        ]
    )
    yield "byte_level_trim", t
    yield "llama3", byte_level(
        lines,
        size(4000),
        split(LLAMA3),
        ignore_merges=True,
        specials=("<|begin_of_text|>",),
        post=lambda t: processors.Sequence(
            [
                processors.ByteLevel(trim_offsets=True),
                processors.TemplateProcessing(
                    "<|begin_of_text|> $A", "<|begin_of_text|> $A <|begin_of_text|>:1 $B:1", [("<|begin_of_text|>", 0)]
                ),
            ]
        ),
    )
    yield "qwen2", byte_level(lines, size(4000), split(QWEN2), normalizer=normalizers.NFC())
    yield "o200k", byte_level(lines, size(4000), split(O200K))
    yield "deepseek", byte_level(
        lines,
        size(3000),
        pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(r"\p{N}{1,3}"), "isolated"),
                pre_tokenizers.Split(Regex("[一-龥぀-ゟ゠-ヿ]+"), "isolated"),
                pre_tokenizers.Split(Regex(DEEPSEEK), "isolated"),
                B(add_prefix_space=False, use_regex=False),
            ]
        ),
    )
    yield "smollm", byte_level(
        lines, size(3000), pre_tokenizers.Sequence([pre_tokenizers.Digits(True), B(add_prefix_space=False)])
    )

    t = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    t.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    t.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    t.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    tokens = ["<unk>", "<s>", "</s>"] + ["<0x%02X>" % i for i in range(256)]
    t.train_from_iterator(
        lines,
        trainers.BpeTrainer(vocab_size=size(4000), special_tokens=tokens, limit_alphabet=wide, show_progress=False),
    )
    t.pre_tokenizer = None
    text = t.to_str()  # the bytes are plain tokens, as in published files
    import json

    data = json.loads(text)
    data["added_tokens"] = data["added_tokens"][:3]
    t = Tokenizer.from_str(json.dumps(data))
    t.post_processor = processors.TemplateProcessing("<s> $A", "<s> $A <s>:1 $B:1", [("<s>", 1)])
    yield "llama2", t

    charsmap = sentencepiece_charsmap(lines)
    for kind, prepend in (("t5", "always"), ("xlmr", "first")):
        t = Tokenizer(models.Unigram())
        t.normalizer = normalizers.Sequence(
            [
                normalizers.NFKC() if small and kind == "xlmr" else normalizers.Precompiled(charsmap),
                normalizers.Strip(left=False, right=True),
                normalizers.Replace(Regex(" {2,}"), "▁"),
            ]
        )
        t.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=prepend)
        t.decoder = decoders.Metaspace(prepend_scheme=prepend)
        t.train_from_iterator(
            few(lines),
            trainers.UnigramTrainer(
                vocab_size=size(3000),
                unk_token="<unk>",
                special_tokens=special("<pad>", "</s>", "<unk>", "<s>"),
                show_progress=False,
            ),
        )
        if kind == "t5":
            t.post_processor = processors.TemplateProcessing("$A </s>", "$A </s> $B </s>", [("</s>", 1)])
        else:
            t.post_processor = processors.TemplateProcessing(
                "<s> $A </s>", "<s> $A </s> </s> $B </s>", [("<s>", 3), ("</s>", 1)]
            )
            t.add_special_tokens([AddedToken("<mask>", lstrip=True)])
        yield kind, t
    t = Tokenizer(models.Unigram())
    t.normalizer = normalizers.Sequence(
        [
            normalizers.Replace("``", '"'),
            normalizers.Replace("''", '"'),
            normalizers.NFKD(),
            normalizers.StripAccents(),
            normalizers.Lowercase(),
            normalizers.Replace(Regex(" {2,}"), " "),
        ]
    )
    t.pre_tokenizer = pre_tokenizers.Metaspace()
    t.decoder = decoders.Metaspace()
    t.train_from_iterator(
        few(lines),
        trainers.UnigramTrainer(
            vocab_size=size(2000),
            unk_token="<unk>",
            special_tokens=special("<pad>", "<unk>", "[CLS]", "[SEP]"),
            show_progress=False,
        ),
    )
    t.post_processor = processors.TemplateProcessing(
        "[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1", [("[CLS]", 2), ("[SEP]", 3)]
    )
    yield "albert", t

    for kind, lower in (("bert_uncased", True), ("bert_cased", False)):
        t = Tokenizer(models.WordPiece(unk_token="[UNK]"))
        t.normalizer = normalizers.BertNormalizer(lowercase=lower, strip_accents=None)
        t.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        t.decoder = decoders.WordPiece()
        t.train_from_iterator(
            lines,
            trainers.WordPieceTrainer(
                vocab_size=size(4000),
                limit_alphabet=wide,
                special_tokens=special("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"),
                show_progress=False,
            ),
        )
        t.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
        yield kind, t
    t = Tokenizer(models.BPE(unk_token="<unk>", end_of_word_suffix="</w>"))
    t.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Nmt(), normalizers.Strip(), normalizers.Lowercase()]
    )
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Whitespace(), pre_tokenizers.UnicodeScripts()])
    t.decoder = decoders.BPEDecoder()
    t.train_from_iterator(
        lines,
        trainers.BpeTrainer(
            vocab_size=size(3000),
            special_tokens=["<unk>"],
            end_of_word_suffix="</w>",
            limit_alphabet=wide,
            show_progress=False,
        ),
    )
    yield "clip_like", t
    t = Tokenizer(models.WordLevel(unk_token="<unk>"))
    t.normalizer = normalizers.Sequence([normalizers.NFD(), normalizers.Replace(Regex(r"\p{Mn}+"), "")])
    t.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.WhitespaceSplit(),
            pre_tokenizers.Punctuation("contiguous"),
            pre_tokenizers.Digits(False),
            pre_tokenizers.Split(Regex(r"[\w&&[^a-z]]+"), "merged_with_previous"),
            pre_tokenizers.Split(Regex(r"\bder\b|x$"), "merged_with_next", invert=True),
        ]
    )
    t.train_from_iterator(
        lines, trainers.WordLevelTrainer(vocab_size=size(5000), special_tokens=["<unk>"], show_progress=False)
    )
    yield "words", t


def sentencepiece_charsmap(lines):
    """nmt_nfkc's rules, out of a throw-away model."""
    import io

    import sentencepiece
    from sentencepiece import sentencepiece_model_pb2

    model = io.BytesIO()
    plain = [line for line in lines if line.isascii() and len(line) > 10][:500]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(plain), model_writer=model, vocab_size=100, hard_vocab_limit=False, minloglevel=2
    )
    return sentencepiece_model_pb2.ModelProto.FromString(model.getvalue()).normalizer_spec.precompiled_charsmap


if __name__ == "__main__":
    with open(sys.argv[1], encoding="utf-8", newline="\n") as f:
        train = [line for line in f.read().split("\n")][:: max(1, int(os.environ.get("EVERY", "7")))]
    for name, tokenizer in make(train):
        os.makedirs(os.path.join(sys.argv[2], name), exist_ok=True)
        tokenizer.save(os.path.join(sys.argv[2], name, "tokenizer.json"), pretty=False)
        print(name, tokenizer.get_vocab_size(), flush=True)
