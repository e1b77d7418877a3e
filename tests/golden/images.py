#!/usr/bin/env python3
"""Writes images.json: small images in several formats and sizes, and what Pillow makes of them.

usage: images.py > images.json      (Pillow 13)
"""
import io
import json

import numpy as np
from PIL import Image

generator = np.random.default_rng(2)
FILTERS = {"nearest": 0, "lanczos": 1, "bilinear": 2, "bicubic": 3, "box": 4, "hamming": 5}
pixels = generator.integers(0, 256, size=(11, 9, 3), dtype=np.uint8)
image = Image.fromarray(pixels)
out = {"height": 11, "width": 9, "pixels": pixels.tobytes().hex(), "resized": [], "files": []}
for name, number in FILTERS.items():
    for height, width in ((5, 4), (11, 3), (17, 20), (2, 23), (1, 1)):
        resized = np.asarray(image.resize((width, height), number))
        out["resized"].append({"filter": number, "height": height, "width": width, "pixels": resized.tobytes().hex()})


def add(label, source, kind, **options):
    stream = io.BytesIO()
    source.save(stream, kind, **options)
    rgb = np.asarray(Image.open(io.BytesIO(stream.getvalue())).convert("RGB"))
    out["files"].append(
        {
            "label": label,
            "exact": kind != "JPEG",
            "height": rgb.shape[0],
            "width": rgb.shape[1],
            "bytes": stream.getvalue().hex(),
            "pixels": rgb.tobytes().hex(),
        }
    )


add("png", image, "PNG")
add("grey png", image.convert("L"), "PNG")
add("png with a palette", image.quantize(16), "PNG")
add("png with alpha", Image.fromarray(generator.integers(0, 256, size=(5, 6, 4), dtype=np.uint8)), "PNG")
add("bmp", image, "BMP")
add("ppm", image, "PPM")
smooth = np.add.outer(np.arange(24) * 5, np.arange(20) * 4).astype(np.uint8)
smooth = np.stack([smooth, smooth[::-1], np.roll(smooth, 3, 1)], -1)
add("jpeg", Image.fromarray(smooth), "JPEG", quality=95, subsampling=0)
add("grey jpeg", Image.fromarray(smooth[..., 0]), "JPEG", quality=95)
add("progressive jpeg", Image.fromarray(smooth), "JPEG", quality=95, progressive=True, subsampling=0)
print(json.dumps(out, indent=1))
