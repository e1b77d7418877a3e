"""Whole models."""

from headway._core import (
    Hypothesis,
    PositionKind,
    Sampling,
    Transformer,
    Translator,
)

__all__ = [
    "Hypothesis",
    "PositionKind",
    "Sampling",
    "Transformer",
    "Translator",
]
