"""Weight maps shaped like published architectures, and the shapes of their variables."""

from types import SimpleNamespace

import numpy as np

from inarch.checkpoints.maps.rule import (
    CONV1D,
    dense,
    derived,
    embedding,
    norm,
    rule,
    tied,
    under,
)
from inarch.checkpoints.maps.source import Head, Source

QKV = ("attention/query/kernel", "attention/key/kernel", "attention/value/kernel")
QKV_BIASES = tuple(name.replace("kernel", "bias") for name in QKV)


def source(model_type, *weights, **options):
    return Source(
        model_type=model_type,
        architecture="Model",
        prefix="model.",
        config=[],
        weights=weights,
        **options,
    )


MODERN_BERT = source(
    "modernbert",
    embedding("embeddings.tok_embeddings", "token_embedding"),
    norm("embeddings.norm", "embeddings_norm", bias=False),
    under(
        "layers.{i}",
        "layer_{i}",
        norm("attn_norm", "attention_norm", bias=False),
        i="num_layers[1:]",
    ),
    under(
        "layers.{i}",
        "layer_{i}",
        rule("attn.Wqkv.weight", QKV, "(o + o + o) i -> i o, i o, i o"),
        dense("attn.Wo", "attention/output", bias=False),
        norm("mlp_norm", "feed_forward_norm", bias=False),
        rule(
            "mlp.Wi.weight",
            ("feed_forward/gate/kernel", "feed_forward/up/kernel"),
            "(o + o) i -> i o, i o",
        ),
        dense("mlp.Wo", "feed_forward/down", bias=False),
    ),
    norm("final_norm", "final_norm", bias=False),
    heads={
        "masked_lm": Head(
            ("ForMaskedLM",),
            [dense("head.dense", "transform", bias=False), rule("decoder.bias", "bias", "v -> v")],
            tied=tied("decoder.weight", ".embeddings.tok_embeddings.weight"),
        )
    },
)
GPT2 = source(
    "gpt2",
    embedding("wte", "token_embedding"),
    embedding("wpe", "position_embedding"),
    under(
        "h.{i}",
        "layer_{i}",
        norm("ln_1", "attention_norm"),
        rule("attn.c_attn.weight", QKV, "i (o + o + o) -> i o, i o, i o"),
        rule("attn.c_attn.bias", QKV_BIASES, "(o + o + o) -> o, o, o"),
        derived(
            "attn.bias",
            lambda shape: np.tril(np.ones(shape[-2:], "float32")).reshape(shape),
            reason="causal mask",
        ),
        CONV1D.dense("attn.c_proj", "attention/output"),
        norm("ln_2", "feed_forward_norm"),
        CONV1D.dense("mlp.c_fc", "feed_forward/up"),
        CONV1D.dense("mlp.c_proj", "feed_forward/down"),
    ),
    norm("ln_f", "final_norm"),
)
GPT_NEOX = source(
    "gpt_neox",
    under(
        "layers.{i}",
        "layer_{i}",
        rule(
            "attention.query_key_value.weight",
            QKV,
            "(h=num_heads (d + d + d)) i -> i (h d), i (h d), i (h d)",
        ),
        rule(
            "attention.query_key_value.bias",
            QKV_BIASES,
            "(h=num_heads (d + d + d)) -> (h d), (h d), (h d)",
        ),
    ),
)
MIXTRAL = source(
    "mixtral",
    under(
        "layers.{i}",
        "layer_{i}",
        dense("block_sparse_moe.gate", "router", bias=False),
        under(
            "block_sparse_moe.experts.{e}",
            "experts",
            rule("w1.weight", "gate/kernel", "o i -> {e} i o"),
            rule("w2.weight", "down/kernel", "o i -> {e} i o"),
            e="num_experts",
        ),
        # Kept apart, as every third layer does here alone.
        i="num_layers[not ::3]",
    ),
    under(
        "layers.{i}",
        "layer_{i}",
        under("experts.{e}", "expert_{e}", dense("w1", "up"), e="num_experts[1:]"),
        under("shared", "expert_0", dense("w1", "up")),
        i="num_layers[::3]",
    ),
)


def toy(source, ours, **arguments):
    return SimpleNamespace(source=source, ours=ours, arguments=arguments)


def attention(layer, width, inner, bias):
    kernels = {f"{layer}/{name}": (width, inner) for name in QKV}
    return kernels | ({f"{layer}/{name}": (inner,) for name in QKV_BIASES} if bias else {})


def modern_bert(layers=3, width=4, inner=6):
    ours = {"token_embedding/embeddings": (11, width), "embeddings_norm/gamma": (width,)}
    for i in range(layers):
        layer = f"layer_{i}"
        ours |= attention(layer, width, width, bias=False) | {
            f"{layer}/attention/output/kernel": (width, width),
            f"{layer}/feed_forward_norm/gamma": (width,),
            f"{layer}/feed_forward/gate/kernel": (width, inner),
            f"{layer}/feed_forward/up/kernel": (width, inner),
            f"{layer}/feed_forward/down/kernel": (inner, width),
        }
        if i:
            ours[f"{layer}/attention_norm/gamma"] = (width,)
    return toy(MODERN_BERT, ours | {"final_norm/gamma": (width,)}, num_layers=layers)


def gpt2(layers=3, width=4, inner=6):
    def normed(name):
        return {f"{name}/gamma": (width,), f"{name}/beta": (width,)}

    ours = {"token_embedding/embeddings": (11, width), "position_embedding/embeddings": (7, width)}
    for i in range(layers):
        layer = f"layer_{i}"
        ours |= attention(layer, width, width, bias=True)
        ours |= normed(f"{layer}/attention_norm") | normed(f"{layer}/feed_forward_norm")
        for name, (rows, columns) in {
            "attention/output": (width, width),
            "feed_forward/up": (width, inner),
            "feed_forward/down": (inner, width),
        }.items():
            ours |= {f"{layer}/{name}/kernel": (rows, columns), f"{layer}/{name}/bias": (columns,)}
    return toy(GPT2, ours | normed("final_norm"), num_layers=layers)


def gpt_neox(layers=3, heads=2, head_width=3, width=4):
    ours = {}
    for i in range(layers):
        ours |= attention(f"layer_{i}", width, heads * head_width, bias=True)
    return toy(GPT_NEOX, ours, num_layers=layers, num_heads=heads)


def mixtral(layers=3, experts=4, width=4, inner=6):
    ours = {}
    for i in range(layers):
        layer = f"layer_{i}"
        if i % 3:
            ours |= {
                f"{layer}/router/kernel": (width, experts),
                f"{layer}/experts/gate/kernel": (experts, width, inner),
                f"{layer}/experts/down/kernel": (experts, inner, width),
            }
        else:
            for e in range(experts):
                ours[f"{layer}/expert_{e}/up/kernel"] = (width, inner)
                ours[f"{layer}/expert_{e}/up/bias"] = (inner,)
    return toy(MIXTRAL, ours, num_layers=layers, num_experts=experts)


TOYS = {"modern_bert": modern_bert, "gpt2": gpt2, "gpt_neox": gpt_neox, "mixtral": mixtral}
