"""Decoding as pure functions of a nest of tensors: begin, one more token, done, finish."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras

from inarch.generation.decoder import Decoder
from inarch.generation.rules import Rule, bound
from inarch.generation.strategy import State, Strategy, Task, repeated

ops: Any = keras.ops  # Typed, every result may be None.


@dataclass(frozen=True)
class Program:
    """All that is settled before there are numbers; equal programs compile to the same.

    `inputs` of the methods are a nest of tensors:

    - `token_ids`: int32 `[rows, prompt length]`, prompts with padding before them.
    - `padding`: int32 `[rows]`, how much padding there is; absent if there is none.
    - `limits`: int32 `[rows]`, the most tokens that each row may get.
    - `arrays`: what the strategy takes.
    - `rules`: what each rule is fed with.
    - `context`: what the encoder gave, absent if there is none.

    Args:
        strategy: how tokens are chosen.
        rules: rules on logits, in order.
        length: the longest that a generated sequence may be.
        end_id: the end token.
        watch: index in the prompt, counted from its end (-1 is the last token): the logits after
            this token are `watched`; None for no such logits.
    """

    strategy: Strategy
    rules: tuple[Rule, ...]
    length: int
    end_id: int
    watch: int | None = None

    def begin(self, decoder: Decoder, inputs: State) -> State:
        """The state after the first token, from which `more` goes on."""
        token_ids = inputs["token_ids"]
        rows, prompt = token_ids.shape
        width = self.strategy.width
        steps = ops.arange(prompt, dtype="int32")
        caches = decoder.start(rows, prompt + self.length)
        hidden, caches = decoder.step(
            token_ids, 0, caches, inputs.get("context"), **self._places(decoder, inputs, steps, 1)
        )
        state = {"count": ops.zeros((), "int32")}
        if self.watch is not None:
            state["watched"] = _float32(decoder.logits(hidden[:, self.watch]))
        # All beams of a row have read the same.
        state["caches"] = keras.tree.map_structure(lambda x: repeated(x, width), caches)
        state["choice"] = self.strategy.begin(self._task(inputs), rows, inputs["arrays"])
        logits = repeated(_float32(decoder.logits(hidden[:, -1])), width)
        return self._chosen(state, inputs, logits)

    def more(self, decoder: Decoder, state: State, inputs: State) -> State:
        """The state with one more token."""
        index = inputs["token_ids"].shape[1] + state["count"] - 1
        hidden, caches = decoder.step(
            ops.expand_dims(state["tokens"], 1),
            index,
            state["caches"],
            inputs.get("context"),
            **self._places(decoder, inputs, ops.reshape(index, (1,)), self.strategy.width),
        )
        logits = _float32(decoder.logits(hidden[:, 0]))
        return self._chosen(state | {"caches": caches}, inputs, logits)

    def done(self, state: State, inputs: State) -> Any:
        """bool: whether no row changes any more."""
        return self.strategy.done(self._task(inputs), state["choice"], state["count"])

    def finish(self, state: State, inputs: State) -> State:
        """What came of it: `token_ids`, `lengths`, `log_probs`, and `watched` if it is."""
        found = self.strategy.finish(self._task(inputs), state["choice"], state["count"])
        return found | ({} if self.watch is None else {"watched": state["watched"]})

    def _chosen(self, state: State, inputs: State, logits: Any) -> State:
        choice, tokens, sources = self.strategy.choose(
            self._task(inputs), state["choice"], logits, state["count"]
        )
        caches = state["caches"]
        if sources is not None and self.strategy.width > 1:
            caches = keras.tree.map_structure(lambda x: ops.take(x, sources, axis=0), caches)
        return state | {
            "choice": choice,
            "tokens": tokens,
            "caches": caches,
            "count": state["count"] + 1,
        }

    def _task(self, inputs: State) -> Task:
        rules = bound(self.rules, inputs["rules"])
        return Task(rules, self.end_id, self.length, inputs["limits"])

    def _places(self, decoder: Decoder, inputs: State, steps: Any, width: int) -> State:
        """Positions of the tokens at the indices `steps`, and the mask of padding if there is."""
        steps = ops.expand_dims(steps, 0)
        if "padding" not in inputs:
            return {"positions": steps}
        padding = ops.expand_dims(repeated(inputs["padding"], width), 1)
        # A row that is done may run on past the last position with the others.
        positions = ops.clip(steps - padding, 0, decoder.max_length - 1)
        slots = ops.arange(inputs["token_ids"].shape[1] + self.length, dtype="int32")[None]
        return {"positions": positions, "padding_mask": ops.cast(slots >= padding, "int32")}


def _float32(x: Any) -> Any:
    return ops.cast(x, "float32")
