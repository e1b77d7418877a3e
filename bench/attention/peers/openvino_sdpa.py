#!/usr/bin/env python3
"""A worker: OpenVINO's ScaledDotProductAttention on the CPU, a model of that one operator. It has no backward."""

import numpy
import openvino
from openvino import opset13
from peer import Cannot, Path, serve, threads_asked_for

KINDS = {"float32": openvino.Type.f32, "bfloat16": openvino.Type.bf16}


def tensor(x, dtype):
    """On NumPy's memory, not copied."""
    if dtype == "float32":
        return openvino.Tensor(x, shared_memory=True)
    upper = numpy.ascontiguousarray(x.view(numpy.uint32) >> 16).astype(numpy.uint16)  # inputs are rounded already
    return openvino.Tensor(upper, list(x.shape), KINDS[dtype])


def values(output, dtype):
    if dtype == "float32":
        return output.data
    return (output.data.view(numpy.uint16).astype(numpy.uint32) << 16).view(numpy.float32)


def prepare_with(threads):
    core = openvino.Core()

    def prepare(case):
        if case.packed or case.variant in ("softcap", "dropout"):
            raise Cannot("no such operator")
        arrays = [numpy.ascontiguousarray(x.transpose(0, 2, 1, 3)) for x in (case.q, case.k, case.v)]
        if case.queries == 1:  # query heads that share keys, as rows of one head
            arrays[0] = arrays[0].reshape(case.batch, case.kv_heads, -1, case.dim)
        if case.variant not in ("plain", "causal"):
            arrays.append(numpy.ascontiguousarray(case.added()[None]))
        inputs = [opset13.parameter(x.shape, KINDS[case.dtype]) for x in arrays]
        node = opset13.scaled_dot_product_attention(*inputs, causal=case.variant == "causal")
        compiled = core.compile_model(
            openvino.Model([node], inputs),
            "CPU",
            {
                "INFERENCE_NUM_THREADS": threads,
                "NUM_STREAMS": 1,
                "PERFORMANCE_HINT": "LATENCY",
                "INFERENCE_PRECISION_HINT": KINDS[case.dtype].to_string(),
                "ENABLE_CPU_PINNING": False,  # the sides take turns on the same cores
            },
        )
        # Where the processor has no products of bfloat16 it says so by computing in float32.
        if compiled.get_property("INFERENCE_PRECISION_HINT") != KINDS[case.dtype]:
            raise Cannot("no bfloat16 on this processor")
        request = compiled.create_infer_request()
        shared = [tensor(x, case.dtype) for x in arrays]
        for place, x in enumerate(shared):
            request.set_input_tensor(place, x)

        def forward(_held=(arrays, shared)):  # nothing else keeps the memory it reads
            request.infer()
            return request.get_output_tensor(0)

        def rows(output):
            first = (case.batch, case.heads, case.queries, case.dim)
            return values(output, case.dtype).reshape(first).transpose(0, 2, 1, 3)

        return [Path("ScaledDotProductAttention", forward, rows)]

    return prepare


if __name__ == "__main__":
    serve(prepare_with(threads_asked_for(__doc__)), {"openvino": openvino.__version__})
