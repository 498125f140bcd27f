"""Longformer's graph. Beltagy et al., 2020, arXiv:2004.05150; transformers, models/longformer."""

from collections.abc import Mapping, Sequence
from math import lcm
from typing import Any

import numpy as np
from keras import initializers
from keras.layers import Dense, LayerNormalization

from inarch.errors import InputError
from inarch.layers import Block, FeedForward, GlobalLocalAttention
from inarch.models.backbone import Backbone, text_inputs
from inarch.models.roberta.backbone import RobertaBackbone, embed


class LongformerBackbone(Backbone):
    """Longformer encoder (Beltagy et al., 2020, arXiv:2004.05150).

    RoBERTa's graph, whose tokens attend to those near them and to global ones, and these to all.
    Inputs are `token_ids`, `padding_mask` and `global_mask`, int32 `[batch, length]`, the last one
    1 for global tokens and 0 for all others, and `segment_ids` where there is more than one
    segment. Tasks make global what the reference does by default: the first token to classify a
    text, the tokens of the question to answer one, and none for all else. Outputs are
    `sequence_output` `[batch, length, hidden_dim]` and, with `pooler`, `pooled_output`
    `[batch, hidden_dim]`.

    Args:
        vocabulary_size: number of tokens.
        num_layers: number of encoder layers.
        num_heads: attention heads of each layer; must divide `hidden_dim`.
        hidden_dim: width of the encoder.
        intermediate_dim: width of the feedforward layers.
        attention_windows: tokens that the window of each layer spans besides the token itself, an
            even number: half of them on either side.
        dropout: rate after the embeddings and in the residual branches.
        attention_dropout: rate on the attention weights.
        activation: of the feedforward layers; `"gelu"` is the exact one.
        layer_norm_epsilon: of every layer normalization.
        max_sequence_length: the longest sequence.
        padding_id: id of the padding token.
        separator_id: id of the token that ends a question; `None` where it isn't known.
        num_segments: number of segments.
        pooler: whether there is a pooled output.

    Raises:
        InputError: `attention_windows` has another length than `num_layers`, or a window isn't
            even and positive.
    """

    def __init__(
        self,
        vocabulary_size: int,
        num_layers: int,
        num_heads: int,
        hidden_dim: int,
        intermediate_dim: int,
        attention_windows: Sequence[int],
        dropout: float = 0.1,
        attention_dropout: float = 0.1,
        activation: str = "gelu",
        layer_norm_epsilon: float = 1e-12,
        max_sequence_length: int = 510,
        padding_id: int = 1,
        separator_id: int | None = 2,
        num_segments: int = 2,
        pooler: bool = False,
        **kwargs: Any,
    ):
        _check_windows(attention_windows, num_layers)
        inputs = text_inputs("global_mask", *(["segment_ids"] if num_segments > 1 else []))
        context = {name: inputs[name] for name in ("padding_mask", "global_mask")}
        normal = initializers.TruncatedNormal(stddev=0.02)

        x = embed(
            inputs, vocabulary_size, max_sequence_length, hidden_dim, padding_id, num_segments,
            layer_norm_epsilon, dropout, normal,
        )  # fmt: skip
        for i, window in enumerate(attention_windows):
            x = Block(
                GlobalLocalAttention(num_heads, window // 2, attention_dropout, normal),
                FeedForward(intermediate_dim, activation, normal),
                LayerNormalization(epsilon=layer_norm_epsilon),
                dropout=dropout,
                name=f"layer_{i}",
            )(x, context=context)
        outputs = {"sequence_output": x}
        if pooler:
            layer = Dense(hidden_dim, "tanh", kernel_initializer=normal, name="pooler")
            outputs["pooled_output"] = layer(x[:, 0])
        super().__init__(inputs=inputs, outputs=outputs, **kwargs)

    masked_lm = RobertaBackbone.masked_lm
    text_classifier = RobertaBackbone.text_classifier

    @property
    def reference_row_multiple(self) -> int:
        """Return a number of tokens that each window divides.

        The reference pads rows to multiples of the longest one, and refuses what another's isn't.
        """
        return lcm(*self.arguments["attention_windows"])

    def default_inputs(
        self, head: str | None, arrays: Mapping[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        """Return the `global_mask` of rows that a head reads: 1 for its global tokens."""
        ids = arrays["padding_mask"]
        is_global = np.zeros(ids.shape, bool)
        if head == "text_classifier":
            is_global = _places(ids) == 0
        elif head == "question_answering":
            is_global = self._is_question(arrays["token_ids"], ids)
        return {"global_mask": (is_global & (ids != 0)).astype("int32")}

    def _is_question(self, tokens: np.ndarray, ids: np.ndarray) -> np.ndarray:
        """Return which tokens come before the first separator of their sequence."""
        separator = self.arguments["separator_id"]
        if separator is None:
            raise InputError(
                "separator_id=None, so that it isn't known where a question ends, whose tokens are "
                "global. Load the model with separator_id=, or give arrays with a global_mask."
            )
        ends = (tokens == separator) & (ids != 0)
        lacks = np.flatnonzero((ids != 0).any(axis=1) & ~ends.any(axis=1))
        if lacks.size:
            raise InputError(
                f"row {lacks[0]} has no token {separator} (separator_id), so that it isn't known "
                "where its question ends, whose tokens are global. Give a tokenizer that puts this "
                "token after the question, or arrays with a global_mask."
            )
        before = np.cumsum(ends, axis=1)
        first = np.arange(ids.shape[1]) - _places(ids)
        at_first = np.take_along_axis(before - ends, first, axis=1)
        return before == at_first


def _places(ids: np.ndarray) -> np.ndarray:
    """Return the index of each token in its own sequence, of rows of sequence ids."""
    index = np.arange(ids.shape[1])
    starts = np.diff(ids, axis=1, prepend=-1) != 0
    return index - np.maximum.accumulate(np.where(starts, index, 0), axis=1)


def _check_windows(windows: Sequence[int], num_layers: int) -> None:
    if len(windows) != num_layers:
        raise InputError(
            f"attention_windows has {len(windows)} values, and num_layers is {num_layers}; give a "
            "window for each layer"
        )
    for i, window in enumerate(windows):
        if window < 2 or window % 2:
            raise InputError(
                f"attention_windows[{i}]={window}. Pass an even number, 2 or more: half of the "
                "window is on either side of a token."
            )
