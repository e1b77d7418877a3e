"""Every family against transformers, on random configurations. Needs transformers 5.24 and torch.

    python tests/peers/families.py [--configurations 50] [--families llama,t5] [--out docs/families.md]
    python tests/peers/families.py --transformer-xl FOLDER   also what draw_transformer_xl.py made there

For each configuration a tiny model is made with random weights, saved as transformers saves it (half of the time with
the configuration's older field names), loaded by Headway, and held to transformers in float64:

    float32     hidden states of every layer and logits: error ≤ 1e-5 of the rms of the reference's, tensor by tensor
    bfloat16    error ≤ 2 × that of transformers in bfloat16, over all tensors of the family's configurations together
    text        64 greedy ids, where the model writes; where the reference's two best logits lie within 1e-4 its
                choice is forced and counted
    export      every tensor bit for bit, every field of config.json (one that nobody knows among them), and
                transformers loads it

or Headway refuses with an error that names a field of the configuration, for a fifth of a family at most."""

import argparse
import json
import os
import pathlib
import random
import re
import shutil
import sys
import tempfile

os.environ["HF_HUB_OFFLINE"] = "1"
import safetensors.torch
import torch
import transformers as hf

import adapters
import configurations
import reference
from comparison import BF16_BAR, HEADER, TIE, Tally, compare_export, compare_text, errors

BEGIN, END = "<!-- made by tests/peers/families.py -->", "<!-- end of what it made -->"
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


def check(adapter, family, number, tally, folder):
    draw = random.Random(f"case {family} {number}")
    model = make_model(family, number)
    save(model, folder, draw)
    case, double = make_case(model, draw), reference.float64_copy(model)
    pixels = None if case.pixels is None else case.pixels.double()
    expected = reference.run(double, case.rows, case.types, case.decoder_rows, pixels)
    tested = adapter.load(folder)
    tally.note(errors(tested.run(case), expected), number)
    if getattr(adapter, "fault", None):
        return
    baseline = adapters.ItselfModel(adapters.load_folder(folder, torch.bfloat16))
    for i, half in enumerate((adapter.load(folder, "bfloat16"), baseline)):
        found = errors(half.run(case), expected).values()
        tally.squares[i] += sum(e * e for e in found) / len(found)
    compare_export(tested, folder, folder.parent / "exported")
    both_ways = getattr(model.config, "use_bidirectional_attention", False)
    scaling = {"dynamic", "longrope"} & set(re.findall(r"\w+", json.dumps(model.config.to_dict(), default=str)))
    if hasattr(model, "lm_head") and model.can_generate() and not scaling and not both_ways:
        tally.texts += 1
        tally.ties += compare_text(tested, double, case.rows[1])


def check_made(adapter, made, tally, folder):
    """A folder whose results were computed elsewhere: Transformer-XL's, by an older package."""
    expected = {k: v.double() for k, v in safetensors.torch.load_file(made / "expected.safetensors").items()}
    ids = expected.pop("ids").int().tolist()
    text = {k: expected.pop(k) for k in list(expected) if k.startswith("written")}
    expected = {k: v.flatten(0, 1) for k, v in expected.items()}
    shutil.copytree(made, folder, ignore=shutil.ignore_patterns("expected.*"))
    tested = adapter.load(folder)
    tally.note(errors(tested.run(adapters.Case(rows=ids)), expected), made.name)
    compare_export(tested, folder, folder.parent / "exported", loads=False)
    want, margins = text["written"].int().tolist(), text["written.margins"].tolist()
    got = tested.write(json.loads((made / "expected.json").read_text())["prompt"], len(want))
    wrong = [i for i, (a, b) in enumerate(zip(got, want)) if a != b]
    tally.texts += 1
    tally.ties += bool(wrong)
    assert not wrong or margins[wrong[0]] <= TIE, f"id {wrong[0]} of the text is {got[wrong[0]]}, not {want[wrong[0]]}"


def tally_of(family, checks):
    """Runs the checks, each in a folder of its own: pairs of a name and a function of the tally and the folder."""
    tally = Tally()
    for name, run in checks:
        with tempfile.TemporaryDirectory() as temporary:
            folder = pathlib.Path(temporary) / "model"
            try:
                run(tally, folder)
            except adapters.NotApplicable:
                continue
            except adapters.Refused as refusal:
                tally.refuse(refusal, folder, name)
            except (AssertionError, RuntimeError, ValueError) as error:
                tally.failures.append(f"{name}: {error}")
            tally.count += 1
    if tally.bf16_ratio() > BF16_BAR:
        tally.failures.append(f"{family}: bfloat16's error is {tally.bf16_ratio():.2f} × transformers'")
    if sum(tally.refused.values()) > tally.count / 5:
        tally.failures.append(f"{family}: refused {sum(tally.refused.values())} of {tally.count}")
    return tally


def check_family(adapter, family, numbers):
    one = lambda number: lambda tally, folder: check(adapter, family, number, tally, folder)
    return tally_of(family, [(f"{family} {number}", one(number)) for number in numbers])


def check_folders(adapter, family, folders):
    one = lambda made: lambda tally, folder: check_made(adapter, made, tally, folder)
    return tally_of(family, [(f"{family} {made.name}", one(made)) for made in folders])


def write_table(path, rows):
    """Into the file at `path`; where that has a table of ours already, in its place."""
    table = "\n".join([BEGIN, HEADER, *rows, END])
    text = path.read_text() if path.exists() else ""
    before, found, rest = text.partition(BEGIN)
    path.write_text(before + table + rest.partition(END)[2] if found else table + "\n")


def prepare():
    hf.logging.set_verbosity_error()
    hf.logging.disable_progress_bar()
    torch.set_num_threads(1)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--families", default=",".join(configurations.FAMILIES))
    parser.add_argument("--configurations", type=int, default=50)
    parser.add_argument("--first", type=int, default=0, help="the number of the first configuration")
    parser.add_argument("--transformer-xl", type=pathlib.Path, metavar="FOLDER")
    parser.add_argument("--itself", action="store_true", help="transformers in float32 in Headway's place")
    parser.add_argument("--out", type=pathlib.Path, help="the Markdown file that has or gets the table")
    options = parser.parse_args()
    prepare()
    adapter = adapters.Itself() if options.itself else adapters.Headway()
    numbers = range(options.first, options.first + options.configurations)
    jobs = [(family, check_family, numbers) for family in options.families.split(",")]
    if options.transformer_xl:
        jobs.append(("transformer_xl", check_folders, sorted(options.transformer_xl.iterdir())))
    rows, failures = [], []
    print(HEADER, flush=True)
    for family, run, cases in jobs:
        tally = run(adapter, family, cases)
        rows.append(tally.row(family))
        failures += tally.failures
        print(rows[-1], f"worst at {tally.worst_at}", *tally.failures, sep="\n  ", flush=True)
    if options.out:
        write_table(options.out, rows)
    print(f"{len(failures)} failures")
    return bool(failures)


if __name__ == "__main__":
    sys.exit(main())
