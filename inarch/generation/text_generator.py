"""`TextGenerator`, which continues texts with a decoder and its tokenizer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from inarch.data import bucket, by_length
from inarch.errors import InputError
from inarch.generation.generator import Generated, Generator
from inarch.generation.options import GenerationOptions
from inarch.generation.source_encoder import SourceEncoder
from inarch.generation.text import GeneratedText
from inarch.runtime.forward import compiles_per_shape
from inarch.text import Tokenizer
from inarch.validation import shown

# Number of tokens between two looks for stop strings, and of rows that share a look.
STOP_STEP = 8


class TextGenerator:
    """Continuation of encoded prompts as text; with an encoder, text for each encoded source.

    What the methods call prompts are then the encoder's tokens, and each text begins after the
    encoder's `start_ids`.

    Args:
        generator: of tokens.
        tokenizer: the model's.
        encoder: of an encoder-decoder; None for a decoder alone.
    """

    def __init__(
        self, generator: Generator, tokenizer: Tokenizer, encoder: SourceEncoder | None = None
    ):
        self.generator = generator
        self.encoder = encoder
        self._tokenizer = tokenizer
        # A model may have rows beyond its tokenizer, which are no token's.
        vocabulary = enumerate(tokenizer.get_vocabulary())
        self._known = frozenset(index for index, token in vocabulary if token)

    def check_room(
        self,
        prompts: Sequence[Sequence[int]],
        texts: Sequence[str],
        options: GenerationOptions,
    ) -> None:
        """Raise InputError unless all prompts have tokens, and there is room for one more.

        Args:
            prompts: token ids of each.
            texts: the prompts as an error shows them.
            options: of generation.
        """
        reader: Any = self.encoder or self.generator.decoder
        most = reader.max_length
        for i, ids in enumerate(prompts):
            if not ids:
                raise InputError(
                    f"prompt {i} has no tokens: {shown(texts[i])}; give a text to go on from, such "
                    "as a line end"
                )
            if most is not None and len(ids) > most:
                raise InputError(
                    f"prompt {i} has {len(ids)} tokens, and the model {most} positions; shorten "
                    f"it: {shown(texts[i])}"
                )
            length = len(ids) if self.encoder is None else len(self.encoder.start_ids)
            if options.limit(length) < 1:
                raise InputError(
                    f"prompt {i} has {length} tokens, and max_length is {options.max_length}; "
                    "give max_new_tokens in its place"
                )

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        options: GenerationOptions,
        seed: int | None,
        batch_size: int,
    ) -> list[list[str]]:
        """Return the texts that follow each prompt, `options.num_return_sequences` of them.

        Args:
            prompts: token ids of each.
            options: of generation.
            seed: of sampling; None for a new one.
            batch_size: most rows of a batch; beam search computes several sequences for each.
        """
        number = options.num_return_sequences
        copies = number if options.do_sample else 1
        rows = [prompt for prompt in prompts for _ in range(copies)]
        seeds = row_seeds(seed, len(rows))
        texts: list[list[str]] = [[] for _ in rows]
        reader: Any = self.encoder or self.generator.decoder
        limit, exact = reader.max_length, not compiles_per_shape()
        for batch in by_length([len(ids) for ids in rows], batch_size, limit, exact):
            # Rows beyond the batch are its last one again, and left out.
            indices = [*batch.indices, *[batch.indices[-1]] * (batch.rows - len(batch.indices))]
            chosen, drawn = [rows[i] for i in indices], [seeds[i] for i in indices]
            given = self._arguments(chosen, options, drawn, batch.length)
            follow = self._beams if options.num_beams > 1 else self._until_stopped
            found = follow(given, options)
            for i, several in zip(batch.indices, found, strict=False):
                texts[i] = several
        joined = [text for several in texts for text in several]
        return [joined[i : i + number] for i in range(0, len(joined), number)]

    def stream(
        self, prompt: Sequence[int], options: GenerationOptions, seed: int | None
    ) -> Iterator[str]:
        """Yield the text that follows a prompt, piece by piece as its tokens come."""
        length = bucket(len(prompt)) if compiles_per_shape() else len(prompt)
        given = self._arguments([prompt], options, row_seeds(seed, 1), length)
        text, tokens = self._text_after(given["prompts"][0], options), []
        for found in self._steps(given, 1):
            (tokens,) = found.rows()
            if piece := text.update(tokens):
                yield piece
            if text.stopped:
                return
        if piece := text.update(tokens, is_last=True):
            yield piece

    def _until_stopped(
        self, given: Mapping[str, Any], options: GenerationOptions
    ) -> list[list[str]]:
        """Return a text for each row, generated until all have come to a stop string or an end."""
        texts = [self._text_after(row, options) for row in given["prompts"]]
        pieces, tokens = [""] * len(texts), list[list[int]]()
        most = max(given["max_new_tokens"])
        for found in self._steps(given, STOP_STEP if options.stops else most):
            tokens = found.rows()
            pieces = [p + t.update(ids) for p, t, ids in zip(pieces, texts, tokens, strict=True)]
            if all(text.stopped for text in texts):
                break
        ends = [text.update(ids, is_last=True) for text, ids in zip(texts, tokens, strict=True)]
        return [[piece + end] for piece, end in zip(pieces, ends, strict=True)]

    def _beams(self, given: Mapping[str, Any], options: GenerationOptions) -> list[list[str]]:
        """Return the texts of the best beams of each row."""
        found, number = self.generator.generate(**given).rows(), options.num_return_sequences
        return [
            [
                self._text_after(row, options).update(tokens, is_last=True)
                for tokens in found[place * number : (place + 1) * number]
            ]
            for place, row in enumerate(given["prompts"])
        ]

    def _steps(self, given: Mapping[str, Any], step: int) -> Iterator[Generated]:
        room = bucket(max(given["max_new_tokens"]))
        return self.generator.stream(new_token_room=room, step=step, **given)

    def _arguments(
        self,
        rows: Sequence[Sequence[int]],
        options: GenerationOptions,
        seeds: Sequence[int],
        length: int,
    ) -> dict[str, Any]:
        """Return the arguments of `Generator` for some rows, the same for all of like lengths.

        Args:
            length: that an encoder's rows are padded to.
        """
        encoded = {} if self.encoder is None else self.encoder.encode(rows, length)
        prompts = rows if self.encoder is None else [self.encoder.start_ids] * len(rows)
        return {
            "prompts": prompts,
            "strategy": options.strategy(seeds),
            "logits_processors": options.processors(),
            "max_new_tokens": [options.limit(len(prompt)) for prompt in prompts],
            "prompt_room": bucket(max(map(len, prompts))) if self.encoder is None else 1,
            "end_ids": options.end_ids,
            **encoded,
        }

    def _text_after(self, prompt: Sequence[int], options: GenerationOptions) -> GeneratedText:
        """Return the text that is to follow a prompt."""
        # Some tokenizers leave out the space at the beginning of a text, but not within it.
        length = len(self._decode(prompt))
        return GeneratedText(
            lambda token_ids: self._decode([*prompt, *token_ids])[length:], options.stops
        )

    def _decode(self, token_ids: Sequence[int]) -> str:
        return self._tokenizer.decode([i for i in token_ids if i in self._known])


def row_seeds(seed: int | None, rows: int) -> list[int]:
    """Return a seed for each row of a call, drawn from NumPy's global state where none is given."""
    first = int(np.random.randint(2**31)) if seed is None else int(seed)
    return [(first + row * 0x9E3779B1) % 2**32 for row in range(rows)]
