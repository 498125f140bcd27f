"""Options of generation, by the names of transformers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any

from inarch.generation.beam import BeamSearch
from inarch.generation.logits_processors import (
    ForceTokens,
    LogitsProcessor,
    MinLength,
    Normalize,
    SuppressTokens,
    SuppressTokensAtBegin,
)
from inarch.generation.repetition import NoRepeatNGram, RepetitionPenalty
from inarch.generation.sampling import MinP, Temperature, TopK, TopP
from inarch.generation.strategy import Greedy, Sample, Strategy


@dataclass(frozen=True)
class GenerationOptions:
    """Options of generation, by the names and with the defaults of transformers.

    Args:
        max_new_tokens: most tokens that are generated, the end token included; 20 by default.
        max_length: the same with the prompt's tokens, where `max_new_tokens` isn't given.
        min_new_tokens: number of tokens before which none ends the text.
        min_length: the same with the prompt's tokens, where `min_new_tokens` isn't given.
        do_sample: whether tokens are drawn; else they are the likeliest.
        temperature: divisor of the logits of sampling.
        top_k: number of the likeliest tokens that are drawn from; 0 for all.
        top_p: probability that the likeliest tokens, which are drawn from, have together.
        min_p: least probability of a token that is drawn, as a share of the likeliest one's.
        repetition_penalty: above 1 makes tokens of the prompt and the text less likely.
        no_repeat_ngram_size: length of sequences of tokens that don't come twice; 0 for none.
        bad_words_ids: lists of one token id each, of tokens that are never generated.
        forced_bos_token_id: the token that comes first after a prompt of one token.
        forced_eos_token_id: ids of the tokens of which one comes last, where a text is as long as
            it can be.
        suppress_tokens: ids of tokens that are never generated.
        begin_suppress_tokens: ids of tokens that aren't the first one.
        num_beams: number of beams of beam search; 1 for none.
        num_return_sequences: number of texts of each prompt: samples, or the best beams.
        length_penalty: above 0 beam search favours long texts, below 0 short ones.
        early_stopping: whether beam search ends with `num_beams` finished texts; "never" ends it
            when no better one can come.
        eos_token_id: ids of the tokens that end a text.
        stop_strings: texts before which a text ends.
        renormalize_logits: whether the probabilities of the tokens that are allowed sum to 1.
    """

    max_new_tokens: int | None = None
    max_length: int | None = None
    min_new_tokens: int = 0
    min_length: int = 0
    do_sample: bool = False
    temperature: float = 1.0
    top_k: int = 50
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    no_repeat_ngram_size: int = 0
    bad_words_ids: Sequence[Sequence[int]] = ()
    forced_bos_token_id: int | None = None
    forced_eos_token_id: int | Sequence[int] | None = None
    suppress_tokens: Sequence[int] = ()
    begin_suppress_tokens: Sequence[int] = ()
    num_beams: int = 1
    num_return_sequences: int = 1
    length_penalty: float = 1.0
    early_stopping: bool | str = False
    eos_token_id: int | Sequence[int] = ()
    stop_strings: str | Sequence[str] = ()
    renormalize_logits: bool = False

    @property
    def end_ids(self) -> tuple[int, ...]:
        """Ids of the tokens that end a text."""
        return as_ids(self.eos_token_id)

    @property
    def stops(self) -> tuple[str, ...]:
        """Texts before which a text ends."""
        return (
            (self.stop_strings,) if isinstance(self.stop_strings, str) else tuple(self.stop_strings)
        )

    def limit(self, prompt_length: int) -> int:
        """Return the number of tokens to generate after a prompt, below 1 where it is too long."""
        if self.max_new_tokens is not None:
            return int(self.max_new_tokens)
        return 20 if self.max_length is None else int(self.max_length) - prompt_length

    def processors(self) -> list[LogitsProcessor]:
        """Return the logits processors, in the order of transformers."""
        found: list[LogitsProcessor] = []
        if self.repetition_penalty != 1:
            found.append(RepetitionPenalty(self.repetition_penalty, include_prompt=True))
        if self.no_repeat_ngram_size:
            found.append(NoRepeatNGram(self.no_repeat_ngram_size, include_prompt=True))
        # The end of a text isn't taken for a word, as in transformers.
        words = tuple(i for (i,) in self.bad_words_ids if (i,) != self.end_ids)
        found += [SuppressTokens(words)] if words else []
        if self.min_new_tokens and self.end_ids:
            found.append(MinLength(self.min_new_tokens, self.end_ids))
        elif self.min_length and self.end_ids:
            found.append(MinLength(self.min_length, self.end_ids, include_prompt=True))
        found += self._forced()
        if self.suppress_tokens:
            found.append(SuppressTokens(tuple(self.suppress_tokens)))
        if self.begin_suppress_tokens:
            found.append(SuppressTokensAtBegin(tuple(self.begin_suppress_tokens)))
        if self.do_sample:
            found += [Temperature(self.temperature)] if self.temperature != 1 else []
            found += [TopK(self.top_k)] if self.top_k else []
            found += [TopP(self.top_p)] if self.top_p < 1 else []
            found += [MinP(self.min_p)] if self.min_p else []
        return found + [Normalize()] * self.renormalize_logits

    def _forced(self) -> list[LogitsProcessor]:
        """Return the processors of tokens that come at the beginning and at the end."""
        found: list[LogitsProcessor] = []
        if self.forced_bos_token_id is not None:
            found.append(ForceTokens((self.forced_bos_token_id,), 1, include_prompt=True))
        if self.forced_eos_token_id is not None:
            # The limit counts the prompt's tokens where it is a `max_length`.
            is_whole = self.max_new_tokens is None and self.max_length is not None
            last = self.limit(0) - 1
            found.append(ForceTokens(as_ids(self.forced_eos_token_id), last, is_whole))
        return found

    def strategy(self, seeds: Sequence[int] = ()) -> Strategy:
        """Return the strategy; `seeds` are those of the rows, for sampling."""
        if self.do_sample:
            return Sample(seed=tuple(seeds))
        if self.num_beams > 1:
            return BeamSearch(
                self.num_beams,
                float(self.length_penalty),
                self.early_stopping,
                self.num_return_sequences,
            )
        return Greedy()


def as_ids(value: Any) -> tuple[int, ...]:
    """Return one token id, or several, as a tuple."""
    return (int(value),) if isinstance(value, Integral) else tuple(map(int, value))
