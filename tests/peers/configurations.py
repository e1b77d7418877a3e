"""Random configurations of every family: each draw sets every field that changes what the model computes.

A draw is (class, configuration class, fields). Fields of which a reader may honestly say "not supported" come up rarely
(`rare`), the others in all their values. Epsilons are large half of the time: 1e-5 in place of 1e-6 would not show.
"""

import random

ACTIVATIONS = ["gelu", "gelu_new", "gelu_pytorch_tanh", "relu", "silu"]
UNUSUAL = ["quick_gelu", "gelu_fast", "tanh", "relu2", "mish", "sigmoid", "leaky_relu", "swish", "gelu_python"]


class Draw(random.Random):
    def rare(self, chance=0.06):
        return self.random() < chance

    def flag(self):
        return self.random() < 0.5

    def epsilon(self):
        return self.choice([1e-12, 1e-6, 1e-5, 1e-3, 0.02])

    def activation(self):
        return self.choice(UNUSUAL if self.rare(0.12) else ACTIVATIONS)

    def heads(self, even=False):
        """(heads, head's width); together at least 8: a norm over two numbers loses what a float32 has to lose."""
        while True:
            heads, width = self.randint(1, 5), self.choice([2, 4, 6, 8, 10] if even else [1, 2, 3, 4, 5, 7, 8, 12])
            if heads * width >= 8:
                return heads, width

    def labels(self):
        return dict(num_labels=self.randint(1, 5))

    def theta(self):
        return self.choice([100.0, 10000.0, 500000.0, 1e6])

    def rope(self, head_dim, scaled=True):
        kind = self.choice(["default", "linear", "llama3", "yarn"]) if scaled else "default"
        if scaled and self.rare():
            kind = self.choice(["dynamic", "longrope"])
            kind = kind if head_dim > 2 else "longrope"  # of two columns transformers divides by 0
        fields = dict(rope_type=kind, rope_theta=self.theta())
        if kind != "default":
            fields["factor"] = self.choice([1.0, 1.5, 4.0, 8.0])
        if kind in ("llama3", "yarn", "longrope"):
            fields["original_max_position_embeddings"] = self.choice([8, 16, 32])
        if kind == "llama3":
            fields |= dict(low_freq_factor=self.choice([1.0, 0.5]), high_freq_factor=self.choice([2.0, 4.0]))
        if kind == "yarn":
            fields |= self.choice([{}, dict(beta_fast=4.0, beta_slow=0.5), dict(beta_fast=16), dict(beta_slow=2)])
            fields |= self.choice([{}, dict(attention_factor=1.3), dict(mscale=1.0, mscale_all_dim=0.5)])
            fields |= self.choice([{}, {}, dict(truncate=False)])
        if kind == "longrope":
            fields |= {k: [1.0 + self.random() for _ in range(head_dim // 2)] for k in ("short_factor", "long_factor")}
        return fields

    def layer_types(self, layers):
        return [self.choice(["full_attention", "sliding_attention"]) for _ in range(layers)]


def encoder(draw):
    heads, width = draw.heads()
    return dict(
        vocab_size=draw.randint(20, 70),
        hidden_size=heads * width,
        num_attention_heads=heads,
        num_hidden_layers=draw.randint(1, 3),
        intermediate_size=draw.randint(3, 48),
        max_position_embeddings=draw.randint(24, 40),
        hidden_act=draw.activation(),
        layer_norm_eps=draw.epsilon(),
        type_vocab_size=draw.randint(1, 3),
        tie_word_embeddings=draw.flag(),
        **draw.labels(),
    )


HEADS = ["ForMaskedLM", "ForSequenceClassification", "ForTokenClassification", "ForQuestionAnswering", "Model"]


def head(draw, prefix, fields):
    chosen = draw.choice(HEADS)
    if chosen == "ForQuestionAnswering":
        fields["num_labels"] = 2
    return prefix + chosen, fields


def bert(draw):
    fields = encoder(draw)
    if draw.rare():
        fields["is_decoder"] = True
    name, fields = head(draw, "Bert", fields)
    return name, "BertConfig", fields


def roberta(draw, prefix="Roberta"):
    name, fields = head(draw, prefix, dict(encoder(draw), pad_token_id=draw.randint(0, 3)))
    if draw.rare():
        fields["is_decoder"] = True
    return name, prefix + "Config", fields


def xlm_roberta(draw):
    return roberta(draw, "XLMRoberta")


def distilbert(draw):
    fields = encoder(draw)
    renamed = dict(hidden_size="dim", num_attention_heads="n_heads", num_hidden_layers="n_layers")
    renamed |= dict(intermediate_size="hidden_dim", hidden_act="activation")
    fields = {renamed.get(k, k): v for k, v in fields.items() if k not in ("layer_norm_eps", "type_vocab_size")}
    name, fields = head(draw, "DistilBert", dict(fields, sinusoidal_pos_embds=draw.flag()))
    return name, "DistilBertConfig", fields


def albert(draw):
    fields = dict(encoder(draw), embedding_size=draw.randint(6, 20), num_hidden_layers=draw.randint(1, 5))
    fields |= dict(
        num_hidden_groups=draw.randint(1, fields["num_hidden_layers"]), inner_group_num=draw.choice([1, 1, 2])
    )
    name, fields = head(draw, "Albert", fields)
    return name, "AlbertConfig", fields


def modernbert(draw):
    heads, width = draw.heads(even=True)
    fields = encoder(draw) | dict(hidden_size=heads * width, num_attention_heads=heads)
    fields |= dict(hidden_activation=fields.pop("hidden_act"), norm_eps=fields.pop("layer_norm_eps"))
    fields |= dict(num_hidden_layers=draw.randint(1, 5), local_attention=draw.randint(0, 12))
    fields |= {
        name: draw.flag() for name in ("norm_bias", "attention_bias", "mlp_bias", "decoder_bias", "classifier_bias")
    }
    fields |= dict(classifier_pooling=draw.choice(["cls", "mean"]), classifier_activation=draw.activation())
    fields |= dict(pad_token_id=0, bos_token_id=1, cls_token_id=1, eos_token_id=2, sep_token_id=2)
    if draw.flag():
        fields["layer_types"] = draw.layer_types(fields["num_hidden_layers"])
    else:
        fields["global_attn_every_n_layers"] = draw.randint(1, 4)
    if draw.flag():
        fields["rope_parameters"] = {k: draw.rope(width) for k in ("full_attention", "sliding_attention")}
        for rope in fields["rope_parameters"].values():
            rope.pop("truncate", None)  # transformers 5.24 looks for it beside the two, not in them
    else:
        fields |= dict(global_rope_theta=draw.theta(), local_rope_theta=draw.theta())
    del fields["type_vocab_size"]
    name, fields = head(draw, "ModernBert", fields)
    return name, "ModernBertConfig", fields


def gpt2(draw):
    heads, width = draw.heads()
    fields = dict(vocab_size=draw.randint(20, 70), n_embd=heads * width, n_head=heads, n_layer=draw.randint(1, 3))
    fields |= dict(n_positions=96, n_inner=draw.choice([None, draw.randint(3, 48)]), layer_norm_epsilon=draw.epsilon())
    fields |= dict(activation_function=draw.activation(), bos_token_id=1, eos_token_id=None)
    fields |= {k: draw.flag() for k in ("scale_attn_weights", "scale_attn_by_inverse_layer_idx", "tie_word_embeddings")}
    fields |= dict(reorder_and_upcast_attn=draw.flag())
    if draw.rare():
        fields["add_cross_attention"] = True
    return draw.choice(["GPT2LMHeadModel"] * 4 + ["GPT2Model"]), "GPT2Config", fields


def decoder(draw, own_width=True):
    heads, width = draw.heads(even=True)
    groups = draw.choice([g for g in range(1, heads + 1) if heads % g == 0])
    fields = dict(vocab_size=draw.randint(20, 70), num_attention_heads=heads, num_key_value_heads=groups)
    fields |= dict(hidden_size=heads * width, num_hidden_layers=draw.randint(1, 3), max_position_embeddings=96)
    fields |= dict(intermediate_size=draw.randint(3, 48), hidden_act=draw.activation(), rms_norm_eps=draw.epsilon())
    fields |= dict(tie_word_embeddings=draw.flag(), bos_token_id=1, eos_token_id=None, pad_token_id=None)
    if own_width and draw.flag():
        width = draw.choice([2, 4, 6, 8, 16])
        fields["head_dim"] = width
    fields["rope_parameters"] = draw.rope(width)
    return fields, width


def causal(draw, prefix, fields):
    kind = draw.choice(["ForCausalLM"] * 5 + ["Model", "ForSequenceClassification"])
    if kind == "ForSequenceClassification":
        fields |= dict(pad_token_id=0, **draw.labels())
    return prefix + kind, prefix + "Config", fields


def llama(draw):
    fields, _ = decoder(draw)
    fields |= dict(attention_bias=draw.flag(), mlp_bias=draw.flag(), pretraining_tp=draw.choice([1, 2]))
    return causal(draw, "Llama", fields)


def mistral(draw):
    fields, _ = decoder(draw)
    return causal(draw, "Mistral", dict(fields, sliding_window=draw.choice([None, draw.randint(1, 12)])))


def windows(draw, fields):
    """Qwen's two ways of saying which layers have a window."""
    fields |= dict(
        use_sliding_window=draw.flag(), sliding_window=draw.randint(1, 12), max_window_layers=draw.randint(0, 3)
    )
    if fields["use_sliding_window"] and draw.flag():
        fields["layer_types"] = draw.layer_types(fields["num_hidden_layers"])
    return fields


def qwen2(draw):
    return causal(draw, "Qwen2", windows(draw, decoder(draw, own_width=False)[0]))


def qwen3(draw):
    fields, width = decoder(draw)
    return causal(draw, "Qwen3", windows(draw, dict(fields, head_dim=width, attention_bias=draw.flag())))


def gemma2(draw):
    fields, width = decoder(draw)
    fields |= dict(head_dim=width, hidden_activation=fields.pop("hidden_act"), attention_bias=draw.flag())
    fields |= dict(query_pre_attn_scalar=draw.randint(1, 32), sliding_window=draw.randint(1, 12))
    fields |= dict(final_logit_softcapping=draw.choice([None, 3.0, 30.0]))
    fields |= dict(attn_logit_softcapping=draw.choice([None, 1.5, 50.0]))
    if draw.flag():
        fields["layer_types"] = draw.layer_types(fields["num_hidden_layers"])
    return causal(draw, "Gemma2", fields)


def gemma3(draw):
    _, _, fields = gemma2(draw)
    fields["attn_logit_softcapping"] = 1.5 if draw.rare() else None
    if "layer_types" not in fields:
        fields["sliding_window_pattern"] = draw.randint(1, 4)
    fields["rope_parameters"] = {k: draw.rope(fields["head_dim"]) for k in ("full_attention", "sliding_attention")}
    for rope in fields["rope_parameters"].values():
        rope.pop("truncate", None)
    if draw.rare():
        fields["use_bidirectional_attention"] = True
    return draw.choice(["Gemma3ForCausalLM"] * 4 + ["Gemma3TextModel"]), "Gemma3TextConfig", fields


def olmo2(draw):
    fields, _ = decoder(draw, own_width=False)
    return "Olmo2ForCausalLM", "Olmo2Config", dict(fields, attention_bias=draw.flag())


def t5(draw):
    heads, width = draw.heads()
    buckets = draw.choice([4, 8, 16, 32])
    fields = dict(vocab_size=draw.randint(20, 70), d_model=draw.randint(8, 32), d_kv=width, num_heads=heads)
    fields |= dict(d_ff=draw.randint(3, 48), num_layers=draw.randint(1, 3), num_decoder_layers=draw.randint(1, 3))
    fields |= dict(relative_attention_num_buckets=buckets, layer_norm_epsilon=draw.epsilon())
    fields |= dict(relative_attention_max_distance=buckets // 2 + draw.randint(1, 100))
    fields |= dict(decoder_start_token_id=draw.choice([0, 3]), eos_token_id=None, tie_word_embeddings=draw.flag())
    gates = ["relu", "gated-gelu", "gated-silu", "gated-relu", "gelu", "silu"]
    fields["feed_forward_proj"] = draw.choice(gates)
    return draw.choice(["T5ForConditionalGeneration"] * 4 + ["T5EncoderModel"]), "T5Config", fields


def pair(draw):
    width = draw.choice([8, 9, 10, 12, 24])
    divisors = [h for h in (1, 2, 3, 4, 5, 6) if width % h == 0]
    fields = dict(vocab_size=draw.randint(20, 70), d_model=width, max_position_embeddings=96)
    for side in ("encoder", "decoder"):
        fields |= {f"{side}_layers": draw.randint(1, 3), f"{side}_ffn_dim": draw.randint(3, 48)}
        fields[f"{side}_attention_heads"] = draw.choice(divisors)
    fields |= dict(activation_function=draw.activation(), scale_embedding=draw.flag())
    if draw.rare():
        fields["tie_word_embeddings"] = False
    return fields | dict(eos_token_id=None, forced_eos_token_id=None, pad_token_id=1, decoder_start_token_id=2)


def bart(draw):
    return "BartForConditionalGeneration", "BartConfig", pair(draw)


def marian(draw):
    fields = dict(pair(draw), share_encoder_decoder_embeddings=draw.flag())
    if not fields["share_encoder_decoder_embeddings"]:
        fields["decoder_vocab_size"] = draw.randint(20, 70)
    return "MarianMTModel", "MarianConfig", fields


def vit(draw):
    heads, width = draw.heads()
    patch = draw.choice([2, 3, 4])
    fields = dict(hidden_size=heads * width, num_attention_heads=heads, num_hidden_layers=draw.randint(1, 3))
    fields |= dict(intermediate_size=draw.randint(3, 48), hidden_act=draw.activation(), layer_norm_eps=draw.epsilon())
    fields |= dict(patch_size=patch, image_size=patch * draw.randint(1, 5), num_channels=draw.choice([1, 3, 4]))
    fields |= dict(qkv_bias=draw.flag(), pooler_output_size=draw.choice([None, 7]))
    fields |= dict(pooler_act=draw.choice(["tanh", "tanh", "relu", "gelu"]), **draw.labels())
    if draw.rare(0.1):
        fields["image_size"] = [patch * draw.randint(1, 4), patch * draw.randint(1, 4)]
    return draw.choice(["ViTModel", "ViTForImageClassification"]), "ViTConfig", fields


FAMILIES = {
    f.__name__: f
    for f in (
        bert,
        roberta,
        xlm_roberta,
        distilbert,
        albert,
        modernbert,
        gpt2,
        llama,
        mistral,
        qwen2,
        qwen3,
        gemma2,
        gemma3,
        olmo2,
        t5,
        bart,
        marian,
        vit,
    )
}


def draw_configuration(family, number):
    return FAMILIES[family](Draw(f"{family} {number}"))
