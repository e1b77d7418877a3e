#!/usr/bin/env python3
"""A worker, PyTorch's side of run.py: the CPU kernels of scaled_dot_product_attention themselves, forward and backward,
without autograd around them, as ours are called; [B, H, T, D] contiguous, the layout they like best."""

import argparse
import json
import statistics
import sys
import time

import torch

FORWARD = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
BACKWARD = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward


def median_seconds(at_least, body):
    body()
    times = []
    while sum(times) < at_least or len(times) < 5:
        begin = time.perf_counter()
        body()
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


def measure(request):
    batch, heads, length, dim = request["shape"]
    torch.manual_seed(1)
    q, k, v, grad = (
        torch.randn(batch, heads, length, dim, dtype=getattr(torch, request["dtype"])) for _ in range(4)
    )
    causal = request["causal"]

    mask = None
    if request.get("masked"):  # its kernels take what is added; nine pairs of ten are seen
        mask = torch.zeros(1, 1, length, length, dtype=q.dtype)
        mask.masked_fill_(torch.rand(length, length) < 0.1, float("-inf"))

    def both():
        out, lse = FORWARD(q, k, v, 0.0, causal, attn_mask=mask)
        BACKWARD(grad, q, k, v, out, lse, 0.0, causal, attn_mask=mask)

    with torch.no_grad():
        return {
            "forward": median_seconds(request["seconds"], lambda: FORWARD(q, k, v, 0.0, causal, attn_mask=mask)),
            "forward_backward": median_seconds(request["seconds"], both),
        }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.set_num_interop_threads(1)
    for line in sys.stdin:
        request = json.loads(line)
        if request.get("do") == "quit":
            break
        print(json.dumps(measure(request)), flush=True)


if __name__ == "__main__":
    main()
