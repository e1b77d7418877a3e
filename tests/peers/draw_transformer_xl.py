"""Random configurations of Transformer-XL with what pytorch-transformers 1.2.0 computes, for tests/peers/families.py.

    python tests/peers/draw_transformer_xl.py FOLDER [COUNT]

by an interpreter that has pytorch-transformers 1.2.0; then `families.py --transformer-xl FOLDER` compares them."""

import pathlib
import random
import sys

import torch

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "golden" / "families"))
import make_transformer_xl as golden  # noqa: E402


def draw_fields(draw):
    width, vocabulary = draw.choice([8, 10, 12, 24]), draw.randint(24, 70)
    fields = dict(vocab_size_or_config_json_file=vocabulary, d_model=width, d_embed=draw.choice([width, 8, 16]))
    fields |= dict(n_head=draw.randint(1, 4), d_head=draw.randint(1, 9), d_inner=draw.randint(3, 48))
    fields |= dict(n_layer=draw.randint(1, 3), tgt_len=draw.randint(1, 20), mem_len=draw.randint(0, 12), ext_len=0)
    fields |= dict(div_val=draw.choice([1, 2]), clamp_len=draw.choice([-1, 3, 8]), dropout=0.0, dropatt=0.0)
    fields |= {name: draw.random() < 0.5 for name in ("pre_lnorm", "same_length", "untie_r", "tie_weight")}
    fields |= dict(proj_share_all_but_first=draw.random() < 0.5)
    if draw.random() < 0.06:
        fields["attn_type"] = 2  # absolute positions
    fields["cutoffs"] = sorted(draw.sample(range(4, vocabulary - 4), draw.choice([0, 1, 2])))
    if fields["div_val"] > 1 and not fields["cutoffs"]:
        fields["cutoffs"] = [vocabulary // 2]  # one cluster alone is never divided
    return fields


def main(folder, count):
    torch.set_num_threads(1)
    for number in range(count):
        draw = random.Random(f"transfo_xl {number}")
        model, double = golden.make_model(draw_fields(draw), number)
        length = draw.randint(1, 15)
        ids = [[draw.randrange(model.config.n_token) for _ in range(length)] for _ in range(2)]
        log_probabilities, memory, states, _ = golden.segment(double, ids, None)
        results = {f"hidden.{i}": state for i, state in enumerate(states)}
        results |= dict(ids=torch.tensor(ids), logits=log_probabilities)
        results |= golden.write(double, ids[0][:5], 64)
        golden.save(model, results, pathlib.Path(folder) / str(number), prompt=ids[0][:5])


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 50)
