"""Masked language modeling: fill in the blanks, or train to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from inarch.data import PlannedBatch, pad
from inarch.errors import InputError
from inarch.models.arguments import MutableArgument
from inarch.models.backbone import Backbone
from inarch.runtime.forward import as_float32, compiled
from inarch.tasks.datasets import Batch
from inarch.tasks.objective import Objective, token_objective
from inarch.tasks.preprocessor import TextPreprocessor, texts_of
from inarch.tasks.task import Task
from inarch.text import Encoding, Tokenizer
from inarch.validation import check_count, check_rate


def _checked_mask_rate(task: Any, rate: Any) -> float:
    check_rate("mask_rate", rate)
    if not rate:
        raise InputError(f"mask_rate is {rate}; it must be above 0 and at most 1")
    return float(rate)


class MaskedLM(Task):
    """Logits `[batch, length, vocabulary]` for every position.

    Training on raw text hides tokens anew in each epoch, as in the reference (Devlin et al., 2018,
    section 3.1): of the selected ones 80 % become `[MASK]`, 10 % a random token, 10 % stay. The
    loss is the mean over the selected positions alone.

    Args:
        backbone: the encoder.
        preprocessor: text to inputs; None to feed prepared arrays.
        mask_rate: share of the tokens that are selected.
        tie_word_embeddings: whether the output embeddings are the input embeddings.
    """

    head = "masked_lm"
    saved_settings = ("mask_rate",)
    mask_rate = MutableArgument(_checked_mask_rate)

    def __init__(
        self,
        backbone: Backbone,
        preprocessor: TextPreprocessor | None = None,
        mask_rate: float = 0.15,
        tie_word_embeddings: bool = True,
        **kwargs: Any,
    ):
        _checked_mask_rate(None, mask_rate)  # before the graph is built
        super().__init__(
            backbone,
            lambda outputs: backbone.masked_lm(outputs, tie_word_embeddings),
            preprocessor,
            **kwargs,
        )
        self.mask_rate = mask_rate
        self.tie_word_embeddings = tie_word_embeddings
        self._blanks: Callable[[Mapping[str, np.ndarray]], Any] | None = None

    @classmethod
    def default_special(cls, tokenizer: Tokenizer) -> tuple[str, ...]:
        return (tokenizer.mask_token,) if tokenizer.mask_token else ()

    # --- training -----------------------------------------------------------------------------

    def objective(self) -> Objective:
        return token_objective()

    def collate(
        self, texts: Sequence[Any], y: Any, sample_weight: Any
    ) -> Callable[[np.ndarray, np.random.Generator], Batch]:
        if y is not None or sample_weight is not None:
            raise InputError("masked language modeling makes its own targets from text: give x")
        encodings = self.encode(texts)
        hidden = [~np.array(e.special_tokens_mask, bool) for e in encodings]

        def make(indices: np.ndarray, random: np.random.Generator) -> Batch:
            x = self.padded([encodings[i] for i in indices])
            may_hide = np.zeros(x["token_ids"].shape, bool)
            for row, i in enumerate(indices):
                may_hide[row, : len(hidden[i])] = hidden[i]
            return self._hide(x, may_hide, random)

        return make

    def _hide(
        self, x: dict[str, np.ndarray], may_hide: np.ndarray, random: np.random.Generator
    ) -> Batch:
        """Mask randomly selected tokens: `(x, the true ids, 1 where selected)`."""
        tokenizer = self._tokenizer()
        truth = x["token_ids"]
        selected = may_hide & (random.random(truth.shape) < self.mask_rate)
        draw = random.random(truth.shape)
        ordinary = self.backbone.arguments["vocabulary_size"]
        ids = np.where(selected & (draw < 0.8), tokenizer.mask_token_id, truth)
        replaced = random.integers(0, ordinary, truth.shape)
        ids = np.where(selected & (draw >= 0.8) & (draw < 0.9), replaced, ids)
        return {**x, "token_ids": ids.astype(np.int32)}, truth, selected.astype(np.float32)

    def predict_texts(
        self,
        texts: Sequence[Any],
        batch_size: int,
        verbose: Any = 0,
        callbacks: Any = None,
        prompt_name: str | None = None,
    ) -> np.ndarray:
        """Return logits `[texts, longest, vocabulary]`, zero beyond the end of each text."""
        encodings = self.encode(texts, prompt_name)
        longest = max((len(e.ids) for e in encodings), default=0)
        vocabulary = self.backbone.arguments["vocabulary_size"]
        logits = np.zeros((len(encodings), longest, vocabulary), np.float32)
        for batch, output in self.outputs_of(encodings, batch_size, verbose, callbacks):
            for row, index in enumerate(batch.indices):
                length = len(encodings[index].ids)
                logits[index, :length] = output[row, :length]
        return logits

    # --- filling in ---------------------------------------------------------------------------

    def fill_mask(
        self, texts: Sequence[str], top_k: int = 5, batch_size: int = 32
    ) -> list[list[list[dict[str, Any]]]]:
        """Return the `top_k` tokens for every mask token of each text, best first.

        Returns:
            for each text, for each of its mask tokens, a list of `{"token", "token_id", "score",
            "text"}`, where `score` is the probability and `text` has that one blank filled in.

        Raises:
            InputError: a text has no mask token, or only beyond the longest sequence; or `top_k`
                isn't a whole number from 1 up.
        """
        check_count("top_k", top_k)
        tokenizer = self._tokenizer()
        given = texts_of(texts)
        encodings = self.encode(given)
        places = [np.flatnonzero(np.array(e.ids) == tokenizer.mask_token_id) for e in encodings]
        for i, found in enumerate(places):
            if not len(found):
                raise InputError(
                    f"text {i} has no {tokenizer.mask_token} in its first {len(encodings[i].ids)} "
                    f"tokens: {str(given[i])[:60]!r}"
                )
        results: list[Any] = [None] * len(given)
        for batch in self.batches_of(encodings, batch_size):
            logits = self._blank_logits(encodings, places, batch)
            for i, rows in zip(batch.indices, logits, strict=False):
                results[i] = [
                    self._best(encodings[i].ids, int(place), row, top_k)
                    for place, row in zip(places[i], rows, strict=False)
                ]
        return results

    def _blank_logits(
        self, encodings: Sequence[Encoding], places: Sequence[np.ndarray], batch: PlannedBatch
    ) -> np.ndarray:
        """Return logits `[rows, most masks in a text, vocabulary]`, computed at masks alone."""
        if self._blanks is None:
            inputs = dict(self.backbone.input)
            inputs["mask_positions"] = keras.Input((None,), dtype="int32", name="mask_positions")
            outputs = self.backbone.output
            hidden = outputs["sequence_output"] if isinstance(outputs, dict) else outputs
            head = self.get_layer("masked_lm_head")
            self._blanks = compiled(
                keras.Model(inputs, head(hidden, mask_positions=inputs["mask_positions"]))
            )
        chosen = [places[i] for i in batch.indices]
        most = 1 << (max(map(len, chosen)) - 1).bit_length()
        positions = pad(chosen, batch.rows, most)
        inputs = self.inputs_of(encodings, batch)
        return as_float32(self._blanks({**inputs, "mask_positions": positions}))

    def _best(
        self, ids: Sequence[int], place: int, logits: np.ndarray, top_k: int
    ) -> list[dict[str, Any]]:
        tokenizer = self._tokenizer()
        logits = logits.astype(np.float64)
        scores = np.exp(logits - logits.max())
        scores /= scores.sum()
        # A model may have rows beyond its tokenizer, which are no token's.
        named = [bool(token) for token in tokenizer.get_vocabulary()[: len(scores)]]
        scores[: len(named)][~np.array(named, bool)] = -1.0
        scores[len(named) :] = -1.0
        top_k = min(top_k, sum(named))
        found = []
        for token_id in np.argsort(-scores, kind="stable")[:top_k].tolist():
            filled = [*ids[:place], token_id, *ids[place + 1 :]]
            found.append(
                {
                    "token": tokenizer.id_to_token(token_id),
                    "token_id": token_id,
                    "score": float(scores[token_id]),
                    "text": tokenizer.decode(filled),
                }
            )
        return found

    def _tokenizer(self) -> Any:
        tokenizer = self.preprocessor.tokenizer if self.preprocessor else None
        if tokenizer is None or tokenizer.mask_token_id is None:
            raise InputError("this task needs a preprocessor whose tokenizer has a mask token")
        return tokenizer
