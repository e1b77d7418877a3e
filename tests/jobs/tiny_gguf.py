"""A golden model as llama.cpp's converter would write it: GGUF version 3 with a byte-level vocabulary."""

import json
import struct

import tiny_models
from tiny_models import FAMILIES, VOCABULARY

LAYER = {
    "input_layernorm.weight": "attn_norm.weight",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "post_attention_layernorm": "ffn_norm",
    "pre_feedforward_layernorm": "ffn_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
}


def string(text):
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def field(value):
    if isinstance(value, bool):
        return struct.pack("<IB", 7, value)
    if isinstance(value, int):
        return struct.pack("<II", 4, value)
    if isinstance(value, float):
        return struct.pack("<If", 6, value)
    if isinstance(value, str):
        return struct.pack("<I", 8) + string(value)
    items = b"".join(string(item) if isinstance(item, str) else struct.pack("<i", item) for item in value)
    kind = 8 if not value or isinstance(value[0], str) else 5
    return struct.pack("<IIQ", 9, kind, len(value)) + items


def gguf_name(name, kind):
    for hub, gguf in {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}.items():
        if name.startswith(hub):
            return name.replace(hub, gguf)
    _, _, layer, rest = name.split(".", 3)
    if kind == "gemma3":
        rest = rest.replace("post_attention_layernorm", "post_attention_norm")
    for hub, gguf in LAYER.items():
        if rest.startswith(hub):
            return f"blk.{layer}.{rest.replace(hub, gguf)}"
    return f"blk.{layer}.{rest}"


def interleaved(shape, numbers, heads):
    """Rows of a head, first half and second half, in turn: the order of rotary pairs that are neighbours."""
    rows, width = shape
    size = rows // heads
    order = [h * size + (j % 2) * (size // 2) + j // 2 for h in range(heads) for j in range(size)]
    return shape, [x for row in order for x in numbers[row * width : (row + 1) * width]]


def write(path, family, extra_tensors=(), **extra):
    config = json.loads((FAMILIES / family / "config.json").read_text())
    kind = config["model_type"].removesuffix("_text")
    heads, groups = config["num_attention_heads"], config["num_key_value_heads"]
    fields = {
        "general.architecture": kind,
        f"{kind}.context_length": config["max_position_embeddings"],
        f"{kind}.embedding_length": config["hidden_size"],
        f"{kind}.block_count": config["num_hidden_layers"],
        f"{kind}.feed_forward_length": config["intermediate_size"],
        f"{kind}.attention.head_count": heads,
        f"{kind}.attention.head_count_kv": groups,
        f"{kind}.attention.layer_norm_rms_epsilon": config["rms_norm_eps"],
        f"{kind}.rope.freq_base": config["rope_parameters"].get("rope_theta", 1e6),
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "smollm",
        "tokenizer.ggml.tokens": VOCABULARY,
        "tokenizer.ggml.token_type": [3 if i in (1, 2) else 1 for i in range(32)],
        "tokenizer.ggml.merges": [],
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.add_bos_token": False,
    }
    if "head_dim" in config:
        fields[f"{kind}.attention.key_length"] = config["head_dim"]
        fields[f"{kind}.attention.value_length"] = config["head_dim"]
    fields |= extra
    tensors = {}
    for name, (shape, numbers) in tiny_models.read_tensors(FAMILIES / family / "model.safetensors").items():
        if kind == "llama" and ("q_proj" in name or "k_proj" in name):
            shape, numbers = interleaved(shape, numbers, heads if "q_proj" in name else groups)
        if kind == "gemma3" and "norm" in name:
            numbers = [x + 1 for x in numbers]
        tensors[gguf_name(name, kind)] = (shape, numbers)
    tensors |= dict(extra_tensors)
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(fields))
    head += b"".join(string(key) + field(value) for key, value in fields.items())
    data = b""
    for name, (shape, numbers) in tensors.items():
        dims = shape[::-1]
        head += string(name) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, 0, len(data))
        data += struct.pack(f"<{len(numbers)}f", *numbers)
        data += b"\0" * (-len(data) % 32)
    path.write_bytes(head + b"\0" * (-len(head) % 32) + data)
    return path
