"""Every family against transformers, on random configurations. Needs transformers 5.24 and torch.

    python tests/peers/families.py [--configurations 50] [--families llama,t5] [--out docs/families-table.md]
    python tests/peers/families.py --against itself      transformers in float32 in Headway's place: proves this test

For each configuration a tiny model is made with random weights, saved as transformers saves it (half of the time with
the configuration's older field names), loaded by Headway, and held to transformers in float64:

    float32     hidden states of every layer and logits: error ≤ 1e-5 of the rms of the reference's, tensor by tensor
    bfloat16    error ≤ 2 × that of transformers in bfloat16, over all tensors of the family's configurations together
    text        64 greedy ids, every fifth configuration; where the reference's two best logits lie within 1e-4 its
                choice is forced and counted
    export      every tensor bit for bit, every field of config.json (one that nobody knows among them), and
                transformers loads it

or Headway refuses with an error that names a field of the configuration."""

import argparse
import collections
import json
import os
import pathlib
import random
import re
import sys
import tempfile

os.environ["HF_HUB_OFFLINE"] = "1"
import safetensors.torch
import torch
import transformers as hf

import adapters
import configurations
import reference

BAR, BF16_BAR, TIE, TEXT = 1e-5, 2.0, 1e-4, 64
UNKNOWN = {"field_that_nobody_knows": {"kept": [1, 2.5, "as it is"]}}


def make_model(family, number):
    class_name, config_name, fields = configurations.draw_configuration(family, number)
    model = getattr(hf, class_name)(getattr(hf, config_name)(**fields))
    if family == "t5" and fields["tie_word_embeddings"] is False and hasattr(model, "lm_head"):
        reference.untie_t5(model)
    return reference.randomize(model, number)


def older(config):
    """The same configuration in the field names that transformers wrote before version 5."""
    config["torch_dtype"] = config.pop("dtype")
    rope = config.get("rope_parameters") or {}
    if "rope_type" in rope:
        del config["rope_parameters"]
        config["rope_theta"] = rope.pop("rope_theta")
        config["rope_scaling"] = rope if rope["rope_type"] != "default" else None
    elif config["model_type"] == "gemma3_text" and rope["sliding_attention"]["rope_type"] == "default":
        del config["rope_parameters"]
        config["rope_local_base_freq"] = rope["sliding_attention"]["rope_theta"]
        config["rope_theta"] = rope["full_attention"].pop("rope_theta")
        config["rope_scaling"] = rope["full_attention"] if rope["full_attention"]["rope_type"] != "default" else None
    if config["model_type"] == "t5":
        config["tie_word_embeddings"] = config.pop("scale_decoder_outputs")
    return config


def save(model, folder, draw):
    model.save_pretrained(folder)
    path = folder / "config.json"
    config = json.loads(path.read_text()) | UNKNOWN
    path.write_text(json.dumps(older(config) if draw.random() < 0.5 else config, indent=2))


def make_case(model, draw):
    config = model.config
    if config.model_type == "vit":
        size = config.image_size if isinstance(config.image_size, (list, tuple)) else [config.image_size] * 2
        shape = (draw.randint(1, 3), config.num_channels, *size)
        return adapters.Case(pixels=torch.randn(shape, generator=torch.Generator().manual_seed(draw.randint(0, 999))))
    real = "roberta" in config.model_type  # where an id that pads has a meaning inside a text too
    ids = [i for i in range(min(config.vocab_size, getattr(config, "decoder_vocab_size", 1000)))]
    ids = ids if real else [i for i in ids if i != getattr(config, "pad_token_id", None)]
    rows = lambda lengths: [[draw.choice(ids) for _ in range(n)] for n in lengths]
    lengths = [draw.randint(10, 20), draw.randint(1, 20), draw.choice([1, 2, 15])]
    case = adapters.Case(rows=rows(lengths))
    if getattr(config, "type_vocab_size", 0) > 1 and draw.random() < 0.7:
        case.types = [[draw.randrange(config.type_vocab_size) for _ in row] for row in case.rows]
    if config.is_encoder_decoder:
        case.decoder_rows = rows([draw.randint(1, 20) for _ in lengths])
    return case


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


def compare_export(model, folder, exported):
    model.export(exported)
    before, after = (safetensors.torch.load_file(f / "model.safetensors") for f in (folder, exported))
    assert before.keys() == after.keys(), f"tensors differ: {sorted(before.keys() ^ after.keys())}"
    for name, tensor in before.items():
        assert tensor.dtype == after[name].dtype and torch.equal(tensor, after[name]), f"{name} has changed"
    old, new = (json.loads((f / "config.json").read_text()) for f in (folder, exported))
    changed = [k for k in old if k not in ("transformers_version",) and (k not in new or new[k] != old[k])]
    assert not changed, f"config.json's {changed} have changed"
    reloaded = adapters.load_folder(exported).state_dict()
    original = adapters.load_folder(folder).state_dict()
    assert all(torch.equal(reloaded[k], original[k]) for k in original), "transformers reads other weights"


def named_field(message, config):
    """The configuration's field that a refusal names."""
    words = set(re.findall(r"\w+", message))
    nested = [v for v in config.values() if isinstance(v, dict)]
    keys = {*config, *(k for d in nested for k in d)} - {"model_type", "architectures"}
    return next(iter(sorted(keys & words, key=len, reverse=True)), None)


class Tally:
    """What has come out for one family."""

    def __init__(self):
        self.count = self.texts = self.ties = 0
        self.worst, self.worst_at, self.squares = 0.0, "", [0.0, 0.0]
        self.refused, self.failures = collections.Counter(), []

    def bf16_ratio(self):
        return (self.squares[0] / self.squares[1]) ** 0.5 if self.squares[1] else 0.0

    def row(self, family):
        refused = ", ".join(f"`{field}` ({n})" for field, n in sorted(self.refused.items())) or "—"
        text = f"{self.texts} ({self.ties} ties)" if self.texts else "—"
        ratio = f"{self.bf16_ratio():.2f}" if self.squares[1] else "—"
        return f"| {family} | {self.count} | {self.worst:.1e} | {ratio} | {text} | {refused} |"


HEADER = """| family | configurations | worst error, float32 | bfloat16: error / transformers' | texts of 64 ids | refused fields |
| --- | --- | --- | --- | --- | --- |"""


def check(adapter, family, number, tally, folder):
    draw = random.Random(f"case {family} {number}")
    model = make_model(family, number)
    save(model, folder, draw)
    case, double = make_case(model, draw), reference.float64_copy(model)
    pixels = None if case.pixels is None else case.pixels.double()
    expected = reference.run(double, case.rows, case.types, case.decoder_rows, pixels)
    try:
        tested = adapter.load(folder)
    except adapters.Refused as refusal:
        field = named_field(str(refusal), json.loads((folder / "config.json").read_text()))
        assert field, f"refused without naming a field: {refusal}"
        tally.refused[field] += 1
        return
    worst = max((e, key) for key, e in errors(tested.run(case), expected).items())
    if worst[0] > tally.worst:
        tally.worst, tally.worst_at = worst[0], f"{number}, {worst[1]}"
    assert worst[0] <= BAR, f"error {worst[0]:.2g} in {worst[1]}"
    if getattr(adapter, "fault", None):
        return
    baseline = adapters.ItselfModel(adapters.load_folder(folder, torch.bfloat16))
    for i, half in enumerate((adapter.load(folder, "bfloat16"), baseline)):
        found = errors(half.run(case), expected).values()
        tally.squares[i] += sum(e * e for e in found) / len(found)
    compare_export(tested, folder, folder.parent / "exported")
    scaling = {"dynamic", "longrope"} & set(re.findall(r"\w+", json.dumps(model.config.to_dict(), default=str)))
    if number % 5 == 0 and hasattr(model, "lm_head") and not scaling and model.can_generate():
        tally.texts += 1
        tally.ties += compare_text(tested, double, case.rows[1])


def check_family(adapter, family, numbers):
    tally = Tally()
    for number in numbers:
        with tempfile.TemporaryDirectory() as folder:
            try:
                check(adapter, family, number, tally, pathlib.Path(folder) / "model")
            except adapters.NotApplicable:
                continue
            except (AssertionError, RuntimeError, ValueError) as error:
                tally.failures.append(f"{family} {number}: {error}")
            tally.count += 1
    if tally.bf16_ratio() > BF16_BAR:
        tally.failures.append(f"{family}: bfloat16's error is {tally.bf16_ratio():.2f} × transformers'")
    return tally


def prepare():
    hf.logging.set_verbosity_error()
    hf.logging.disable_progress_bar()
    torch.set_num_threads(1)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", choices=["headway", "itself"], default="headway")
    parser.add_argument("--families", default=",".join(configurations.FAMILIES))
    parser.add_argument("--configurations", type=int, default=50)
    parser.add_argument("--first", type=int, default=0, help="the number of the first configuration")
    parser.add_argument("--out", type=pathlib.Path, help="a file for the table, in Markdown")
    options = parser.parse_args()
    prepare()
    adapter = adapters.Headway() if options.against == "headway" else adapters.Itself()
    rows, failures = [], []
    print(HEADER, flush=True)
    for family in options.families.split(","):
        tally = check_family(adapter, family, range(options.first, options.first + options.configurations))
        rows.append(tally.row(family))
        failures += tally.failures
        print(rows[-1], f"worst at {tally.worst_at}", *tally.failures, sep="\n  ", flush=True)
    if options.out:
        options.out.write_text("\n".join([HEADER, *rows]) + "\n")
    print(f"{len(failures)} failures")
    return bool(failures)


if __name__ == "__main__":
    sys.exit(main())
