#!/usr/bin/env python3
"""A worker: ONNX Runtime's CPU operators, a graph of one node each: Attention of the standard, and com.microsoft's
MultiHeadAttention and GroupQueryAttention, whichever is fastest. Inputs and outputs are bound, so nothing is copied
around a run. None of them has a backward, nor bfloat16 on a CPU."""

import numpy
import onnx
import onnxruntime
from onnx import TensorProto, helper
from peer import Cannot, Path, serve, threads_asked_for

MICROSOFT = "com.microsoft"
KINDS = {"float32": TensorProto.FLOAT, "int32": TensorProto.INT32}


class Graph:
    """One node. Inputs are NumPy's arrays, by name; None where an optional one is left out."""

    def __init__(self, threads, operator, inputs, outputs, domain="", reuse=None, **attributes):
        def values(arrays):
            return [helper.make_tensor_value_info(n, KINDS[x.dtype.name], x.shape) for n, x in arrays.items()]

        given = {name: x for name, x in inputs.items() if x is not None}
        names = [name if x is not None else "" for name, x in inputs.items()]
        node = helper.make_node(operator, names, list(outputs), domain=domain, **attributes)
        model = helper.make_model(
            helper.make_graph([node], operator, values(given), values(outputs)),
            opset_imports=[helper.make_opsetid("", 23), helper.make_opsetid(MICROSOFT, 1)],
            ir_version=11,
        )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        self.binding = self.session.io_binding()
        self.held = {n: onnxruntime.OrtValue.ortvalue_from_numpy(x) for n, x in {**outputs, **given}.items()}
        for name in given:
            self.binding.bind_ortvalue_input(name, self.held[name])
        for name in outputs:  # a cache is written where it is read
            self.binding.bind_ortvalue_output(name, self.held[(reuse or {}).get(name, name)])

    def run(self):
        self.session.run_with_iobinding(self.binding)
        return self.held["o"]


def heads_first(x):
    return numpy.ascontiguousarray(x.transpose(0, 2, 1, 3))


def flat(x):
    return x.reshape(*x.shape[:2], -1)


def standard(case, threads, mask):
    inputs = {"q": heads_first(case.q), "k": heads_first(case.k), "v": heads_first(case.v), "mask": mask}
    graph = Graph(
        threads,
        "Attention",
        inputs,
        {"o": numpy.empty_like(inputs["q"])},
        is_causal=int(case.variant == "causal"),
        softcap=30.0 if case.variant == "softcap" else 0.0,
    )
    return Path("Attention", graph.run, lambda x: x.numpy().transpose(0, 2, 1, 3))


def multi_head(case, threads, mask):
    names = ("bias", "key_padding_mask")
    inputs = {"q": flat(case.q), "k": flat(case.k), "v": flat(case.v), **dict.fromkeys(names), "mask": mask}
    graph = Graph(
        threads,
        "MultiHeadAttention",
        inputs,
        {"o": numpy.empty_like(inputs["q"])},
        MICROSOFT,
        num_heads=case.heads,
        unidirectional=int(case.variant == "causal"),
    )
    return Path("MultiHeadAttention", graph.run, lambda x: x.numpy().reshape(case.q.shape))


def group_query(case, threads):
    """Causal alone. In decoding the keys are a cache, whose last row the call writes."""
    old = case.keys if case.queries < case.keys else 0
    inputs = {
        "q": flat(case.q),
        "k": flat(case.k[:, case.keys - case.queries :]),
        "v": flat(case.v[:, case.keys - case.queries :]),
        "past_k": heads_first(case.k[:, :old]),
        "past_v": heads_first(case.v[:, :old]),
        "last": numpy.full(case.batch, case.keys - 1, numpy.int32),
        "total": numpy.array(case.keys, numpy.int32),
    }
    cache = numpy.empty((case.batch, case.kv_heads, case.keys, case.dim), numpy.float32)
    graph = Graph(
        threads,
        "GroupQueryAttention",
        inputs,
        {"o": numpy.empty_like(inputs["q"]), "new_k": cache, "new_v": cache.copy()},
        MICROSOFT,
        reuse={"new_k": "past_k", "new_v": "past_v"} if old else None,
        num_heads=case.heads,
        kv_num_heads=case.kv_heads,
    )
    return Path("GroupQueryAttention", graph.run, lambda x: x.numpy().reshape(case.q.shape))


def prepare_with(threads):
    def prepare(case):
        if case.dtype != "float32":
            raise Cannot("no bfloat16 on a CPU")
        if case.packed or case.variant == "dropout":
            raise Cannot("no such operator")
        mask = None
        if case.variant not in ("plain", "causal", "softcap"):
            mask = numpy.ascontiguousarray(numpy.broadcast_to(case.added(), (1, *case.added().shape)))
        yield standard(case, threads, mask)
        if case.variant != "softcap" and case.kv_heads == case.heads:
            yield multi_head(case, threads, mask)
        if case.variant == "causal" or case.queries == 1:
            yield group_query(case, threads)

    return prepare


if __name__ == "__main__":
    serve(
        prepare_with(threads_asked_for(__doc__)),
        {"onnxruntime": onnxruntime.__version__, "onnx": onnx.__version__},
    )
