"""Operations on Tensors, recorded for backward(), and on arrays."""

from headway._core import (
    concat,
    cross_entropy,
    dropout,
    gather,
    gelu,
    gelu_tanh,
    log_softmax,
    merge_attention,
    relu,
    rotary,
    silu,
    softmax,
    tanh,
)

__all__ = [
    "concat",
    "cross_entropy",
    "dropout",
    "gather",
    "gelu",
    "gelu_tanh",
    "log_softmax",
    "merge_attention",
    "relu",
    "rotary",
    "silu",
    "softmax",
    "tanh",
]
