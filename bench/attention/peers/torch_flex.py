#!/usr/bin/env python3
"""A worker: PyTorch's FlexAttention, compiled. On a CPU it has no backward. Every shape and score is compiled anew;
PyTorch keeps what it compiled in its own cache, so a second run starts sooner."""

import os

os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # huge pages, as ours

import torch  # noqa: E402
from peer import Cannot, Path, serve, threads_asked_for  # noqa: E402
from torch.nn.attention.flex_attention import create_block_mask, flex_attention  # noqa: E402
from torch_sdpa import heads_first, rows  # noqa: E402


def block_mask(case):
    block = 128
    if case.variant == "big_bird":
        block, blocks = 64, torch.from_numpy(case.blocks())
        shown = lambda b, h, i, j: blocks[i // 64, j // 64]  # noqa: E731
    elif case.variant == "allow":
        seen = torch.from_numpy(case.seen())
        shown = lambda b, h, i, j: seen[i, j]  # noqa: E731
    else:
        test = case.pair_test()
        if test is None:
            return None
        shown = lambda b, h, i, j: test(i, j)  # noqa: E731
    return create_block_mask(shown, None, None, case.queries, case.keys, device="cpu", BLOCK_SIZE=block)


def score_change(case):
    if case.variant == "softcap":
        return lambda score, b, h, i, j: 30 * torch.tanh(score / 30)
    if case.variant.startswith("bias"):
        added = torch.from_numpy(case.added())
        return lambda score, b, h, i, j: score + added[h, i, j]
    if case.variant == "ALiBi":
        slopes = 2.0 ** (-8 / case.heads * torch.arange(1, case.heads + 1))
        return lambda score, b, h, i, j: score - slopes[h] * (i - j).abs()
    if case.variant.startswith("T5"):
        table = torch.from_numpy(case.by_distance())
        return lambda score, b, h, i, j: score + table[h, i - j + case.keys - 1]
    return None


def prepare(case):
    if case.packed or case.queries != case.keys:
        raise Cannot("not asked of it")
    mask, change = block_mask(case), score_change(case)
    if case.variant != "plain" and mask is None and change is None:
        raise Cannot("no score modifier can draw")
    torch._dynamo.reset()  # else the number of compiled versions is limited
    compiled = torch.compile(flex_attention, dynamic=False)
    q, k, v = (heads_first(x, case.dtype) for x in (case.q, case.k, case.v))

    def forward():
        with torch.no_grad():
            return compiled(q, k, v, score_mod=change, block_mask=mask)

    return [Path("compiled", forward, rows)]


if __name__ == "__main__":
    count = threads_asked_for(__doc__)
    torch.set_num_threads(count)
    torch.set_num_interop_threads(1)
    serve(prepare, {"torch": torch.__version__})
