"""BART, mBART, PEGASUS, Marian and M2M100 as transformers stores them (models/bart and so on)."""

from collections.abc import Mapping
from typing import Any

from inarch.checkpoints.maps.config import (
    ACTIVATIONS,
    ENCODER_DECODER,
    choice,
    constant,
    fallback,
    field,
    ignored,
    must_be,
    probability,
    token_id,
    with_defaults,
)
from inarch.checkpoints.maps.rule import (
    dense,
    derived,
    embedding,
    norm,
    rule,
    tied,
    under,
    unless,
    when,
)
from inarch.checkpoints.maps.source import Head, Source
from inarch.models.bart.backbone import SINUSOIDS

# Tables to be checked against the reference, line by line.
# fmt: off
# The two stacks, each with other names of its number of layers and heads.
STACKS = (("encoder", ("num_hidden_layers",), ("num_attention_heads",)), ("decoder", (), ()))
SHARED = [
    field("vocab_size", "vocabulary_size", 50265),
    [[field(f"{stack}_layers", f"num_{stack}_layers", 12, aliases=layers),
      field(f"{stack}_attention_heads", f"num_{stack}_heads", 16, aliases=heads),
      field(f"{stack}_ffn_dim", f"{stack}_intermediate_dim", 4096)]
        for stack, layers, heads in STACKS],
    field("d_model", "hidden_dim", 1024, aliases=("hidden_size",)),
    probability("dropout", "dropout", 0.1),
    probability("attention_dropout", "attention_dropout", 0.0),
    probability("activation_dropout", "activation_dropout", 0.0),
    choice("activation_function", "activation", "gelu", values=ACTIVATIONS),
    field("max_position_embeddings", "max_sequence_length", 1024),
    field("scale_embedding", "scale_embedding", False),
    token_id("pad_token_id", "padding_id", 1),
    must_be("tie_word_embeddings", True),
    ignored("encoder_layerdrop", "decoder_layerdrop", "init_std",
        reason="of training alone: layers that are left out, and initial weights"),
    ENCODER_DECODER,
]


def attention(theirs: str, ours: str) -> list[Any]:
    return under(theirs, ours, *(dense(f"{name}_proj", part) for name, part in
        (("q", "query"), ("k", "key"), ("v", "value"), ("out", "output"))))


def stack(name: str, *cross_attention: Any) -> list[Any]:
    table, positions = f"{name}.embed_tokens", f"{name}.embed_positions"
    return [
        unless("shared_embeddings", embedding(table, f"{name}_embedding/token_embedding")),
        when("shared_embeddings", tied(f"{table}.weight", "shared.weight")),
        when(lambda arguments: arguments["positions"] == "learned",
            embedding(positions, f"{name}_embedding/position_embedding")),
        when(lambda arguments: arguments["positions"] == "sinusoidal",
            derived(f"{positions}.weight", lambda shape: SINUSOIDS.table(*shape),
                reason="table of sinusoids")),
        when("embedding_norm", norm(f"{name}.layernorm_embedding", f"{name}_embedding/norm")),
        under(f"{name}.layers.{{i}}", f"{name}_layer_{{i}}",
            attention("self_attn", "attention"),
            norm("self_attn_layer_norm", "attention_norm"),
            cross_attention,
            dense("fc1", "feed_forward/up"),
            dense("fc2", "feed_forward/down"),
            norm("final_layer_norm", "feed_forward_norm"),
            i=f"num_{name}_layers"),
        when("normalize_first", norm(f"{name}.layer_norm", f"{name}_norm")),
    ]


WEIGHTS = [
    when("shared_embeddings", embedding("shared", "encoder_embedding/token_embedding")),
    stack("encoder"),
    stack("decoder",
        attention("encoder_attn", "cross_attention"),
        norm("encoder_attn_layer_norm", "cross_attention_norm")),
]
# Arguments that differ between the architectures, where they are constants of the code.
BART_GRAPH = {"positions": "learned", "normalize_first": False, "embedding_norm": True,
    "shared_embeddings": True, "decoder_vocabulary_size": None, "logits_bias": True}
# Those that heads over texts read, which BART and mBART have.
OTHERS = {**BART_GRAPH, "start_id": None, "end_id": None}


def make_source(
    model_type: str,
    family: str,
    *entries: Any,
    graph: Mapping[str, Any],
    language_model: str = "ForConditionalGeneration",
    reads_texts: bool = False,
    **defaults: Any,
) -> Source:
    """Return the format of an architecture with this graph.

    Args:
        entries: those of its config for which the others' code has constants.
        graph: the arguments that are constants of its code.
        language_model: the end of its language model's class.
        reads_texts: whether it has heads over a text that both stacks read.
        defaults: its defaults for the fields of `SHARED`.
    """
    return Source(
        model_type=model_type,
        architecture=f"{family}Model",
        prefix="model.",
        config=[with_defaults(SHARED, **defaults), entries,
            [token_id("eos_token_id", "end_id", 2)] if reads_texts else [],
            must_be("normalize_before", graph["normalize_first"],
                reason="versions of transformers before 4 read it"),
            [constant(name, value) for name, value in graph.items()]],
        weights=WEIGHTS,
        optional_layers={"single_text": ()},
        heads={
            "seq2seq_lm": Head(
                (f"{family}{language_model}",),
                when("logits_bias",
                    rule("final_logits_bias", "logits_bias/bias", "one=1 v -> (one v)")),
                tied=[
                    when("shared_embeddings", tied("lm_head.weight", ".shared.weight")),
                    unless("shared_embeddings",
                        tied("lm_head.weight", ".decoder.embed_tokens.weight")),
                ],
                zeros=("logits_bias/bias",),
            ),
            **({
                "text_classifier": Head(
                    (f"{family}ForSequenceClassification",),
                    [dense("classification_head.dense", "pooled_dense"),
                     dense("classification_head.out_proj", "logits")],
                    config=[probability("classifier_dropout", "dropout", 0.0)],
                    requires=("single_text",),
                ),
                "question_answering": Head(
                    (f"{family}ForQuestionAnswering",), dense("qa_outputs", "logits"),
                    requires=("single_text",),
                ),
            } if reads_texts else {}),
        },
        ignored_tensors={
            "*coder.version": "a number of fairseq's",
            "*.embed_positions.weights": "a table of sinusoids, which M2M100's code makes anew",
        },
    )


BART = make_source("bart", "Bart",
    token_id("decoder_start_token_id", "start_id", 2),
    graph=BART_GRAPH,
    reads_texts=True)
# Its decoder begins with the last token of a text, which names a language.
MBART = make_source("mbart", "MBart",
    graph={**BART_GRAPH, "start_id": None, "normalize_first": True},
    reads_texts=True)
PEGASUS = make_source("pegasus", "Pegasus",
    graph={**OTHERS, "positions": "sinusoidal", "normalize_first": True, "embedding_norm": False},
    pad_token_id=0)
MARIAN = make_source("marian", "Marian",
    field("share_encoder_decoder_embeddings", "shared_embeddings", True),
    fallback("decoder_vocab_size", "decoder_vocabulary_size", other="vocab_size"),
    graph={"positions": "sinusoidal", "normalize_first": False, "embedding_norm": False,
        "logits_bias": True, "start_id": None, "end_id": None},
    language_model="MTModel", vocab_size=58101, pad_token_id=58100)
M2M100 = make_source("m2m_100", "M2M100",
    graph={**OTHERS, "positions": "sinusoidal_after_padding", "normalize_first": True,
        "embedding_norm": False, "logits_bias": False},
    vocab_size=128112, attention_dropout=0.1, activation_function="relu", scale_embedding=True)
