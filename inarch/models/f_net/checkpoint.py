"""FNet as transformers stores it (models/fnet/modeling_fnet.py)."""

from dataclasses import replace

import numpy as np

from inarch.checkpoints.maps.config import (
    ACTIVATIONS,
    ENCODER_ONLY,
    PADDING_ROW,
    choice,
    field,
    ignored,
    probability,
)
from inarch.checkpoints.maps.rule import dense, derived, embedding, norm, under, unused
from inarch.checkpoints.maps.source import Source
from inarch.models.bert import checkpoint as bert

# A table to be checked against the reference, line by line.
# fmt: off
HUGGING_FACE = Source(
    model_type="fnet",
    architecture="FNetModel",
    prefix="fnet.",
    config=[
        field("vocab_size", "vocabulary_size", 32000),
        field("num_hidden_layers", "num_layers", 12),
        field("hidden_size", "hidden_dim", 768),
        field("intermediate_size", "intermediate_dim", 3072),
        probability("hidden_dropout_prob", "dropout", 0.1),
        choice("hidden_act", "activation", "gelu_new", values=ACTIVATIONS),
        field("layer_norm_eps", "layer_norm_epsilon", 1e-12),
        field("max_position_embeddings", "max_sequence_length", 512),
        field("type_vocab_size", "num_segments", 4),
        ENCODER_ONLY,
        PADDING_ROW,
        ignored(
            "use_tpu_fourier_optimizations", "tpu_short_seq_length",
            reason="another way to the same numbers, which runs on sequences of one length alone",
        ),
        ignored("use_fft", "max_seq_length",
            reason="settings of before the first release, which no release reads"),
    ],
    weights=[
        embedding("embeddings.word_embeddings", "embeddings/token_embedding"),
        embedding("embeddings.position_embeddings", "embeddings/position_embedding"),
        embedding("embeddings.token_type_embeddings", "segment_embedding"),
        norm("embeddings.LayerNorm", "embeddings_norm"),
        dense("embeddings.projection", "embeddings_projection"),
        under("encoder.layer.{i}", "layer_{i}",
            norm("fourier.output.LayerNorm", "attention_norm"),
            dense("intermediate.dense", "feed_forward/up"),
            dense("output.dense", "feed_forward/down"),
            norm("output.LayerNorm", "feed_forward_norm"),
            unused("fourier.self.dft_mat_hidden",
                reason="Fourier transform of the width as a matrix"),
            unused("fourier.self.dft_mat_seq",
                reason="Fourier transform of one length as a matrix")),
        dense("pooler.dense", "pooler"),  # of every class, used or not
        derived("embeddings.position_ids", lambda shape: np.arange(shape[-1]).reshape(shape),
            reason="range of positions"),
    ],
    heads={
        # The heads' tensors have BERT's names, in classes of another; dropout has no field.
        name: replace(
            head, config=(), requires=(),
            architectures=tuple(a.replace("Bert", "FNet") for a in head.architectures),
        )
        for name, head in bert.HUGGING_FACE.heads.items()
    },
)
