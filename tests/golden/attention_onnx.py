"""Writes tests/golden/attention_onnx.json: what ONNX's Attention, opset 24, gives for cases that reach its corners.

python3 -m venv v && v/bin/pip install onnx==1.23.2 && v/bin/python tests/golden/attention_onnx.py

The function body that the operator's schema carries (the operator spelled out in simpler ones) is evaluated by
onnx.reference in float64, and compared with the evaluator's own Attention. They differ in two places, and there the
function body agrees with the words of the specification: of qk_matmul_output_mode 0 with a softcap the evaluator gives
the capped product, and a mask that is broadcast along queries takes the causal frontier of the first query to all.
"""

import json
import pathlib

import numpy as np
import onnx
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

INPUTS = ("Q", "K", "V", "attn_mask", "past_key", "past_value", "nonpad_kv_seqlen")
OUTPUTS = ("Y", "present_key", "present_value", "qk_matmul_output")
TYPES = {"float64": TensorProto.DOUBLE, "bool": TensorProto.BOOL, "int64": TensorProto.INT64}

# B, H, G, D, Dv, T, K: batch_size, q_num_heads, kv_num_heads and so on; K is the length of K alone. `rank`, `mask`
# (kind and shape), `past`, `nonpad` say which inputs there are. Attributes are exact in float32.
BASE = {"B": 2, "H": 4, "G": 2, "D": 3, "Dv": 2, "T": 3, "K": 4}
CASES = [
    {"name": "plain", "mode": 3},
    {"name": "one head", "H": 1, "G": 1, "mode": 0},
    {"name": "one key/value head", "G": 1, "mode": 3},
    {"name": "rank 3", "rank": 3, "mode": 0},
    {"name": "rank 3, past, causal", "rank": 3, "past": 2, "is_causal": 1, "mode": 2},
    {"name": "scale", "scale": 0.375, "mode": 0},
    {"name": "softcap, raw", "softcap": 0.75, "mode": 0},
    {"name": "softcap, capped", "softcap": 0.75, "mask": ("bool", (3, 4)), "mode": 1},
    {"name": "softcap, masked", "softcap": 0.75, "mask": ("float", (3, 4)), "mode": 2},
    {"name": "softcap, softmaxed", "softcap": 0.75, "mask": ("bool", (3, 4)), "is_causal": 1, "mode": 3},
    {"name": "no softcap, capped", "is_causal": 1, "mode": 1},
    {"name": "causal, square", "T": 4, "is_causal": 1, "mode": 3},
    {"name": "causal, more keys", "is_causal": 1, "K": 6, "mode": 2},
    {"name": "causal, more queries", "is_causal": 1, "T": 5, "K": 2, "mode": 3},
    {"name": "causal, past", "is_causal": 1, "past": 3, "K": 3, "mode": 2},
    {"name": "causal, past, more keys than queries", "is_causal": 1, "past": 2, "mode": 3},
    {"name": "causal, past, one query", "is_causal": 1, "T": 1, "K": 1, "past": 5, "mode": 2},
    {"name": "past", "past": 3, "mode": 0},
    {"name": "bool mask of keys and queries", "mask": ("bool", (3, 4)), "mode": 2},
    {"name": "bool mask of heads", "mask": ("bool", (4, 3, 4)), "mode": 3},
    {"name": "bool mask of batches", "mask": ("bool", (2, 1, 3, 4)), "mode": 2},
    {"name": "bool mask, all hidden from one query", "mask": ("bool", (3, 4)), "hidden_row": 1, "mode": 3},
    {"name": "float mask, all hidden from one query", "mask": ("float", (3, 4)), "hidden_row": 1, "mode": 2},
    {"name": "float mask of all", "mask": ("float", (2, 4, 3, 4)), "mode": 2},
    {"name": "float mask of one query", "mask": ("float", (4, 1, 4)), "is_causal": 1, "mode": 3},
    {"name": "short bool mask", "mask": ("bool", (3, 3)), "mode": 2},
    {"name": "short float mask, past", "mask": ("float", (2, 1, 3, 5)), "past": 2, "mode": 2},
    {"name": "mask of one key", "mask": ("float", (3, 1)), "mode": 3},
    {"name": "nonpad", "nonpad": [4, 2], "mode": 2},
    {"name": "nonpad, raw", "nonpad": [4, 2], "mode": 0},
    {"name": "nonpad, softcap, capped", "nonpad": [1, 3], "softcap": 2.0, "mode": 1},
    {"name": "nonpad, causal", "nonpad": [4, 3], "is_causal": 1, "mode": 3},
    {"name": "nonpad, causal, fewer keys than queries", "nonpad": [1, 2], "is_causal": 1, "mode": 2},
    {"name": "nonpad, causal, no keys, mask", "nonpad": [0, 4], "is_causal": 1, "mask": ("bool", (3, 4)), "mode": 3},
    {
        "name": "everything",
        "rank": 3,
        "past": 2,
        "is_causal": 1,
        "mask": ("float", (4, 3, 5)),
        "scale": 0.40625,
        "softcap": 1.5,
        "mode": 2,
    },
]


def inputs_of(case, rng):
    """Multiples of 1/16: exact in every dtype, short in decimal."""
    size = BASE | {k: v for k, v in case.items() if k in BASE}

    def values(*shape):
        return rng.integers(-32, 33, shape) / 16

    def heads(count, length, dim):
        shape = (length, count * dim) if case.get("rank") == 3 else (count, length, dim)
        return values(size["B"], *shape)

    given = {
        "Q": heads(size["H"], size["T"], size["D"]),
        "K": heads(size["G"], size["K"], size["D"]),
        "V": heads(size["G"], size["K"], size["Dv"]),
    }
    if "mask" in case:
        kind, shape = case["mask"]
        given["attn_mask"] = rng.random(shape) < 0.6 if kind == "bool" else values(*shape)
        if kind == "float":
            given["attn_mask"][rng.random(shape) < 0.2] = -np.inf
        if "hidden_row" in case:
            given["attn_mask"][..., case["hidden_row"], :] = False if kind == "bool" else -np.inf
    if "past" in case:
        given["past_key"] = values(size["B"], size["G"], case["past"], size["D"])
        given["past_value"] = values(size["B"], size["G"], case["past"], size["Dv"])
    if "nonpad" in case:
        given["nonpad_kv_seqlen"] = np.array(case["nonpad"], dtype=np.int64)
    return size, given


def attributes_of(case, size):
    attributes = {k: case[k] for k in ("is_causal", "scale", "softcap", "mode") if k in case}
    if case.get("rank") == 3:
        attributes |= {"q_num_heads": size["H"], "kv_num_heads": size["G"]}
    return attributes


def evaluate(case, size, given):
    attributes = attributes_of(case, size)
    attributes["qk_matmul_output_mode"] = attributes.pop("mode")
    wanted = [o for o in OUTPUTS if "past" in case or not o.startswith("present")]
    node = helper.make_node(
        "Attention",
        [i if i in given else "" for i in INPUTS],
        [o if o in wanted else "" for o in OUTPUTS],
        **attributes,
    )
    types = {k: helper.make_tensor_type_proto(TYPES[str(x.dtype)], x.shape) for k, x in given.items()}
    opset = [helper.make_opsetid("", 24)]

    def run(nodes):
        graph = helper.make_graph(
            nodes,
            "case",
            [helper.make_value_info(k, t) for k, t in types.items()],
            [helper.make_empty_tensor_value_info(o) for o in wanted],
        )
        model = helper.make_model(graph, opset_imports=opset)
        return dict(zip(wanted, ReferenceEvaluator(model).run(wanted, given)))

    body = onnx.FunctionProto()
    body.ParseFromString(
        onnx.defs.get_schema("Attention", 24).get_context_dependent_function_with_opset_version(
            24, node.SerializeToString(), [types.get(i, onnx.TypeProto()).SerializeToString() for i in INPUTS]
        )
    )
    spelled = run(list(body.node))
    own = run([node])
    along_queries = case.get("mask", ("", ()))[1][-2:-1] == (1,) and "is_causal" in case
    for name in wanted:
        expected = spelled[name]
        if name == "qk_matmul_output" and case["mode"] == 0 and "softcap" in case:
            expected = case["softcap"] * np.tanh(expected / case["softcap"])
        if not along_queries:
            np.testing.assert_allclose(own[name], expected, rtol=1e-6, atol=1e-6)
    return spelled


def plain(x):
    """[shape, elements], which JSON has no infinity for: null stands for -inf."""
    flat = [int(v) if x.dtype != np.float64 else None if np.isneginf(v) else round(float(v), 7) for v in x.ravel()]
    assert x.dtype != np.float64 or not np.isnan(x).any()
    return [list(x.shape), flat]


def main():
    rng = np.random.default_rng(24)
    written = []
    for case in CASES:
        size, given = inputs_of(case, rng)
        outputs = evaluate(case, size, given)
        written.append(
            {
                "name": case["name"],
                "attributes": attributes_of(case, size),
                "bool_mask": str(given.get("attn_mask", np.zeros(0)).dtype) == "bool",
                "inputs": {k: plain(v) for k, v in given.items()},
                "outputs": {k: plain(v) for k, v in outputs.items()},
            }
        )
    lines = ",\n".join(json.dumps(case, separators=(",", ":")) for case in written)
    path = pathlib.Path(__file__).with_suffix(".json")
    path.write_text(f'{{"onnx": "{onnx.__version__}", "cases": [\n{lines}\n]}}\n')


if __name__ == "__main__":
    main()
