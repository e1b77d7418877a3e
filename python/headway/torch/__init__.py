"""PyTorch's attention, computed by Headway: drop-ins for one function and one layer, on the processor.

    import headway.torch
    headway.torch.replace(model)  # every nn.MultiheadAttention in it, keeping weights

docs/python.md lists what differs from PyTorch's own.
"""

import torch as _torch  # first: then its OpenMP threads are the process's only ones

from headway import _core
from headway.torch._call import Attended
from headway.torch._functional import scaled_dot_product_attention
from headway.torch._multihead import MultiheadAttention
from headway.torch._replace import replace

__all__ = ["Attended", "MultiheadAttention", "replace", "scaled_dot_product_attention"]

_core._run_on_openmp()
_core.set_threads(_torch.get_num_threads())
