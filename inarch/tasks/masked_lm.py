"""Masked language modeling: fill in the blanks, or train to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from inarch.data import MaskedLMMaskGenerator, PlannedBatch, pad
from inarch.data.mask_generator import NO_WORD
from inarch.errors import InputError, InputTypeError
from inarch.models.arguments import MutableArgument
from inarch.models.backbone import Backbone
from inarch.preprocessors.preprocessor import TextPreprocessor, TokenRow, checked_flag
from inarch.preprocessors.raw_texts import Text, is_text_group, texts_of
from inarch.tasks import inference
from inarch.tasks.runtimes import Forwards, in_runtime
from inarch.tasks.task import Task
from inarch.text import Encoding, Tokenizer
from inarch.training.objective import Objective, token_objective
from inarch.training.training_batches import Batch, MakeBatch
from inarch.user_warnings import warn
from inarch.validation import check_count, check_rate, shown


def _checked_mask_rate(task: Any, rate: Any) -> float:
    check_rate("mask_rate", rate)
    if not rate:
        raise InputError(f"mask_rate is {rate}; it must be above 0 and at most 1")
    return float(rate)


_checked_whole_word_mask = partial(checked_flag, "whole_word_mask")


class MaskedLM(Task):
    """Logits `[batch, length, vocabulary]` for every position.

    Training on raw text hides tokens anew in each epoch, as in the reference (Devlin et al., 2018,
    section 3.1): of the selected ones 80 % become `[MASK]`, 10 % a random token, 10 % stay. The
    loss is the mean over the selected positions alone. `fit` and `evaluate` also take the path of a
    text file, or a `TextLines`, which are read as they are needed.

    Args:
        backbone: the encoder.
        preprocessor: text to inputs; None to feed prepared arrays.
        mask_rate: share of the tokens that are selected.
        whole_word_mask: whether the tokens of a word are selected together.
        tie_word_embeddings: whether the output embeddings are the input embeddings.
    """

    head = "masked_lm"
    pipeline_tag = "fill-mask"
    verb = "fill_mask"
    has_token_outputs = True
    has_token_targets = True
    is_self_supervised = True
    saved_settings = ("mask_rate", "whole_word_mask")
    mask_rate = MutableArgument(_checked_mask_rate)
    whole_word_mask = MutableArgument(_checked_whole_word_mask)

    def __init__(
        self,
        backbone: Backbone,
        preprocessor: TextPreprocessor | None = None,
        mask_rate: float = 0.15,
        whole_word_mask: bool = False,
        tie_word_embeddings: bool = True,
        **kwargs: Any,
    ):
        _checked_mask_rate(None, mask_rate)  # before the graph is built
        _checked_whole_word_mask(None, whole_word_mask)
        super().__init__(
            backbone,
            lambda outputs: backbone.masked_lm(outputs, tie_word_embeddings),
            preprocessor,
            **kwargs,
        )
        self.mask_rate = mask_rate
        self.whole_word_mask = whole_word_mask
        self.tie_word_embeddings = tie_word_embeddings
        self._blanks: Forwards | None = None
        # The tokenizer of the last call, and the ids of its tokens.
        self._named: tuple[Tokenizer, np.ndarray] | None = None

    @classmethod
    def default_special(cls, tokenizer: Tokenizer) -> tuple[str, ...]:
        return (tokenizer.mask_token,) if tokenizer.mask_token else ()

    # --- training -----------------------------------------------------------------------------

    def objective(self) -> Objective:
        return token_objective()

    def collate(self, texts: Sequence[Any], y: Any, sample_weight: Any) -> MakeBatch:
        if y is not None or sample_weight is not None:
            raise InputError("masked language modeling makes its own targets from text: give x")
        encodings = self.encode(texts)
        masker = MaskedLMMaskGenerator(
            self.backbone.arguments["vocabulary_size"],
            self.mask_rate,
            self._tokenizer().mask_token_id,
            unselectable_token_ids=None,  # which tokens are special is known by their places
        )
        whole_words = self.whole_word_mask

        def make(indices: np.ndarray, random: np.random.Generator) -> Batch:
            chosen = [encodings[i] for i in indices]
            x = self.padded(chosen)
            rows, length = x["token_ids"].shape
            special = pad([e.special_tokens_mask for e in chosen], rows, length, 1)
            numbers = [_words(e) for e in chosen] if whole_words else []
            words = pad(numbers, rows, length, NO_WORD) if whole_words else None
            ids, selected = masker.mask(x["token_ids"], special == 0, random, words)
            return {**x, "token_ids": ids}, x["token_ids"], selected.astype(np.float32)

        return make

    # --- filling in ---------------------------------------------------------------------------

    @in_runtime
    def fill_mask(
        self,
        texts: Text | Sequence[Text],
        top_k: int = 5,
        batch_size: int = 32,
        targets: str | Sequence[str] | None = None,
        *,
        runtime: str | None = None,
    ) -> list[Any]:
        """Return the `top_k` tokens for every mask token of each text, best first.

        Args:
            texts: a text or a pair of texts, or a list of them.
            top_k: number of answers for a mask token.
            batch_size: size of a batch, in texts of 64 tokens, as of `Task.predict`.
            targets: tokens to choose among; where one isn't in the vocabulary, the first token that
                it is split into counts, with a warning if there are more. None for all tokens.
            runtime: as of `Task.predict`.

        Returns:
            for each mask token of a text a list of `{"token", "token_id", "score", "text"}`, where
            `score` is the probability among all tokens and `text` has that one blank filled in; for
            several texts a list of such.

        Raises:
            InputError: a text has no mask token, or only beyond the longest sequence; `top_k` isn't
                a whole number from 1 up; or there are no targets.
        """
        check_count("top_k", top_k)
        tokenizer = self._tokenizer()
        is_single = isinstance(texts, str) or (isinstance(texts, tuple) and is_text_group(texts))
        given = texts_of([texts] if is_single else texts)
        allowed = self._allowed(targets)
        encodings = self.encode(given)
        places = [np.flatnonzero(np.array(e.ids) == tokenizer.mask_token_id) for e in encodings]
        for i, found in enumerate(places):
            if not len(found):
                raise InputError(
                    f"text {i} has no {tokenizer.mask_token} in its first {len(encodings[i].ids)} "
                    f"tokens: {str(given[i])[:60]!r}"
                )
        results: list[Any] = [None] * len(given)
        forward = self._blank_logits(places)
        batches = self.batches_of(encodings, batch_size)
        for part, logits in inference.run(self, forward, encodings, batches, 0, None):
            for i, rows in zip(part.indices, logits, strict=True):
                results[i] = [
                    self._best(encodings[i].ids, int(place), row, allowed, top_k)
                    for place, row in zip(places[i], rows, strict=False)
                ]
        return results[0] if is_single else results

    def _allowed(self, targets: Any) -> np.ndarray:
        """Return the ids to choose among: those of tokens, of which a model may have fewer rows."""
        tokenizer = self._tokenizer()
        if targets is None and self._named and self._named[0] is tokenizer:
            return self._named[1]
        tokens = tokenizer.get_vocabulary()
        if targets is None:
            ids = [index for index, token in enumerate(tokens) if token]
        else:
            words = [targets] if isinstance(targets, str) else texts_of(targets, "targets")
            ids = sorted({self._target_id(word, tokens) for word in words})
        allowed = np.array(ids, int)
        allowed = allowed[allowed < self.backbone.arguments["vocabulary_size"]]
        if not len(allowed):
            raise InputError(f"targets is {shown(targets)}; give at least one token of the model")
        if targets is None:
            self._named = tokenizer, allowed
        return allowed

    def _target_id(self, word: Any, tokens: Sequence[str]) -> int:
        tokenizer = self._tokenizer()
        if not isinstance(word, str):
            raise InputTypeError(f"targets holds {shown(word)}; give tokens as strings")
        if word and word in tokens:
            return tokenizer.token_to_id(word)
        text = word.lower() if self.preprocessor and self.preprocessor.lowercase else word
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        if not ids:
            raise InputError(f"targets has {word!r}, which is no token, nor split into any")
        if len(ids) > 1 or ids[0] == tokenizer.unk_token_id:
            warn(
                f"the target {word!r} is no token of the vocabulary: {tokens[ids[0]]!r}, the first "
                f"of the {len(ids)} that it is split into, is taken for it"
            )
        return ids[0]

    def _blank_logits(self, places: Sequence[np.ndarray]) -> Callable[..., Any]:
        """Return a function to logits `[rows, most masks of a text, vocabulary]`, at masks only."""
        if self._blanks is None:
            layer = self.get_layer("masked_lm_head")

            def head(outputs: Any, arrays: Mapping[str, Any]) -> Any:
                tokens = Backbone.sequence_output(outputs)
                return layer(tokens, mask_positions=arrays["mask_positions"])

            self._blanks = Forwards(self, head)

        def inputs_of(encodings: Sequence[TokenRow], part: PlannedBatch) -> dict[str, np.ndarray]:
            chosen = [places[i] for i in part.indices]
            most = 1 << (max(map(len, chosen)) - 1).bit_length()
            positions = pad(chosen, part.rows, most)
            return {**self.inputs_of(encodings, part), "mask_positions": positions}

        return partial(self._blanks.chosen(), inputs_of=inputs_of)

    def _best(
        self, ids: Sequence[int], place: int, logits: np.ndarray, allowed: np.ndarray, top_k: int
    ) -> list[dict[str, Any]]:
        tokenizer = self._tokenizer()
        logits = logits.astype(np.float64)
        scores = np.exp(logits - logits.max())
        scores /= scores.sum()
        best = allowed[np.argsort(-scores[allowed], kind="stable")[:top_k]]
        return [
            {
                "token": tokenizer.id_to_token(token_id),
                "token_id": token_id,
                "score": float(scores[token_id]),
                "text": tokenizer.decode([*ids[:place], token_id, *ids[place + 1 :]]),
            }
            for token_id in best.tolist()
        ]

    def _tokenizer(self) -> Any:
        tokenizer = self.preprocessor.tokenizer if self.preprocessor else None
        if tokenizer is None or tokenizer.mask_token_id is None:
            raise InputError("this task needs a preprocessor whose tokenizer has a mask token")
        return tokenizer


def _words(encoding: Encoding) -> list[int]:
    """Return for each token the number of its word, which no word of a pair's other text has."""
    numbers = zip(encoding.word_ids, encoding.sequence_ids, strict=True)
    return [NO_WORD if word is None else 2 * word + bool(text) for word, text in numbers]
