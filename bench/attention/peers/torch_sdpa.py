#!/usr/bin/env python3
"""A worker, PyTorch's own: the CPU kernels of scaled_dot_product_attention themselves, forward and backward, without
autograd around them; what they cannot do through autograd, composed or with the math backend. [B, H, T, D] contiguous,
the layout they like best."""

import os

os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # huge pages, as ours

import torch  # noqa: E402
from peer import Cannot, Path, serve, threads_asked_for  # noqa: E402
from torch.nn.attention import SDPBackend, sdpa_kernel  # noqa: E402
from torch.nn.functional import scaled_dot_product_attention  # noqa: E402

FORWARD = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
BACKWARD = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward
# The math backend holds all scores, several times; it can win on short sequences alone.
MOST_SCORES_OF_MATH = 1 << 24


def heads_first(x, dtype):
    return torch.from_numpy(x).transpose(-3, -2).contiguous().to(getattr(torch, dtype))


def rows(x):
    return x.detach().float().transpose(1, 2).numpy()


def through_kernel(name, tensors, backward, causal=False, mask=None, rows=rows):
    q, k, v, d_o = tensors

    def forward():
        return FORWARD(q, k, v, 0.0, causal, attn_mask=mask)[0]

    def both():
        out, lse = FORWARD(q, k, v, 0.0, causal, attn_mask=mask)
        return out, *BACKWARD(d_o, q, k, v, out, lse, 0.0, causal, attn_mask=mask)

    return Path(name, forward, rows, both if backward else None)


def through_autograd(name, tensors, function, learned=(), rows=rows):
    q, k, v, d_o = tensors
    leaves = [x.clone().requires_grad_() for x in (q, k, v)]
    learned = [x.requires_grad_() for x in learned]

    def forward():
        with torch.no_grad():
            return function(q, k, v, *learned)

    def both():
        out = function(*leaves, *learned)
        return out, *torch.autograd.grad(out, [*leaves, *learned], d_o)[:3]

    return Path(name, forward, rows, both)


def math_backend(name, tensors, causal):
    def function(q, k, v):
        with sdpa_kernel(SDPBackend.MATH):
            return scaled_dot_product_attention(q, k, v, is_causal=causal)

    return through_autograd(name, tensors, function)


def softcapped(q, k, v):
    scores = 30 * torch.tanh(q @ k.transpose(-2, -1) / (30 * q.shape[-1] ** 0.5))
    return torch.softmax(scores, -1) @ v


def learned_bias(case, tensors):
    if case.variant == "bias, learned":
        function = lambda q, k, v, bias: scaled_dot_product_attention(q, k, v, attn_mask=bias)  # noqa: E731
        return [through_autograd("sdpa", tensors, function, [torch.from_numpy(case.added())[None]])]
    far = torch.arange(case.queries)[:, None] - torch.arange(case.keys)[None, :] + case.keys - 1
    buckets = torch.from_numpy(case.buckets())[far]

    def function(q, k, v, table):
        return scaled_dot_product_attention(q, k, v, attn_mask=table[buckets].permute(2, 0, 1)[None])

    return [through_autograd("sdpa", tensors, function, [torch.from_numpy(case.table())])]


def dropped(tensors):
    with_rate = lambda p: lambda q, k, v: scaled_dot_product_attention(q, k, v, dropout_p=p)  # noqa: E731
    path = through_autograd("sdpa", tensors, with_rate(0.1))
    path.verify = through_autograd("sdpa", tensors, with_rate(0.0))
    return [path]


def decoding(case, tensors):
    q, k, v, d_o = tensors
    yield through_kernel("kernel", tensors, False)
    # The query heads that share keys, as rows of one head: keys are read once.
    shared = q.view(case.batch, case.kv_heads, -1, case.dim)
    together = lambda x: rows(x.reshape(q.shape))  # noqa: E731
    yield through_kernel("kernel, heads as rows", (shared, k, v, d_o), False, rows=together)
    products = through_autograd(
        "math, heads as rows", (shared, k, v, d_o), scaled_dot_product_attention, rows=together
    )

    def math():
        with sdpa_kernel(SDPBackend.MATH):
            return products.forward()

    yield Path(products.name, math, together)


def packed(case):
    arrays = [torch.from_numpy(x) for x in (case.q, case.k, case.v, case.d_o)]
    each = list(zip(*(x.split(case.lengths) for x in arrays)))
    seen = torch.arange(case.queries)[None, :] < torch.tensor(case.lengths)[:, None]

    def pad(x):
        out = torch.zeros(case.batch, case.queries, case.heads, case.dim)
        out[seen] = x
        return out.transpose(1, 2).contiguous()

    mask = torch.zeros(case.batch, 1, 1, case.queries).masked_fill_(~seen[:, None, None, :], float("-inf"))
    mask = mask.expand(-1, -1, case.queries, -1)
    yield through_kernel(
        "padded", [pad(x) for x in arrays], True, mask=mask, rows=lambda x: x.transpose(1, 2)[seen].numpy()
    )
    offsets = torch.tensor([0, *case.lengths]).cumsum(0)

    def nested(q, k, v):
        jagged = (torch.nested.nested_tensor_from_jagged(x, offsets).transpose(1, 2) for x in (q, k, v))
        return scaled_dot_product_attention(*jagged).transpose(1, 2).values()

    yield through_autograd("nested", arrays, nested, rows=lambda x: x.detach().numpy())
    singles = [through_kernel("", [x.transpose(0, 1)[None].contiguous() for x in one], True) for one in each]
    yield Path(
        "one by one",
        lambda: [one.forward() for one in singles],
        lambda parts: torch.cat([x[0].transpose(0, 1) for x in parts]).numpy(),
        lambda: list(zip(*(one.both() for one in singles))),
    )


def prepare(case):
    if case.packed:
        return packed(case)
    tensors = [heads_first(x, case.dtype) for x in (case.q, case.k, case.v, case.d_o)]
    if case.queries == 1:
        return decoding(case, tensors)
    if case.variant in ("plain", "causal"):
        causal = case.variant == "causal"
        paths = [through_kernel("kernel", tensors, not case.forward_only, causal)]
        if case.batch * case.heads * case.queries * case.keys <= MOST_SCORES_OF_MATH:
            paths.append(math_backend("math", tensors, causal))
        return paths
    if case.variant.endswith("learned"):
        return learned_bias(case, tensors)
    if case.variant == "softcap":
        compiled = torch.compile(softcapped, dynamic=False)
        return [through_autograd("eager", tensors, softcapped), through_autograd("compiled", tensors, compiled)]
    if case.variant == "dropout":
        return dropped(tensors)
    added = case.added()
    if added is None:
        raise Cannot("no such variant")
    mask = torch.from_numpy(added)[None].to(tensors[0].dtype)
    return [through_kernel("kernel with a mask added", tensors, not case.forward_only, mask=mask)]


if __name__ == "__main__":
    count = threads_asked_for(__doc__)
    torch.set_num_threads(count)
    torch.set_num_interop_threads(1)
    serve(prepare, {"torch": torch.__version__})
