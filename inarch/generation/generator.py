"""`Generator`, which continues prompts with a decoder."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from inarch.errors import InputError
from inarch.generation.compiled import (
    CompiledFunction,
    compile_prefill,
    compile_program,
    compile_steps,
)
from inarch.generation.decoder import Decoder
from inarch.generation.logits_processors import LogitsProcessor, processor_arrays
from inarch.generation.program import CHUNK, Prefill, Program
from inarch.generation.strategy import Greedy, Strategy

# Lengths are rounded up to these, to compile few programs.
PROMPT_LENGTHS = (1, 4, 32, CHUNK, 256)
LENGTH_STEP = 32


@dataclass(frozen=True)
class Generated:
    """Generated tokens of a batch.

    Attributes:
        token_ids: int32 `[rows, longest]`, filled with the end token after the end of a row.
        lengths: int32 `[rows]`, number of tokens before the end token.
        log_probs: float32 `[rows]`, sum of the log-probabilities of a row's tokens, including
            its end token if it was generated.
        prompt_logits: float32 `[rows, vocabulary]`, unprocessed logits after the prompt token
            `logits_at`; None without it.
    """

    token_ids: np.ndarray
    lengths: np.ndarray
    log_probs: np.ndarray
    prompt_logits: np.ndarray | None = None

    def rows(self) -> list[list[int]]:
        """Return the tokens of each row, without the end token."""
        pairs = zip(self.token_ids, self.lengths, strict=True)
        return [row[:length].tolist() for row, length in pairs]


class Generator:
    """Continuation of prompts by a decoder; compiled programs are kept for later calls.

    A row's result doesn't depend on the other rows of its batch. Prompts of different lengths are
    padded on the left, and the padding is masked.

    Args:
        decoder: the model.
        end_id: id of the end token.

    Raises:
        InputError: `end_id` is outside the vocabulary.
    """

    def __init__(self, decoder: Decoder, end_id: int):
        self.decoder = decoder
        self.end_id = end_id
        self._programs: dict[Program, CompiledFunction] = {}
        self._steps: dict[Program, tuple[CompiledFunction, CompiledFunction]] = {}
        self._prefills: dict[Prefill, CompiledFunction] = {}
        self._check_ids([end_id], "end_id")

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        *,
        cross_attention_cache: Any = None,
        cross_attention_mask: Any = None,
        strategy: Strategy | None = None,
        logits_processors: Iterable[LogitsProcessor] = (),
        max_new_tokens: int | Sequence[int],
        logits_at: int | None = None,
        prompt_room: int = 1,
        end_ids: Sequence[int] | None = None,
    ) -> Generated:
        """Continue prompts.

        Args:
            prompts: token ids of each row, at least one.
            cross_attention_cache: of the encoder's output for these rows; None for a decoder-only
                model.
            cross_attention_mask: bool `[rows, 1, S]`, false for padding of the encoder's output;
                None where there is none.
            strategy: chooses the tokens; `None` is `Greedy()`.
            logits_processors: applied to the logits in order.
            max_new_tokens: maximal number of generated tokens, end token included; one number, or
                one for each row. The positions of the model are a limit, too; the last generated
                token needs none.
            logits_at: index in the prompts, counted from their end (-1 is the last token), of the
                token after which logits are returned as `prompt_logits`.
            prompt_room: maximal length of the prompts of all calls; calls with the same value
                share compiled programs.
            end_ids: ids of the tokens that end a row; `None` is the generator's end token.

        Returns:
            The best sequence of each row; of a strategy that returns several, those of a row
            one after another.

        Raises:
            InputError: there are no rows, a prompt is empty or too long, or ids, limits or
                `logits_at` are out of range.
        """
        limits = self._limits(prompts, max_new_tokens)
        strategy = strategy or Greedy()
        length = -(-int(limits.max()) // LENGTH_STEP) * LENGTH_STEP
        program = Program(strategy, tuple(logits_processors), length, self.end_id)
        crossed = _of_encoder(cross_attention_cache, cross_attention_mask)
        tensors = self._tensors(prompts, logits_at, prompt_room) | crossed
        prefilled = self._prefilled(Prefill(length), tensors)
        tensors |= self._step_tensors(program, limits, end_ids)
        tensors.pop("logits_at", None)
        if program not in self._programs:
            self._programs[program] = compile_program(self.decoder, program)
        return _as_generated(self._programs[program](prefilled.pop("caches"), tensors) | prefilled)

    def stream(
        self,
        prompts: Sequence[Sequence[int]],
        *,
        cross_attention_cache: Any = None,
        cross_attention_mask: Any = None,
        strategy: Strategy | None = None,
        logits_processors: Iterable[LogitsProcessor] = (),
        max_new_tokens: int | Sequence[int],
        prompt_room: int = 1,
        new_token_room: int = 1,
        end_ids: Sequence[int] | None = None,
        step: int = 1,
    ) -> Iterator[Generated]:
        """Yield what has been generated so far, after every `step` tokens and at the end.

        The last of it is what `generate` returns; whoever stops reading earlier stops the model.

        Args:
            prompts, cross_attention_cache, cross_attention_mask: as of `generate`.
            strategy, logits_processors: likewise; the strategy decodes one sequence for each row.
            max_new_tokens, prompt_room, end_ids: likewise.
            new_token_room: maximal `max_new_tokens` of all calls, which share compiled programs.
            step: number of tokens.

        Raises:
            InputError: as of `generate`, or the strategy decodes several sequences.
        """
        limits = self._limits(prompts, max_new_tokens)
        strategy = strategy or Greedy()
        if strategy.width > 1:
            raise InputError(
                f"strategy={strategy} decodes {strategy.width} sequences for each row, of which "
                "the best is known at the end. Pass Greedy() or Sample(), or call generate."
            )
        length = max(int(limits.max()), min(new_token_room, self.decoder.max_length))
        program = Program(strategy, tuple(logits_processors), length, self.end_id)
        if program not in self._steps:
            self._steps[program] = compile_steps(self.decoder, program)
        begin, advance = self._steps[program]
        inputs = self._tensors(prompts, None, prompt_room)
        inputs |= _of_encoder(cross_attention_cache, cross_attention_mask)
        caches = self._prefilled(Prefill(length), inputs)["caches"]
        inputs |= self._step_tensors(program, limits, end_ids)
        state, done, halt = begin(caches, inputs), False, 0
        del inputs["arrays"]  # now a part of the state, which is consumed
        while not done:
            halt += step
            state, found, done = advance(state, inputs, keras.ops.convert_to_tensor(halt, "int32"))
            yield _as_generated(found)

    def logits(
        self, prompts: Sequence[Sequence[int]], *, cross_attention_cache: Any = None
    ) -> np.ndarray:
        """Return the logits after the last token of each prompt, float32 `[rows, vocabulary]`.

        Raises:
            InputError: there are no rows, or a prompt or its ids are out of range.
        """
        self._limits(prompts, 1)
        # Room for one token more: Keras warns of attention over a single one.
        tensors = self._tensors(prompts, -1, 1) | _of_encoder(cross_attention_cache, None)
        prefilled = self._prefilled(Prefill(1), tensors)
        return keras.ops.convert_to_numpy(prefilled["prompt_logits"])

    def _prefilled(self, prefill: Prefill, tensors: dict[str, Any]) -> dict[str, Any]:
        if prefill not in self._prefills:
            self._prefills[prefill] = compile_prefill(self.decoder, prefill)
        return self._prefills[prefill](tensors)

    def _step_tensors(
        self, program: Program, limits: np.ndarray, end_ids: Sequence[int] | None
    ) -> dict[str, Any]:
        """Return the inputs of token steps that a prefill doesn't have."""
        size = self.decoder.vocabulary_size
        if end_ids is not None:
            self._check_ids(end_ids, "end_ids")
        ends = np.zeros(size, bool)
        ends[[self.end_id] if end_ids is None else list(end_ids)] = True
        arrays = {
            "limits": limits,
            "ends": ends,
            "arrays": program.strategy.arrays(len(limits)),
            "processors": processor_arrays(program.processors, size),
        }
        return keras.tree.map_structure(keras.ops.convert_to_tensor, arrays)

    def _tensors(
        self, prompts: Sequence[Sequence[int]], logits_at: int | None, room: int
    ) -> dict[str, Any]:
        """Return the inputs of the prefill."""
        inputs: dict[str, Any] = self._inputs(prompts, room)
        if logits_at is not None:
            if not -min(map(len, prompts)) <= logits_at < 0:
                raise InputError(
                    f"logits_at={logits_at} is outside of a prompt. Pass -1 for the last token of "
                    f"each prompt, down to -{min(map(len, prompts))} for the first of the shortest."
                )
            inputs["logits_at"] = np.int32(logits_at)
        return {n: keras.ops.convert_to_tensor(array) for n, array in inputs.items()}

    def _inputs(self, prompts: Sequence[Sequence[int]], room: int) -> dict[str, np.ndarray]:
        lengths = np.array([len(prompt) for prompt in prompts], "int32")
        longest = max(int(lengths.max()), min(room, self.decoder.max_length))
        fitting = [length for length in PROMPT_LENGTHS if length >= longest]
        rounded = fitting[0] if fitting else longest
        longest = max(longest, min(rounded, self.decoder.max_length))
        # Longer ones are read in whole chunks.
        longest = longest if longest <= CHUNK else -(-longest // CHUNK) * CHUNK
        token_ids = np.full((len(prompts), longest), self.end_id, "int32")
        for row, prompt in zip(token_ids, prompts, strict=True):
            row[longest - len(prompt) :] = prompt
        padding = longest - lengths
        # Also where all padding is 0: a second program would be compiled without it.
        return {"token_ids": token_ids} | ({"padding": padding} if longest > 1 else {})

    def _limits(
        self, prompts: Sequence[Sequence[int]], max_new_tokens: int | Sequence[int]
    ) -> np.ndarray:
        if not len(prompts):
            raise InputError("prompts is empty. Pass the token ids of at least one row.")
        limits = np.asarray(max_new_tokens)
        if limits.shape not in ((), (len(prompts),)):
            raise InputError(
                f"max_new_tokens has shape {limits.shape} for {len(prompts)} rows. Pass one "
                "number, or one for each row."
            )
        if limits.min() < 1:
            raise InputError(f"max_new_tokens={max_new_tokens}. Pass positive numbers.")
        for number, prompt in enumerate(prompts):
            if not 1 <= len(prompt) <= self.decoder.max_length:
                raise InputError(
                    f"prompt {number} has {len(prompt)} tokens. Pass from 1 to "
                    f"{self.decoder.max_length}, the positions that the model has."
                )
            self._check_ids(prompt, f"prompt {number}")
        room = self.decoder.max_length + 1 - np.array([len(prompt) for prompt in prompts])
        return np.minimum(limits, room).astype("int32")

    def _check_ids(self, token_ids: Sequence[int], what: str) -> None:
        size = self.decoder.vocabulary_size
        wrong = [int(token_id) for token_id in token_ids if not 0 <= token_id < size]
        if wrong:
            raise InputError(
                f"{what} has token id {wrong[0]}, outside the vocabulary of {size} tokens. Use "
                "the model's own tokenizer."
            )


def _of_encoder(cache: Any, mask: Any) -> dict[str, Any]:
    """Return the inputs of a program that come from an encoder, where there is one."""
    found = {"cross_attention_cache": cache, "cross_attention_mask": mask}
    return {name: value for name, value in found.items() if value is not None}


def _as_generated(found: dict[str, Any]) -> Generated:
    """Return the results of a program as arrays, cut to the longest row."""
    arrays = {name: keras.ops.convert_to_numpy(array) for name, array in found.items()}
    longest = int(arrays["lengths"].max())
    return Generated(**arrays | {"token_ids": arrays["token_ids"][:, :longest]})
