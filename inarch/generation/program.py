"""Generation as pure functions of nests of tensors: prefill of the prompts, then token steps.

Their inputs are a dict of tensors:

- `token_ids`: int32 `[rows, prompt length]`, left-padded prompts.
- `padding`: int32 `[rows]`, number of padding tokens; absent if no row has any.
- `limits`: int32 `[rows]`, maximal number of generated tokens of each row.
- `ends`: bool `[vocabulary]`, true for the tokens that end a row.
- `arrays`: arrays of the strategy.
- `processors`: arrays of each logits processor.
- `cross_attention_cache`: absent for a decoder-only model.
- `cross_attention_mask`: bool `[rows, 1, S]`, false for padding of the encoder's output; absent
  where it has none.
- `logits_at`: int32, index in the prompt, counted from its end (-1 is the last token), of the
  token after which logits are returned; absent for none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras

from inarch.generation.decoder import Decoder
from inarch.generation.logits_processors import LogitsProcessor, bind_arrays
from inarch.generation.strategy import State, Strategy, StrategyContext, repeat_rows

ops: Any = keras.ops  # Typed, every result may be None.

# Longer prompts are read in chunks of this many tokens: one program serves prompts of any length,
# and a prompt costs no more than its own length.
CHUNK = 64

# A loop of the backend: (condition, body, first state) -> last state.
Loop = Callable[[Callable[[State], Any], Callable[[State], State], State], State]


@dataclass(frozen=True)
class Prefill:
    """Prefill of the caches with prompts; equal values share a compiled program.

    Args:
        length: maximal length of a generated sequence.
    """

    length: int

    def run(self, decoder: Decoder, inputs: State, loop: Loop) -> State:
        """Return the `caches` of the prompts and, with `logits_at`, `prompt_logits`.

        The last token of a prompt is read again by the first step of `Program`.
        """
        rows, prompt = inputs["token_ids"].shape
        size = min(prompt, CHUNK)
        state = {"caches": decoder.init_cache(rows, prompt + self.length)}
        if "logits_at" in inputs:
            state["prompt_logits"] = ops.zeros((rows, decoder.hidden_size), "float32")
        elif prompt == 1:
            return state
        if prompt == size:
            state = self._chunk(decoder, inputs, state, ops.zeros((), "int32"), size)
        else:
            # Chunks that are padding in every row are skipped.
            first = ops.min(inputs["padding"]) // size * size
            state = loop(
                lambda state: state["index"] < prompt,
                lambda state: self._next(decoder, inputs, state, size),
                state | {"index": ops.cast(first, "int32")},
            )
        found = {"caches": state["caches"]}
        if "logits_at" in inputs:
            hidden = ops.cast(state["prompt_logits"], decoder.compute_dtype)
            found["prompt_logits"] = _float32(decoder.logits(hidden))
        return found

    def _next(self, decoder: Decoder, inputs: State, state: State, size: int) -> State:
        index = state["index"]
        return self._chunk(decoder, inputs, state, index, size) | {"index": index + size}

    def _chunk(self, decoder: Decoder, inputs: State, state: State, index: Any, size: int) -> State:
        """Return the state after the `size` tokens from `index` on."""
        indices = index + ops.arange(size, dtype="int32")
        token_ids = ops.take(inputs["token_ids"], indices, axis=1)
        context = step_context(decoder, inputs, index, size, self.length)
        hidden, caches = decoder.step(token_ids, state["caches"], context)
        if "logits_at" not in inputs:
            return {"caches": caches}
        here = ops.equal(indices, inputs["token_ids"].shape[1] + inputs["logits_at"])[None, :, None]
        prompt_logits = ops.sum(ops.where(here, _float32(hidden), 0.0), axis=1)
        return {"caches": caches, "prompt_logits": state["prompt_logits"] + prompt_logits}


@dataclass(frozen=True)
class Program:
    """Token steps after a prefill; equal values share a compiled program.

    Args:
        strategy: chooses the tokens.
        processors: logits processors, in order.
        length: maximal length of a generated sequence.
        end_id: the token that fills a row after its end.
    """

    strategy: Strategy
    processors: tuple[LogitsProcessor, ...]
    length: int
    end_id: int

    def begin(self, decoder: Decoder, caches: Any, inputs: State) -> State:
        """Return the state before the first token, from which `step` goes on."""
        width, (rows, _) = self.strategy.width, inputs["token_ids"].shape
        if width > 1:
            caches = decoder.share_cache(caches, width)
        return {
            "count": ops.zeros((), "int32"),
            "caches": caches,
            "tokens": repeat_rows(inputs["token_ids"][:, -1], width),
            "choice": self.strategy.begin(self._strategy_context(inputs), rows, inputs["arrays"]),
        }

    def step(self, decoder: Decoder, state: State, inputs: State) -> State:
        """Return the state with one more token."""
        width, (rows, prompt) = self.strategy.width, inputs["token_ids"].shape
        index = prompt - 1 + state["count"]
        token_ids = ops.expand_dims(state["tokens"], 1)
        context = step_context(decoder, inputs, index, 1, self.length, width)
        hidden, caches = decoder.step(token_ids, state["caches"], context)
        choice, tokens, parent_beams = self.strategy.choose(
            self._strategy_context(inputs),
            state["choice"],
            _float32(decoder.logits(hidden[:, 0])),
            state["count"],
        )
        if parent_beams is not None and width > 1:
            caches = decoder.reorder_cache(caches, rows * width, parent_beams)
        return {
            "count": state["count"] + 1,
            "caches": caches,
            "tokens": tokens,
            "choice": choice,
        }

    def done(self, state: State, inputs: State) -> Any:
        """Return bool, whether every row is finished."""
        return self.strategy.done(self._strategy_context(inputs), state["choice"], state["count"])

    def finish(self, state: State, inputs: State) -> State:
        """Return `token_ids`, `lengths` and `log_probs` of what was generated."""
        return self.strategy.finish(self._strategy_context(inputs), state["choice"], state["count"])

    def _strategy_context(self, inputs: State) -> StrategyContext:
        processors = bind_arrays(self.processors, inputs["processors"])
        return StrategyContext(
            processors,
            self.end_id,
            inputs["ends"],
            self.length,
            inputs["limits"],
            inputs["token_ids"],
            inputs.get("padding", 0),
        )


def step_context(
    decoder: Decoder, inputs: State, index: Any, size: int, length: int, width: int = 1
) -> State:
    """Return the context of a step that reads the `size` tokens from `index` on."""
    crossed = ("cross_attention_cache", "cross_attention_mask")
    context = {"cache_index": index} | {name: inputs[name] for name in crossed if name in inputs}
    indices = ops.expand_dims(index + ops.arange(size, dtype="int32"), 0)
    prompt_length = inputs["token_ids"].shape[1]
    if "padding" not in inputs:
        return context | {"positions": indices, "lengths": ops.maximum(indices + 1, prompt_length)}
    padding = ops.expand_dims(repeat_rows(inputs["padding"], width), 1)
    # A finished row may run past the last position while others go on.
    positions = ops.clip(indices - padding, 0, decoder.max_length - 1)
    slots = ops.arange(prompt_length + length, dtype="int32")[None]
    return context | {
        "positions": positions,
        "lengths": ops.maximum(positions + 1, prompt_length - padding),
        "padding_mask": ops.cast(slots >= padding, "int32"),
    }


def _float32(x: Any) -> Any:
    return ops.cast(x, "float32")
