"""What families.py compares, and the tally it keeps."""

import collections
import json
import re

import safetensors.torch
import torch

import adapters
import reference

BAR, BF16_BAR, TIE, TEXT = 1e-5, 2.0, 1e-4, 64


def errors(results, expected):
    """Of each tensor: rms of the error over the rms of the reference's."""
    found = {}
    for key, want in expected.items():
        if "attention" in key or key == "pooled" and key not in results:
            continue
        if key not in results:
            raise AssertionError(f"there is no {key}")
        got = results[key].reshape(want.shape) if results[key].numel() == want.numel() else results[key]
        assert got.shape == want.shape, f"{key} is {list(got.shape)}, not {list(want.shape)}"
        error = (got - want).square().mean().sqrt() / want.square().mean().sqrt().clamp(min=1e-30)
        found[key] = float("inf") if torch.isnan(error) else float(error)
    return found


def compare_text(model, double, prompt):
    """The number of ties; AssertionError where the text differs elsewhere."""
    want = reference.greedy(double, prompt, TEXT)
    margins = reference.margins(reference.next_logits(double, prompt, want)).tolist()
    ties, done = 0, 0
    while done < TEXT:
        got = model.write(prompt + want[:done], TEXT - done)
        wrong = [i for i, (a, b) in enumerate(zip(got, want[done:])) if a != b]
        if not wrong:
            assert len(got) == TEXT - done, f"wrote {len(got)} ids, not {TEXT - done}"
            break
        at = done + wrong[0]
        assert margins[at] <= TIE, f"id {at} of the text is {got[wrong[0]]}, not {want[at]} (margin {margins[at]:.2g})"
        ties, done = ties + 1, at + 1
        if double.config.is_encoder_decoder:
            break  # its text cannot be taken up in the middle
    return ties


def compare_export(model, folder, exported, loads=True):
    model.export(exported)
    before, after = (safetensors.torch.load_file(f / "model.safetensors") for f in (folder, exported))
    assert before.keys() == after.keys(), f"tensors differ: {sorted(before.keys() ^ after.keys())}"
    for name, tensor in before.items():
        assert tensor.dtype == after[name].dtype and torch.equal(tensor, after[name]), f"{name} has changed"
    old, new = (json.loads((f / "config.json").read_text()) for f in (folder, exported))
    changed = [k for k in old if k not in ("transformers_version",) and (k not in new or new[k] != old[k])]
    assert not changed, f"config.json's {changed} have changed"
    if not loads:  # a family that transformers no longer has
        return
    reloaded = adapters.load_folder(exported).state_dict()
    original = adapters.load_folder(folder).state_dict()
    assert all(torch.equal(reloaded[k], original[k]) for k in original), "transformers reads other weights"


class Tally:
    """What has come out for one family."""

    def __init__(self):
        self.count = self.texts = self.ties = 0
        self.worst, self.worst_at, self.squares = 0.0, "", [0.0, 0.0]
        self.refused, self.failures = collections.Counter(), []

    def refuse(self, refusal, folder, name):
        """Counts a refusal by the field it names; one that names none is a failure."""
        config = json.loads((folder / "config.json").read_text())
        words = set(re.findall(r"\w+", str(refusal)))
        nested = [v for v in config.values() if isinstance(v, dict)]
        keys = {*config, *(k for d in nested for k in d)} - {
            "model_type",
            "architectures",
            "dtype",
            "torch_dtype",
            "type",
        }
        named = sorted(keys & words, key=len)
        if not named:
            self.failures.append(f"{name}: refused without naming a field of the configuration: {refusal}")
            return
        self.refused[named[-1]] += 1

    def note(self, found, where):
        """Keeps the worst of a configuration's errors; AssertionError where it is beyond the bar."""
        worst, key = max((error, key) for key, error in found.items())
        if worst > self.worst:
            self.worst, self.worst_at = worst, f"{where}, {key}"
        assert worst <= BAR, f"error {worst:.2g} in {key}"

    def bf16_ratio(self):
        return (self.squares[0] / self.squares[1]) ** 0.5 if self.squares[1] else 0.0

    def row(self, family):
        refused = ", ".join(f"`{field}` ({n})" for field, n in sorted(self.refused.items())) or "—"
        text = f"{self.texts} ({self.ties} ties)" if self.texts else "—"
        ratio = f"{self.bf16_ratio():.2f}" if self.squares[1] else "—"
        return f"| {family} | {self.count} | {self.worst:.1e} | {ratio} | {text} | {refused} |"


HEADER = """| family | configurations | worst error, float32 | bfloat16 error / transformers | 64 ids | refused fields |
| --- | --- | --- | --- | --- | --- |"""
