"""Tokenizers and the metrics of translation."""

from headway._core import (
    BleuScore,
    BleuTokenizer,
    Interval,
    Tokenizer,
    TokenizerNormalization,
    TokenizerType,
    bleu_interval,
    bleu_signature,
    corpus_bleu,
    corpus_chrf,
)

__all__ = [
    "BleuScore",
    "BleuTokenizer",
    "Interval",
    "Tokenizer",
    "TokenizerNormalization",
    "TokenizerType",
    "bleu_interval",
    "bleu_signature",
    "corpus_bleu",
    "corpus_chrf",
]
