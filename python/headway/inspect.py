"""Looking at heads."""

from headway._core import (
    head_divergence,
    head_picture,
)

__all__ = [
    "head_divergence",
    "head_picture",
]
