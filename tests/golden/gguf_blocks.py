#!/usr/bin/env python3
"""Writes gguf_blocks.json: blocks of each quantized type with random bits, and what PyPI's gguf makes of them.

usage: gguf_blocks.py > gguf_blocks.json      (gguf 0.19)
"""
import json

import gguf
import numpy as np

generator = np.random.default_rng(1)
TYPES = ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q4_K", "Q5_K", "Q6_K"]
# Where the float16 numbers of a block stand: random bits there could be infinite or no number.
HALVES = {
    "Q4_0": [0],
    "Q4_1": [0, 2],
    "Q5_0": [0],
    "Q5_1": [0, 2],
    "Q8_0": [0],
    "Q4_K": [0, 2],
    "Q5_K": [0, 2],
    "Q6_K": [208],
}
out = {}
for name in TYPES:
    kind = gguf.GGMLQuantizationType[name]
    elements, size = gguf.GGML_QUANT_SIZES[kind]
    blocks = generator.integers(0, 256, size=(2 if elements == 32 else 1, size), dtype=np.uint8)
    for at in HALVES[name]:
        values = generator.normal(size=len(blocks)).astype(np.float16)
        blocks[:, at : at + 2] = values.view(np.uint8).reshape(-1, 2)
    values = gguf.quants.dequantize(blocks, kind).astype("<f4")
    out[name] = {"blocks": blocks.tobytes().hex(), "floats": values.tobytes().hex()}
rows = generator.normal(size=(2, 64)).astype(np.float32)
rows[0, :32] = 0
rows[0, 32:] *= 1e-3
rows[1, 0] = 0.5 * np.abs(rows[1, :32]).max() / 127  # a half: rounded away from 0
out["quantized_Q8_0"] = {
    "floats": rows.tobytes().hex(),
    "blocks": gguf.quants.quantize(rows, gguf.GGMLQuantizationType.Q8_0).tobytes().hex(),
}
print(json.dumps(out, indent=1))
