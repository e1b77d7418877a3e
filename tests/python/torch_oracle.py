"""Attention in PyTorch's elementary operations, in float64, and what the tests of headway.torch compare by."""

import torch
from torch import nn

import headway.torch as ht

EPSILON = {torch.float32: 2.0**-23, torch.float64: 2.0**-52, torch.bfloat16: 2.0**-8, torch.float16: 2.0**-11}


def close(got, wanted, dtype, factor=32):
    """Room for some roundings at the size of the largest element."""
    assert got.shape == wanted.shape
    room = factor * EPSILON[dtype] * max(1.0, wanted.abs().max().item() if wanted.numel() else 0)
    error = (got.double() - wanted.double()).abs().max().item() if wanted.numel() else 0
    assert error <= room, f"off by {error:.3g}, room {room:.3g}"


def textbook(q, k, v, visible=None, bias=None, causal=False, scale=None):
    """Attention in float64 from elementary operations; rows that see nothing are 0. Differentiable."""
    group = q.shape[-3] // k.shape[-3]
    k, v = k.repeat_interleave(group, -3), v.repeat_interleave(group, -3)
    s = q @ k.transpose(-2, -1) * (q.shape[-1] ** -0.5 if scale is None else scale)
    if bias is not None:
        s = s + bias
    if visible is not None:
        s = s.masked_fill(~visible, float("-inf"))
    if causal:
        s = s.masked_fill(torch.ones(s.shape[-2:], dtype=torch.bool).triu(1), float("-inf"))
    blind = (s == float("-inf")).all(-1, keepdim=True)
    p = torch.softmax(s.masked_fill(blind, 0), -1).masked_fill(blind, 0)
    return p @ v, p


def gradients(outputs, seeds, inputs):
    return torch.autograd.grad(outputs, inputs, seeds, allow_unused=True)


def compare_gradients(got, wanted, dtype):
    for ours, theirs in zip(got, wanted):
        if theirs is not None:
            close(torch.zeros_like(theirs) if ours is None else ours, theirs, dtype, factor=128)


def twins(*arguments, dtype=torch.float32, **options):
    """torch's layer in float64, and ours with the same weights, biases among them random."""
    theirs = nn.MultiheadAttention(*arguments, **options, dtype=dtype)
    with torch.no_grad():
        for parameter in theirs.parameters():
            if parameter.dim() == 1:
                parameter.normal_()
    ours = ht.MultiheadAttention(*arguments, **options, dtype=dtype)
    ours.load_state_dict(theirs.state_dict())
    return theirs.double(), ours
