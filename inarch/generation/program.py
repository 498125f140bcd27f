"""Decoding as pure functions of a nest of tensors: prompts are read, then tokens follow.

Inputs are a nest of tensors:

- `token_ids`: int32 `[rows, prompt length]`, prompts with padding before them.
- `padding`: int32 `[rows]`, how much padding there is; absent if there is none.
- `limits`: int32 `[rows]`, the most tokens that each row may get.
- `arrays`: what the strategy takes.
- `rules`: what each rule is fed with.
- `context`: what the encoder gave, absent if there is none.
- `watch`: int32, index in the prompt, counted from its end (-1 is the last token): the logits
  after this token are wanted; absent for no such logits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras

from inarch.generation.decoder import Decoder
from inarch.generation.rules import Rule, bound
from inarch.generation.strategy import State, Strategy, Task, repeated
from inarch.layers.cache import select_rows

ops: Any = keras.ops  # Typed, every result may be None.

# Prompts longer than this are read in pieces of so many tokens, so that prompts of any length need
# one program, and none takes longer than its own length.
CHUNK = 64

# A loop of the backend's: condition, body and first state to last state.
Loop = Callable[[Callable[[State], Any], Callable[[State], State], State], State]


@dataclass(frozen=True)
class Prefill:
    """Reading prompts into caches; equal values compile to the same.

    Args:
        length: the longest that a generated sequence may be.
    """

    length: int

    def run(self, decoder: Decoder, inputs: State, loop: Loop) -> State:
        """Return the `caches` of prompts, and with `watch` the `watched` logits.

        The last token of a prompt is read again by the first step of `Program`.
        """
        rows, prompt = inputs["token_ids"].shape
        size = min(prompt, CHUNK)
        state = {"caches": decoder.start(rows, prompt + self.length)}
        if "watch" in inputs:
            state["watched"] = ops.zeros((rows, decoder.hidden_size), "float32")
        elif prompt == 1:
            return state
        if prompt == size:
            state = self._chunk(decoder, inputs, state, ops.zeros((), "int32"), size)
        else:
            # Pieces that are padding in every row are passed over.
            first = ops.min(inputs["padding"]) // size * size
            state = loop(
                lambda state: state["index"] < prompt,
                lambda state: self._next(decoder, inputs, state, size),
                state | {"index": ops.cast(first, "int32")},
            )
        found = {"caches": state["caches"]}
        if "watch" in inputs:
            hidden = ops.cast(state["watched"], decoder.compute_dtype)
            found["watched"] = _float32(decoder.logits(hidden))
        return found

    def _next(self, decoder: Decoder, inputs: State, state: State, size: int) -> State:
        index = state["index"]
        return self._chunk(decoder, inputs, state, index, size) | {"index": index + size}

    def _chunk(self, decoder: Decoder, inputs: State, state: State, index: Any, size: int) -> State:
        """The state after the `size` tokens from `index` on."""
        steps = index + ops.arange(size, dtype="int32")
        hidden, caches = decoder.step(
            ops.take(inputs["token_ids"], steps, axis=1), index, state["caches"],
            inputs.get("context"), **places(decoder, inputs, steps, self.length),
        )  # fmt: skip
        if "watch" not in inputs:
            return {"caches": caches}
        here = ops.equal(steps, inputs["token_ids"].shape[1] + inputs["watch"])[None, :, None]
        watched = ops.sum(ops.where(here, _float32(hidden), 0.0), axis=1)
        return {"caches": caches, "watched": state["watched"] + watched}


@dataclass(frozen=True)
class Program:
    """The steps after a prompt: all that is settled before there are numbers.

    Equal programs compile to the same.

    Args:
        strategy: how tokens are chosen.
        rules: rules on logits, in order.
        length: the longest that a generated sequence may be.
        end_id: the end token.
    """

    strategy: Strategy
    rules: tuple[Rule, ...]
    length: int
    end_id: int

    def begin(self, caches: Any, inputs: State) -> State:
        """Return the state before the first token, from which `more` goes on."""
        width, (rows, _) = self.strategy.width, inputs["token_ids"].shape
        if width > 1:  # all beams of a row have read the same
            caches = select_rows(caches, rows, repeated(ops.arange(rows, dtype="int32"), width))
        return {
            "count": ops.zeros((), "int32"),
            "caches": caches,
            "tokens": repeated(inputs["token_ids"][:, -1], width),
            "choice": self.strategy.begin(self._task(inputs), rows, inputs["arrays"]),
        }

    def more(self, decoder: Decoder, state: State, inputs: State) -> State:
        """Return the state with one more token."""
        width, (rows, prompt) = self.strategy.width, inputs["token_ids"].shape
        index = prompt - 1 + state["count"]
        steps = ops.reshape(index, (1,))
        hidden, caches = decoder.step(
            ops.expand_dims(state["tokens"], 1), index, state["caches"], inputs.get("context"),
            **places(decoder, inputs, steps, self.length, width),
        )  # fmt: skip
        choice, tokens, sources = self.strategy.choose(
            self._task(inputs),
            state["choice"],
            _float32(decoder.logits(hidden[:, 0])),
            state["count"],
        )
        if sources is not None and width > 1:
            caches = select_rows(caches, rows * width, sources)
        return {
            "count": state["count"] + 1,
            "caches": caches,
            "tokens": tokens,
            "choice": choice,
        }

    def done(self, state: State, inputs: State) -> Any:
        """bool: whether no row changes any more."""
        return self.strategy.done(self._task(inputs), state["choice"], state["count"])

    def finish(self, state: State, inputs: State) -> State:
        """Return `token_ids`, `lengths` and `log_probs` of what was generated."""
        return self.strategy.finish(self._task(inputs), state["choice"], state["count"])

    def _task(self, inputs: State) -> Task:
        rules = bound(self.rules, inputs["rules"])
        return Task(rules, self.end_id, self.length, inputs["limits"])


def places(decoder: Decoder, inputs: State, steps: Any, length: int, width: int = 1) -> State:
    """Return the positions of the tokens at the indices `steps`, and the mask of any padding."""
    steps = ops.expand_dims(steps, 0)
    if "padding" not in inputs:
        return {"positions": steps}
    padding = ops.expand_dims(repeated(inputs["padding"], width), 1)
    # A row that is done may run on past the last position with the others.
    positions = ops.clip(steps - padding, 0, decoder.max_length - 1)
    slots = ops.arange(inputs["token_ids"].shape[1] + length, dtype="int32")[None]
    return {"positions": positions, "padding_mask": ops.cast(slots >= padding, "int32")}


def _float32(x: Any) -> Any:
    return ops.cast(x, "float32")
