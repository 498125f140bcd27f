"""Description of a decoder, from which its cached steps follow."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras

from inarch.backend import runs_on_cpu
from inarch.errors import InputError
from inarch.layers import Block
from inarch.layers.cache import cache_length
from inarch.layers.prepacked import prepacked_logits
from inarch.models.origin import ties_embeddings

ops: Any = keras.ops  # Typed, every result may be None.

# From this many rows on, XLA on a CPU multiplies a table with rows faster than rows with a table.
FEW_ROWS = 4

# Of positions that have no last one.
NO_LIMIT = 2**30


class DecoderStack:
    """Embedding, causal blocks, final norm and logits of a decoder: an `inarch.generation.Decoder`.

    A backbone describes its decoder by its own layers; the description holds no weights. Each
    attention makes, updates and reorders its own caches. The caches of the stack are a list of
    what `Block.init_cache` returns, and its cross-attention caches, computed once from the output
    of an encoder, a list of what `Block.make_cross_attention_cache` returns.

    Args:
        embedding: layer from token ids to vectors, with the variables of all tables.
        blocks: in order.
        norm: layer after the last block; `None` for none.
        max_length: maximal length of a sequence; `None` for positions that have no last one.
        embed: function of token ids and a context; `None` calls `embedding` with the context's
            `positions`, as learned positions need.
        head: layer from hidden states to logits; `None` multiplies with the token embeddings.
        logits_scale: factor on hidden states that the token embeddings are multiplied with.
        logits_layer: layer that is called on logits, such as `LogitsBias`; `None` for none.
        projection: layer after `norm`, to the width of the token embeddings; `None` for none.
        embeddings_norm: layer on what is embedded; `None` for none.
        relative_bias: layer of the bias on scores that the self-attention of all blocks shares,
            called as a `RelativePositionBias`; `None` for none.
    """

    def __init__(
        self,
        embedding: Any,
        blocks: Sequence[Block],
        norm: keras.layers.Layer | None,
        max_length: int | None,
        embed: Callable[[Any, Mapping[str, Any]], Any] | None = None,
        head: keras.layers.Layer | None = None,
        *,
        logits_scale: float = 1.0,
        logits_layer: keras.layers.Layer | None = None,
        projection: keras.layers.Layer | None = None,
        embeddings_norm: keras.layers.Layer | None = None,
        relative_bias: keras.layers.Layer | None = None,
    ):
        self.embedding = embedding
        self.token_embedding = getattr(embedding, "token_embedding", embedding)
        self.blocks = blocks
        self.norm = norm
        self.head = head
        self.logits_scale = logits_scale
        self.logits_layer = logits_layer
        self.projection = projection
        self.embeddings_norm = embeddings_norm
        self.relative_bias = relative_bias
        self.max_length: int = NO_LIMIT if max_length is None else max_length
        self.vocabulary_size: int = self.token_embedding.input_dim
        self.hidden_size: int = self.token_embedding.output_dim
        self.compute_dtype: str = self.token_embedding.compute_dtype
        self.embed = embed or (lambda ids, context: embedding(ids, positions=context["positions"]))
        layers = [embedding, *blocks, norm, projection, head, logits_layer]
        layers += [embeddings_norm, relative_bias]
        self.variables = [v for layer in layers if layer is not None for v in layer.variables]

    def init_cache(self, rows: int, length: int) -> list[Any]:
        return [block.init_cache(rows, length) for block in self.blocks]

    def share_cache(self, caches: Any, beams: int) -> list[Any]:
        pairs = zip(self.blocks, caches, strict=True)
        return [block.share_cache(cache, beams) for block, cache in pairs]

    def reorder_cache(self, caches: Any, rows: int, indices: Any) -> list[Any]:
        pairs = zip(self.blocks, caches, strict=True)
        return [block.reorder_cache(cache, rows, indices) for block, cache in pairs]

    def make_cross_attention_cache(self, encoder_sequence: Any) -> list[Any]:
        """Return the cross-attention caches of an encoder's output `[rows, S, dim]`."""
        return [block.make_cross_attention_cache(encoder_sequence) for block in self.blocks]

    def step(
        self, token_ids: Any, caches: Any, context: Mapping[str, Any]
    ) -> tuple[Any, list[Any]]:
        x, outputs = self._apply(token_ids, caches, context)
        return x, [{"attention": found["attention"]["cache"]} for found in outputs]

    def cross_attention_scores(
        self, token_ids: Any, cross_attention_cache: Any
    ) -> tuple[Any, list[Any]]:
        """Return hidden states of whole sequences, and where their cross-attention looks.

        Args:
            token_ids: int32 `[rows, length]`, without padding.
            cross_attention_cache: of `make_cross_attention_cache`.

        Returns:
            float `[rows, length, dim]`, and for each block the probabilities of its
            cross-attention, float `[rows, heads, length, S]`.
        """
        positions = ops.expand_dims(ops.arange(token_ids.shape[1], dtype="int32"), 0)
        context = {"positions": positions, "cross_attention_cache": cross_attention_cache}
        x, outputs = self._apply(token_ids, [{}] * len(self.blocks), context, cross_scores=True)
        return x, [found["cross_attention"]["scores"] for found in outputs]

    def _apply(
        self,
        token_ids: Any,
        caches: Sequence[Any],
        context: Mapping[str, Any],
        cross_scores: bool = False,
    ) -> tuple[Any, list[Any]]:
        """Return normed hidden states, and what each block returns in addition to its output."""
        x = self.embed(token_ids, context)
        x = x if self.embeddings_norm is None else self.embeddings_norm(x)
        context = {**context, **self._bias(x, caches[0], context)}
        cross_caches = context.get("cross_attention_cache") or [{}] * len(self.blocks)
        outputs = []
        for block, cache, cross in zip(self.blocks, caches, cross_caches, strict=True):
            own = {
                "causal": True,
                "cache": cache.get("attention"),
                "cross": {
                    "cache": cross.get("cross_attention"),
                    "mask": context.get("cross_attention_mask"),
                    "return_attention_scores": cross_scores,
                },
            }
            x, found = block.apply(x, {**context, **own})
            outputs.append(found)
        x = x if self.norm is None else self.norm(x)
        return x if self.projection is None else self.projection(x), outputs

    def _bias(self, x: Any, cache: Mapping[str, Any], context: Mapping[str, Any]) -> dict[str, Any]:
        """Return the entry of a context that has the bias on the scores of all blocks."""
        if self.relative_bias is None:
            return {}
        own = cache.get("attention")
        keys = None if own is None else cache_length(own)
        start = context.get("cache_index", 0)
        return {"attention_bias": self.relative_bias(x, start_index=start, key_length=keys)}

    def logits(self, hidden: Any) -> Any:
        found = self._products(hidden)
        return found if self.logits_layer is None else self.logits_layer(found)

    def _products(self, hidden: Any) -> Any:
        if self.head is not None:
            return self.head(hidden)
        if self.logits_scale != 1:
            hidden = hidden * self.logits_scale
        if self.token_embedding.tie_weights:
            if keras.backend.backend() == "torch":
                found = prepacked_logits(self.token_embedding, hidden)
                if found is None:
                    found = _torch_logits(hidden, self.token_embedding.embeddings)
                return found
            if keras.backend.backend() == "jax" and runs_on_cpu() and hidden.shape[0] >= FEW_ROWS:
                return _jax_logits(hidden, self.token_embedding.embeddings)
        return self.token_embedding(hidden, reverse=True)


def check_output_embeddings(backbone: Any, head: Any) -> None:
    """Raise InputError where a decoder has no head and needs one.

    The output embeddings of a checkpoint that doesn't tie them are no part of the backbone.
    """
    if head is None and backbone.layout and not ties_embeddings(backbone):
        raise InputError(
            "head=None, and config.json has tie_word_embeddings=False. The output embeddings "
            "are no part of the backbone: pass a layer that has them, from hidden states to "
            "logits."
        )


def _jax_logits(hidden: Any, embeddings: Any) -> Any:
    """Return products of rows with embeddings, computed in the order of the table.

    XLA takes half as long again where rows come first, and reads the result in either order.
    """
    import jax

    table = ops.cast(ops.convert_to_tensor(embeddings), hidden.dtype)
    return jax.lax.dot_general(table, hidden, (((1,), (1,)), ((), ()))).T


def _torch_logits(hidden: Any, embeddings: Any) -> Any:
    """Return products of rows with embeddings by blocks: MKL takes twice as long for the whole."""
    table = ops.cast(ops.convert_to_tensor(embeddings), hidden.dtype)
    size, width = table.shape
    blocks = next(n for n in (24, 23, 11, 8, 5, 4, 3, 2, 1) if size % n == 0)
    if blocks == 1 or hidden.ndim > 2 or len(hidden) > 16:
        return hidden @ table.T
    columns = hidden.T[None].expand(blocks, width, len(hidden))
    return (table.view(blocks, -1, width) @ columns).reshape(size, len(hidden)).T
