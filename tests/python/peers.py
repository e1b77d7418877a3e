"""Beside PyTorch: its tensors go in and come out, and there is one pool of OpenMP threads.

Wants it installed (bench/requirements.txt); ctest runs it under the label peers.
"""

import subprocess
import sys

import numpy as np
import pytest

import headway as hw
import oracle

torch = pytest.importorskip("torch")

POOLS = """
import os
{imports}
import numpy as np

def pools():
    mapped = {{line.split()[-1] for line in open("/proc/self/maps") if "libgomp" in line or "libiomp" in line}}
    return len(mapped)

def threads():
    return len(os.listdir("/proc/self/task"))

hw.set_threads(2)
torch.set_num_threads(2)
x = np.ones((8, 128, 256), np.float32)
before = threads()
layer = hw.nn.MultiHeadAttention(256, 4, generator=hw.Generator(1))
layer(hw.tensor(x).require_grad()).sum().backward()
ours = threads() - before
torch.nn.functional.scaled_dot_product_attention(*[torch.ones(8, 4, 128, 64)] * 3)
theirs = threads()
layer(x)
print(pools(), ours, threads() - theirs)
"""


@pytest.mark.parametrize("imports", ["import torch, headway as hw", "import headway as hw, torch"])
def test_there_is_one_openmp_pool_and_it_is_torchs(imports):
    run = subprocess.run([sys.executable, "-c", POOLS.format(imports=imports)], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    # One library; our own worker is one thread, and no product of ours makes another, before or after theirs.
    assert run.stdout.split() == ["1", "1", "0"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_torch_tensors_go_in_and_come_out(dtype):
    torch.manual_seed(0)
    q, k, v = (torch.randn(2, 5, 4, 8, dtype=dtype) for _ in range(3))
    got = hw.attention(q, k, v, mask=hw.Mask.causal())
    assert isinstance(got, torch.Tensor) and got.dtype == dtype
    wanted = oracle.attention(q.double(), k.double(), v.double(), visible=np.tril(np.ones((5, 5), bool)))
    name = str(dtype).removeprefix("torch.")
    epsilon = {"float32": 2.0**-23, "float64": 2.0**-52, "bfloat16": 2.0**-8}[name]
    assert np.abs(got.double().numpy() - wanted).max() <= 16 * epsilon * max(1, np.abs(wanted).max())


def test_torch_memory_is_shared():
    x = torch.zeros(3, 4)
    shared = hw.from_dlpack(x)
    x[1, 2] = 5
    assert shared.numpy()[1, 2] == 5
    shared.assign(np.ones((3, 4), np.float32))
    assert x.sum() == 12


def test_a_torch_tensor_is_not_cut_off_from_its_tape():
    q = torch.randn(1, 3, 2, 4, requires_grad=True)
    with pytest.raises(hw.Error, match=r"requires a gradient.*want detach\(\)") as caught:
        hw.attention(q, q.detach(), q.detach())
    assert caught.value.code == "unsupported"
    with torch.no_grad():
        assert not hw.attention(q, q, q).requires_grad


def test_a_torch_tensor_elsewhere_is_an_error():
    q = torch.empty(1, 3, 2, 4, device="meta")
    with pytest.raises(hw.Error, match="meta"):
        hw.attention(q, q, q)
    with pytest.raises(hw.Error):
        hw.attention(*[torch.zeros(1, 3, 2, 4).to_sparse()] * 3)
