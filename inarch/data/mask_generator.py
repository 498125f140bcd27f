"""Masking of token ids for masked language modeling, as a plain function of arrays and lists."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from inarch.data.buckets import pad
from inarch.data.packers import PreprocessingFunction, rows_of
from inarch.errors import InputError, InputTypeError
from inarch.validation import check_count, check_rate, shown

# Stands for a token that is of no word.
NO_WORD = -1


@dataclasses.dataclass(frozen=True)
class MaskedLMMaskGenerator(PreprocessingFunction):
    """Function that hides random tokens, as BERT is trained (Devlin et al., 2018, section 3.1).

    Each token is selected with `mask_selection_rate`. Of the selected ones a share of
    `mask_token_rate` becomes the mask token, `random_token_rate` a random token, and the others
    stay. With `word_ids`, all tokens of a word are selected together (whole-word masking), and
    replaced each on its own.

    Names, arguments and results are those of KerasHub's layer; it needs no Keras.

    Args:
        vocabulary_size: number of tokens, of which a random one is drawn.
        mask_selection_rate: probability that a token, or a word, is selected.
        mask_token_id: id of the mask token.
        mask_selection_length: most tokens that are selected in a row, the others being left out at
            random, and length to which the results are padded; None for no such limit.
        unselectable_token_ids: ids that are never selected, such as those of special tokens.
        mask_token_rate, random_token_rate: shares of the selected tokens, at most 1 together.

    Raises:
        InputError: a size, an id or a rate is out of range.
    """

    vocabulary_size: int
    mask_selection_rate: float
    mask_token_id: int
    mask_selection_length: int | None = None
    unselectable_token_ids: Sequence[int] | None = (0,)
    mask_token_rate: float = 0.8
    random_token_rate: float = 0.1

    def __post_init__(self) -> None:
        check_count("vocabulary_size", self.vocabulary_size)
        check_count("mask_token_id", self.mask_token_id, 0)
        if self.mask_token_id >= self.vocabulary_size:
            raise InputError(
                f"mask_token_id is {self.mask_token_id}; it must be below vocabulary_size, "
                f"{self.vocabulary_size}"
            )
        if self.mask_selection_length is not None:
            check_count("mask_selection_length", self.mask_selection_length, 0)
        for name in ("mask_selection_rate", "mask_token_rate", "random_token_rate"):
            check_rate(name, getattr(self, name))
        if self.mask_token_rate + self.random_token_rate > 1 + 1e-9:
            raise InputError(
                f"mask_token_rate is {self.mask_token_rate} and random_token_rate "
                f"{self.random_token_rate}; they must be at most 1 together"
            )

    def __call__(
        self, inputs: Any, word_ids: Any = None, rng: np.random.Generator | None = None
    ) -> dict[str, Any]:
        """Return masked ids, and which tokens are hidden.

        Args:
            inputs: token ids of one row, or of several, as lists, arrays or tensors.
            word_ids: for each id the number of its word, None or -1 for none (which is never
                selected): `Encoding.word_ids`. Neighbours of one number are a word.
            rng: where random numbers are drawn from; by default a generator that NumPy's global
                state seeds, which `keras.utils.set_random_seed` and torch's loaders set.

        Returns:
            `{"token_ids", "mask_positions", "mask_ids", "mask_weights"}`: the ids with tokens
            hidden; and the position, the true id and the weight 1 of each selected one. The last
            three are int32, int32 and float32 `[rows, mask_selection_length]`, padded with zeros;
            without that length a list of one array for each row. Rows of several lengths are a list
            of arrays, too.

        Raises:
            InputTypeError: `inputs` isn't rows of ids.
            InputError: `word_ids` has other lengths.
        """
        rows, batched = rows_of(inputs)
        for value in (value for row in rows for value in row[:1]):
            if isinstance(value, str):
                raise InputTypeError(f"inputs holds {shown(value)}; give token ids")
        lengths = [len(row) for row in rows]
        longest = max(lengths, default=0)
        ids = pad(rows, len(rows), longest)
        selectable = np.arange(longest) < np.array(lengths, int)[:, None]
        words = None if word_ids is None else self._words(word_ids, lengths, longest)
        rng = rng or np.random.default_rng(np.random.randint(2**31))
        masked, selected = self.mask(ids, selectable, rng, words)
        hidden = [masked[i, :length] for i, length in enumerate(lengths)]
        positions = [np.flatnonzero(row).astype(np.int32) for row in selected]
        results: dict[str, Any] = {
            "token_ids": masked if len({*lengths}) < 2 else hidden,
            "mask_positions": positions,
            "mask_ids": [ids[i, row] for i, row in enumerate(positions)],
            "mask_weights": [np.ones(len(row), np.float32) for row in positions],
        }
        if (most := self.mask_selection_length) is not None:
            for name in ("mask_positions", "mask_ids", "mask_weights"):
                kind = results[name][0].dtype if rows else np.int32
                results[name] = pad(results[name], len(rows), most).astype(kind)
        return results if batched else {name: value[0] for name, value in results.items()}

    def mask(
        self,
        token_ids: np.ndarray,
        selectable: np.ndarray,
        rng: np.random.Generator,
        word_ids: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return int32 ids with tokens hidden, and which are selected, bool; `[rows, length]` each.

        Args:
            token_ids: whole numbers `[rows, length]`.
            selectable: bool `[rows, length]`, False for what is never selected, such as padding.
            rng: where random numbers are drawn from.
            word_ids: the numbers of words `[rows, length]`, -1 for none.
        """
        shape = token_ids.shape
        if self.unselectable_token_ids:
            selectable = selectable & ~np.isin(token_ids, list(self.unselectable_token_ids))
        # For each token the position of the first one of its word, whose draw decides.
        first = np.broadcast_to(np.arange(shape[1]), shape)
        if word_ids is not None:
            selectable = selectable & (word_ids != NO_WORD)
            begins = np.ones(shape, bool)
            begins[:, 1:] = word_ids[:, 1:] != word_ids[:, :-1]
            first = np.maximum.accumulate(np.where(begins, first, 0), axis=1)
        chance = np.take_along_axis(rng.random(shape), first, 1)
        selected = selectable & (chance < self.mask_selection_rate)
        if self.mask_selection_length is not None:
            self._limit(selected, chance, first)
        draw, others = rng.random(shape), rng.integers(0, self.vocabulary_size, shape)
        random_rate = self.mask_token_rate + self.random_token_rate
        ids = np.where(selected & (draw < random_rate), others, token_ids)
        ids = np.where(selected & (draw < self.mask_token_rate), self.mask_token_id, ids)
        return ids.astype(np.int32), selected

    def _limit(self, selected: np.ndarray, chance: np.ndarray, first: np.ndarray) -> None:
        """Take back what a row has above the limit, whole words at random, in place."""
        assert self.mask_selection_length is not None
        for row in np.flatnonzero(selected.sum(1) > self.mask_selection_length):
            room, given = self.mask_selection_length, selected[row].copy()
            words = np.unique(first[row, given])
            selected[row] = False
            # The draws of selected words are alike distributed, so their order is random.
            for word in words[np.argsort(chance[row, words])]:
                tokens = given & (first[row] == word)
                if tokens.sum() <= room:
                    selected[row] |= tokens
                    room -= int(tokens.sum())

    @staticmethod
    def _words(word_ids: Any, lengths: Sequence[int], longest: int) -> np.ndarray:
        given = word_ids if _is_nested(word_ids) else [word_ids]
        rows = [[NO_WORD if word is None else int(word) for word in row] for row in given]
        if [len(row) for row in rows] != list(lengths):
            raise InputError(
                f"word_ids has rows of {[len(row) for row in rows]} and inputs of {list(lengths)}; "
                "give a word for each id"
            )
        return pad(rows, len(rows), longest, NO_WORD)


def _is_nested(rows: Any) -> bool:
    return any(hasattr(row, "__len__") for row in rows)
