"""Whisper model that encodes, decodes and aligns batches of windows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import keras
import numpy as np

from inarch.audio import WINDOW_FRAMES
from inarch.backend import block_until_ready, runs_on_cpu
from inarch.errors import ConfigError, InputError
from inarch.generation import (
    Generator,
    Greedy,
    Sample,
    Strategy,
    WhisperBeamSearch,
)
from inarch.generation.compiled import compile_function
from inarch.models.decoder_stack import DecoderStack
from inarch.runtime.forward import compiled, compiles_per_shape, softmax
from inarch.runtime.memory import release_memory
from inarch.speech.alignment import alignment_matrix, word_timings
from inarch.speech.configs import GENERATION, declared_value
from inarch.speech.logits_processors import build_logits_processors
from inarch.speech.options import DecodingOptions, DecodingResult
from inarch.speech.windows import FRAMES_PER_TIMESTAMP
from inarch.speech.words import WordTiming

# Lengths of aligned sequences are rounded up to a multiple, to compile few programs.
ALIGNED_STEP = 32


@dataclass(frozen=True)
class Encoded:
    """Batch of encoded windows.

    Attributes:
        rows: number of windows.
        cross_attention_cache: of the encoder's output; filled up to the batch size.
    """

    rows: int
    cross_attention_cache: Any


class WhisperRunner:
    """Whisper model on windows of 30 s (see `WindowModel`).

    Args:
        backbone: a `WhisperBackbone`.
        tokenizer: its `WhisperTokenizer`.
        generation: the content of generation_config.json; openai-whisper's values by default.
        head: layer of the logits, where they aren't tied to the embeddings.

    Raises:
        InputError: the model isn't one of windows of 30 s.
    """

    def __init__(
        self, backbone: Any, tokenizer: Any, generation: Mapping[str, Any], head: Any = None
    ):
        sizes = backbone.arguments
        positions = sizes["max_encoder_sequence_length"]
        if positions * FRAMES_PER_TIMESTAMP != WINDOW_FRAMES:
            raise InputError(
                f"max_encoder_sequence_length is {positions}; transcription needs a model with "
                f"the {WINDOW_FRAMES // FRAMES_PER_TIMESTAMP} positions of a window of 30 s"
            )
        self.tokenizer = tokenizer
        self.generation = generation
        self._sizes = sizes
        self._decoder = backbone.decoder_stack(head)
        self._generator = Generator(self._decoder, tokenizer.end_of_text)
        self._encoder = compiled(backbone.encoder())
        self._make_cache = compile_function(self._decoder, self._decoder.make_cross_attention_cache)
        heads = self._alignment_heads()
        self._scores = compile_function(
            self._decoder, lambda ids, cache: alignment_scores(self._decoder, ids, cache, heads)
        )

    # --- windows -------------------------------------------------------------------------------

    def encode(self, features: np.ndarray) -> Encoded:
        rows = len(features)
        if runs_on_cpu():
            # A batch takes as long as its windows one by one, and more memory.
            parts = [block_until_ready(self._encode(features[i : i + 1])) for i in range(rows)]
            parts += parts[-1:] * (padded_batch_size(rows) - rows)
            return Encoded(rows, _concatenate(parts) if len(parts) > 1 else parts[0])
        filling = features[-1:].repeat(padded_batch_size(rows) - rows, axis=0)
        return Encoded(rows, self._encode(np.concatenate([features, filling])))

    def _encode(self, features: np.ndarray) -> Any:
        features = np.ascontiguousarray(features.swapaxes(1, 2))
        return self._make_cache(self._encoder({"encoder_features": features}))

    def select(self, encoded: Encoded, rows: Sequence[int]) -> Encoded:
        filled = [*rows, *[rows[-1]] * (padded_batch_size(len(rows)) - len(rows))]
        indices = np.asarray(filled, np.int32)
        reorder = self._decoder.reorder_cache
        cache = reorder(encoded.cross_attention_cache, padded_batch_size(encoded.rows), indices)
        return Encoded(len(rows), cache)

    def decode(self, encoded: Encoded, options: DecodingOptions) -> list[DecodingResult]:
        start, rows = self._start(options), encoded.rows
        prefix = self._prefix(options, len(start))
        prompt = [*self.prompt_tokens(options), *start, *prefix]
        generated = self._generator.generate(
            [prompt] * padded_batch_size(rows),
            cross_attention_cache=encoded.cross_attention_cache,
            strategy=self._strategy(options),
            logits_processors=build_logits_processors(
                options, self.tokenizer, self.generation, self._decoder.vocabulary_size
            ),
            max_new_tokens=options.max_tokens or self._decoder.max_length // 2,
            logits_at=-len(start) - len(prefix),
            prompt_room=options.prompt_room + 1 + len(start) + len(prefix),
        )
        release_memory()
        assert generated.prompt_logits is not None
        no_speech = softmax(generated.prompt_logits)[:, self.tokenizer.no_speech]
        return [
            self._make_result(tokens, float(total), float(silent), options)
            for tokens, total, silent in zip(
                generated.rows()[:rows], generated.log_probs, no_speech, strict=False
            )
        ]

    def detect_languages(self, encoded: Encoded) -> list[dict[str, float]]:
        """Return the probabilities of languages for each window, likeliest first."""
        rows = encoded.rows
        codes = self.tokenizer.languages
        logits = self._generator.logits(
            [[self.tokenizer.start_of_transcript]] * padded_batch_size(rows),
            cross_attention_cache=encoded.cross_attention_cache,
        )
        probabilities = softmax(logits[:rows, list(codes.values())])
        return [
            dict(sorted(zip(codes, map(float, row), strict=True), key=lambda x: x[1], reverse=True))
            for row in probabilities
        ]

    def align(
        self, encoded: Encoded, tokens: Sequence[int], frames: int, options: DecodingOptions
    ) -> list[WordTiming]:
        end = self.tokenizer.end_of_text
        start = self.tokenizer.start_sequence(options.language, options.task)
        whole = [*start, self.tokenizer.no_timestamps, *tokens, end]
        length = min(-(-len(whole) // ALIGNED_STEP) * ALIGNED_STEP, self._decoder.max_length)
        filled = np.full((1, length), end, np.int32)
        filled[0, : len(whole)] = whole
        logits, scores = self._scores(filled, encoded.cross_attention_cache)
        first, last = len(start), len(whole)
        # The logits of a position are those of the token after it.
        probabilities = softmax(np.asarray(_numpy(logits)[0, first : last - 2, :end]))
        matrix = alignment_matrix(_numpy(scores)[0, :, :last], frames)[first:-1]
        words, parts = self.tokenizer.split_to_words([*tokens, end], options.language)
        return word_timings(
            matrix, words, parts, probabilities[np.arange(len(tokens)), tokens].tolist()
        )

    # --- options of the generator --------------------------------------------------------------

    def _start(self, options: DecodingOptions) -> tuple[int, ...]:
        return self.tokenizer.start_sequence(options.language, options.task, options.timestamps)

    def prompt_tokens(self, options: DecodingOptions) -> list[int]:
        """Return the tokens before the start tokens: hotwords, and as much text as fits."""
        hotwords, limit = options.hotwords[: self.prompt_limit], self.prompt_limit
        if not hotwords and not options.prompt:
            return []
        # With hotwords, a quarter of the positions is reserved for the window's own text.
        room = 3 * self._decoder.max_length // 4 - len(hotwords) - len(self._start(options)) - 1
        limit = min(limit, max(room, 0)) if hotwords else limit
        before = options.prompt[-limit:] if limit else ()
        return [self.tokenizer.start_of_prev, *hotwords, *before]

    def _prefix(self, options: DecodingOptions, start: int) -> tuple[int, ...]:
        """Return the prefix after `start` start tokens; with `max_tokens`, its last that fit."""
        half = self._decoder.max_length // 2
        room = half - options.max_tokens if options.max_tokens is not None else 0
        prefix = options.prefix[-room:] if room > 0 else options.prefix
        if len(prefix) > half - start:
            raise InputError(
                f"prefix has {len(prefix)} tokens, and there is room for {half - start}; shorten it"
            )
        return prefix

    @property
    def prompt_limit(self) -> int:
        """The maximal number of prompt tokens of a window."""
        return self._decoder.max_length // 2 - 1

    def _strategy(self, options: DecodingOptions) -> Strategy:
        if options.temperature > 0:
            return Sample(
                options.temperature, options.best_of or 1, options.seed, options.length_penalty
            )
        if options.beam_size is not None:
            return WhisperBeamSearch(
                options.beam_size, options.patience or 1.0, options.length_penalty
            )
        return Greedy()

    def _alignment_heads(self) -> Sequence[Sequence[int]]:
        """Return [layer, head] of the alignment heads; by default of the last half of layers."""
        layers, heads = self._sizes["num_decoder_layers"], self._sizes["num_decoder_heads"]
        declared = declared_value(self.generation, "alignment_heads")
        for layer, head in declared or ():
            if layer >= layers or head >= heads:
                raise ConfigError(
                    f"{GENERATION}: 'alignment_heads' has [{layer}, {head}], and the model has "
                    f"{layers} layers of {heads} heads; remove it, or all of them"
                )
        return declared or list(product(range(layers // 2, layers), range(heads)))

    # --- results -------------------------------------------------------------------------------

    def _make_result(
        self, tokens: Sequence[int], total: float, silent: float, options: DecodingOptions
    ) -> DecodingResult:
        text = self.tokenizer.decode(tokens).strip()
        return DecodingResult(tokens, text, total / (len(tokens) + 1), silent, options.temperature)


def alignment_scores(
    decoder: DecoderStack, token_ids: Any, cache: Any, heads: Sequence[Sequence[int]]
) -> tuple[Any, Any]:
    """Return logits of whole sequences, and the cross-attention of the alignment heads.

    Returns:
        float32 `[batch, length, vocabulary_size]` and `[batch, heads, length, positions]`.
    """
    hidden, scores = decoder.cross_attention_scores(token_ids, cache)
    chosen = keras.ops.stack([scores[layer][:, head] for layer, head in heads], axis=1)
    return keras.ops.cast(decoder.logits(hidden), "float32"), keras.ops.cast(chosen, "float32")


def _concatenate(parts: list[Any]) -> Any:
    """Concatenate caches by rows; frees each on the way, so that little is held twice."""
    nest = keras.tree.map_structure(lambda tensor: 0, parts[0])
    flat = [keras.tree.flatten(part) for part in parts]
    parts.clear()
    joined = []
    for i in range(len(flat[0])):
        release_memory()
        joined.append(block_until_ready(keras.ops.concatenate([part[i] for part in flat])))
        for part in flat:
            part[i] = None
    return keras.tree.pack_sequence_as(nest, joined)


def padded_batch_size(rows: int) -> int:
    """Return the batch size, rounded up to a power of two where shapes are compiled."""
    return 1 << (rows - 1).bit_length() if compiles_per_shape() else rows


def _numpy(tensor: Any) -> np.ndarray:
    return keras.ops.convert_to_numpy(tensor)
