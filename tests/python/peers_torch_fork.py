"""headway.torch in forked processes: the same bits as in the parent, beside PyTorch's own loops.

Wants PyTorch (bench/requirements.txt); ctest runs it under the label peers.
"""

import multiprocessing
import os

import pytest

import headway as hw

torch = pytest.importorskip("torch")
import headway.torch as ht  # noqa: E402
from test_fork import in_child  # noqa: E402


@pytest.fixture(autouse=True)
def several_threads():
    before = hw.get_threads(), torch.get_num_threads()
    hw.set_threads(3), torch.set_num_threads(3)
    yield
    hw.set_threads(before[0]), torch.set_num_threads(before[1])


def layer_and_input():
    torch.manual_seed(0)
    return ht.MultiheadAttention(64, 4, batch_first=True), torch.randn(4, 130, 64)


LAYER, INPUT = layer_and_input()


def bits(x):
    return x.detach().contiguous().numpy().tobytes()


def attended():
    q, k, v = INPUT.view(4, 130, 4, 16).transpose(1, 2), INPUT.view(4, 130, 4, 16).transpose(1, 2), INPUT
    return bits(ht.scaled_dot_product_attention(q, k, v.view(4, 130, 4, 16).transpose(1, 2), is_causal=True))


def layered():
    with torch.no_grad():
        return bits(LAYER(INPUT, INPUT, INPUT, need_weights=False)[0])


def trained():
    x = INPUT.clone().requires_grad_()
    LAYER(x, x, x, need_weights=False)[0].square().sum().backward()
    return bits(x.grad)


def plain():
    q = INPUT.numpy().reshape(4, 130, 4, 16)
    return hw.attention(q, q, q).tobytes()


def torch_alone():
    return bits((INPUT.flatten(0, 1) @ INPUT.flatten(0, 1).T).relu().add(1))


@pytest.mark.parametrize("compute", [attended, layered, trained, plain, torch_alone])
def test_a_child_computes_the_same_bits(compute):
    wanted = compute()
    assert in_child(lambda: compute() == wanted)
    assert in_child(lambda: in_child(lambda: compute() == wanted))
    assert compute() == wanted


def test_the_child_has_its_threads_and_the_parent_keeps_the_number():
    layered()
    assert in_child(lambda: layered() and len(os.listdir("/proc/self/task")) >= 3 and hw.get_threads() == 3)
    assert torch.get_num_threads() == 3


class Rows(torch.utils.data.Dataset):
    def __len__(self):
        return 6

    def __getitem__(self, index):
        with torch.no_grad():
            return LAYER(INPUT[index % 4], INPUT[index % 4], INPUT[index % 4], need_weights=False)[0]


def test_workers_of_a_data_loader_use_the_layer():
    wanted = [Rows()[i] for i in range(6)]
    loader = torch.utils.data.DataLoader(Rows(), num_workers=2, timeout=60, multiprocessing_context="fork")
    for _ in range(2):
        for mine, other in zip(loader, wanted):
            assert torch.equal(mine[0], other)


def test_a_pool_of_processes():
    wanted = layered()
    with multiprocessing.get_context("fork").Pool(2) as pool:
        results = [pool.apply_async(layered) for _ in range(4)]
        assert all(result.get(timeout=60) == wanted for result in results)
