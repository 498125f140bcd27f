"""`Generator`: tokens from a decoder."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from inarch.errors import InputError
from inarch.generation.compiled import Run, compiled, compiled_prefill
from inarch.generation.decoder import Decoder
from inarch.generation.program import CHUNK, Prefill, Program
from inarch.generation.rules import Rule, arrays_of
from inarch.generation.strategy import Greedy, Strategy

# Lengths are rounded up to these, so that few programs are compiled.
PROMPT_LENGTHS = (1, 4, 32, CHUNK, 256)
LENGTH_STEP = 32


@dataclass(frozen=True)
class Generated:
    """What was generated, row by row.

    Attributes:
        token_ids: int32 `[rows, longest]`; the end token stands from the end of a row on.
        lengths: int32 `[rows]`, tokens of a row before its end token.
        log_probs: float32 `[rows]`, the sum of the log-probabilities of a row's tokens, its end
            token's included if it came.
        watched: float32 `[rows, vocabulary]`, the logits after the prompt's token that was asked
            for, before any rule; or None.
    """

    token_ids: np.ndarray
    lengths: np.ndarray
    log_probs: np.ndarray
    watched: np.ndarray | None = None

    def rows(self) -> list[list[int]]:
        """The tokens of each row, up to its end."""
        pairs = zip(self.token_ids, self.lengths, strict=True)
        return [row[:length].tolist() for row, length in pairs]


class Generator:
    """Generates tokens with a decoder: it compiles what is needed once and keeps it.

    Rows go through the loop together and end each by itself. A row's result doesn't depend on
    the rows beside it. Prompts of different lengths stand at the right edge, with padding that
    nothing sees before them.

    Args:
        decoder: the model.
        end_id: the token that ends a sequence.

    Raises:
        InputError: `end_id` is outside the vocabulary.
    """

    def __init__(self, decoder: Decoder, end_id: int):
        self.decoder = decoder
        self.end_id = end_id
        self._programs: dict[Program, Run] = {}
        self._prefills: dict[Prefill, Run] = {}
        self._check_ids([end_id], "end_id")

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        *,
        context: Any = None,
        strategy: Strategy | None = None,
        rules: Iterable[Rule] = (),
        max_new_tokens: int | Sequence[int],
        watch: int | None = None,
        prompt_room: int = 1,
    ) -> Generated:
        """Continue prompts.

        Args:
            prompts: for each row its tokens, one at least.
            context: what the encoder gave for these rows; None for a decoder alone.
            strategy: how tokens are chosen; `None` takes the likeliest.
            rules: rules on logits, applied in order.
            max_new_tokens: the most tokens that a row may get, its end token included; one number
                or one for each row. The model's positions are a limit too: the last token
                generated need not have one.
            watch: index in the prompts, counted from their end (-1 is the last token): the logits
                after this token are returned as `watched`.
            prompt_room: tokens that prompts of later calls may have: with the same number the
                calls share their programs.

        Raises:
            InputError: there are no rows, a prompt is empty or has no room behind it, or ids,
                limits or `watch` are out of range.
        """
        limits = self._limits(prompts, max_new_tokens)
        strategy = strategy or Greedy()
        length = -(-int(limits.max()) // LENGTH_STEP) * LENGTH_STEP
        program = Program(strategy, tuple(rules), length, self.end_id)
        tensors = self._tensors(prompts, context, watch, prompt_room)
        prefilled = self._prefilled(Prefill(length), tensors)
        tensors |= keras.tree.map_structure(
            keras.ops.convert_to_tensor,
            {
                "limits": limits,
                "arrays": strategy.arrays(len(prompts)),
                "rules": arrays_of(program.rules, self.decoder.vocabulary_size),
            },
        )
        tensors.pop("watch", None)
        if program not in self._programs:
            self._programs[program] = compiled(self.decoder, program)
        found = self._programs[program](prefilled.pop("caches"), tensors) | prefilled
        found = {name: keras.ops.convert_to_numpy(array) for name, array in found.items()}
        longest = int(found["lengths"].max())
        return Generated(**found | {"token_ids": found["token_ids"][:, :longest]})

    def logits(self, prompts: Sequence[Sequence[int]], *, context: Any = None) -> np.ndarray:
        """Return the logits after the last token of each prompt, float32 `[rows, vocabulary]`.

        Raises:
            InputError: there are no rows, or a prompt or its ids are out of range.
        """
        self._limits(prompts, 1)
        # Room for a token that never comes: Keras warns of attention over a single one.
        prefilled = self._prefilled(Prefill(1), self._tensors(prompts, context, -1, 1))
        return keras.ops.convert_to_numpy(prefilled["watched"])

    def _prefilled(self, prefill: Prefill, tensors: dict[str, Any]) -> dict[str, Any]:
        if prefill not in self._prefills:
            self._prefills[prefill] = compiled_prefill(self.decoder, prefill)
        return self._prefills[prefill](tensors)

    def _tensors(
        self, prompts: Sequence[Sequence[int]], context: Any, watch: int | None, room: int
    ) -> dict[str, Any]:
        """The inputs that prompts are read with."""
        inputs: dict[str, Any] = self._inputs(prompts, room)
        if watch is not None:
            if not -min(map(len, prompts)) <= watch < 0:
                raise InputError(
                    f"watch={watch} is outside of a prompt. Pass -1 for the last token of each, "
                    "and so on up to the length of the shortest."
                )
            inputs["watch"] = np.int32(watch)
        tensors = {n: keras.ops.convert_to_tensor(array) for n, array in inputs.items()}
        return tensors if context is None else tensors | {"context": context}

    def _inputs(self, prompts: Sequence[Sequence[int]], room: int) -> dict[str, np.ndarray]:
        lengths = np.array([len(prompt) for prompt in prompts], "int32")
        longest = max(int(lengths.max()), min(room, self.decoder.max_length))
        fitting = [length for length in PROMPT_LENGTHS if length >= longest]
        rounded = fitting[0] if fitting else longest
        longest = max(longest, min(rounded, self.decoder.max_length))
        # Longer ones are read in whole pieces.
        longest = longest if longest <= CHUNK else -(-longest // CHUNK) * CHUNK
        token_ids = np.full((len(prompts), longest), self.end_id, "int32")
        for row, prompt in zip(token_ids, prompts, strict=True):
            row[longest - len(prompt) :] = prompt
        padding = longest - lengths
        # Padding by chance absent is told even so: without it there would be a second program.
        return {"token_ids": token_ids} | ({"padding": padding} if longest > 1 else {})

    def _limits(
        self, prompts: Sequence[Sequence[int]], max_new_tokens: int | Sequence[int]
    ) -> np.ndarray:
        if not len(prompts):
            raise InputError("prompts is empty. Pass the tokens of one row at least.")
        asked = np.asarray(max_new_tokens)
        if asked.shape not in ((), (len(prompts),)):
            raise InputError(
                f"max_new_tokens has shape {asked.shape} for {len(prompts)} rows. Pass one "
                "number, or one for each row."
            )
        if asked.min() < 1:
            raise InputError(f"max_new_tokens={max_new_tokens}. Pass positive numbers.")
        for number, prompt in enumerate(prompts):
            if not 1 <= len(prompt) <= self.decoder.max_length:
                raise InputError(
                    f"prompt {number} has {len(prompt)} tokens. Pass from 1 to "
                    f"{self.decoder.max_length}, the positions that the model has."
                )
            self._check_ids(prompt, f"prompt {number}")
        room = self.decoder.max_length + 1 - np.array([len(prompt) for prompt in prompts])
        return np.minimum(asked, room).astype("int32")

    def _check_ids(self, token_ids: Sequence[int], what: str) -> None:
        size = self.decoder.vocabulary_size
        wrong = [int(token_id) for token_id in token_ids if not 0 <= token_id < size]
        if wrong:
            raise InputError(
                f"{what} has token id {wrong[0]}, outside the vocabulary of {size} tokens. Use "
                "the model's own tokenizer."
            )
