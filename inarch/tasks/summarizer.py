"""Summaries of texts of any length, by an encoder-decoder."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from inarch.errors import InputError
from inarch.generation.text_generator import row_seeds
from inarch.models.loading import Checkpoint
from inarch.preprocessors.preprocessor import TextPreprocessor
from inarch.preprocessors.raw_texts import as_texts
from inarch.preprocessors.text_source import TextSource
from inarch.tasks import inference
from inarch.tasks.line_batches import parts_of_lines
from inarch.tasks.prompts import chosen_prompt
from inarch.tasks.seq2seq_lm import Seq2SeqLM, task_params
from inarch.tasks.text_generation import encode_whole

# The task's name in `task_specific_params` of config.json.
SUMMARIZATION = "summarization"
# The end of a sentence, with quotes and brackets that close with it; or that of a paragraph.
SENTENCE_END = re.compile(r"""[.!?…]["'”’)\]]*\s+|[。！？]["'”’）」』]*|\n\s*\n""")


class Summarizer(Seq2SeqLM):
    """`Seq2SeqLM` that summarizes texts, long ones in chunks.

    What `task_specific_params` of the config has for summarization, such as the prompt before a
    text and the number of beams, holds where a call gives nothing else.

    Args:
        backbone, preprocessor, tie_word_embeddings, generation: as of `Seq2SeqLM`.
    """

    pipeline_tag = "summarization"
    verb = "summarize"

    @classmethod
    def is_declared_by(cls, checkpoint: Checkpoint) -> bool:
        return False  # of any `seq2seq_lm`: by its own `from_preset`, or where it was saved

    @classmethod
    def preprocessor_of(
        cls, checkpoint: Checkpoint, arguments: Mapping[str, Any], source: TextSource
    ) -> TextPreprocessor:
        made = super().preprocessor_of(checkpoint, arguments, source)
        if made.default_prompt_name is None and SUMMARIZATION in list(made.prompts):
            made.default_prompt_name = SUMMARIZATION
        return made

    @property
    def generation_defaults(self) -> Mapping[str, Any]:
        config = self.layout.config if self.layout else {}
        return {**self.generation, **task_params(config).get(SUMMARIZATION, {})}

    def summarize(
        self,
        texts: str | Sequence[str],
        *,
        prompt_name: str | None = None,
        prompt: str | None = None,
        seed: int | None = None,
        batch_size: int = 8,
        **options: Any,
    ) -> Any:
        """Return a summary of each text.

        A text that has more tokens than `preprocessor.sequence_length`, its prompt included, is cut
        into as few chunks as will do, of about equal length, between sentences where they fit. Each
        is summarized by itself, and the summaries are joined by a space.

        Args:
            texts: one text, or a list of them.
            prompt_name, prompt, seed, batch_size, options: as of `generate`, for each chunk; with
                several return sequences the first ones of all chunks are joined, and so on.

        Returns:
            A summary for one text, a list for a list; as of `generate`.

        Raises:
            InputError, InputTypeError, ConfigError: as of `generate`, or the prompt leaves no room.
        """
        given, is_one = as_texts("texts", texts)
        prefix = chosen_prompt(self, prompt_name, prompt)
        chunks = [self._chunks(text, prefix) for text in given]
        whole = [prefix + chunk for several in chunks for chunk in several]
        rows = [encoding.ids for encoding in encode_whole(self, whole)]
        found = iter(self.generate_texts(whole, rows, seed, batch_size, options))
        summaries = [_joined([next(found) for _ in several]) for several in chunks]
        return summaries[0] if is_one else summaries

    def stream(  # type: ignore[override]  # of one text its pieces
        self,
        text: str | Iterable[str],
        *,
        prompt_name: str | None = None,
        prompt: str | None = None,
        seed: int | None = None,
        **options: Any,
    ) -> Iterator[Any]:
        """Return an iterator of the summary of one text, piece by piece as it comes.

        Of many texts it is an iterator of the summary of each. For arguments and errors see
        `summarize` and `Seq2SeqLM.stream`.
        """
        named: dict[str, Any] = {"prompt_name": prompt_name, "prompt": prompt}
        if not isinstance(text, str):
            return super().stream(text, **named, seed=seed, **options)
        prefix = chosen_prompt(self, **named)
        whole = [prefix + chunk for chunk in self._chunks(text, prefix)]
        self.resolve_options(options, seed)  # before a seed is drawn from it
        seeds = row_seeds(seed, len(whole))
        rows = [encoding.ids for encoding in encode_whole(self, whole)]
        given = zip(whole, rows, seeds, strict=True)
        return _with_spaces([self.stream_text(t, [ids], s, options) for t, ids, s in given])

    def _chunks(self, text: str, prefix: str) -> list[str]:
        """Return a text in parts that fit into a sequence with a prefix."""
        preprocessor = inference.preprocessor_of(self)
        (empty,) = encode_whole(self, [prefix])
        room = preprocessor.sequence_length - len(empty.ids)
        if room < 1:
            raise InputError(
                f"preprocessor.sequence_length={preprocessor.sequence_length} has no room for text "
                f"after the prompt {prefix!r}; set a larger one"
            )
        (encoding,) = encode_whole(self, [prefix + text])
        if len(encoding.ids) <= preprocessor.sequence_length:
            return [text]
        parts = list(parts_of_lines(sentences_of(text), preprocessor, room))
        total = sum(size for _, size in parts)
        share = total / math.ceil(total / room)
        chunks, used = [""], 0
        for part, size in parts:
            if used and (used + size > room or used >= share):
                chunks, used = [*chunks, ""], 0
            chunks[-1] += f" {part}" if chunks[-1] else part
            used += size
        return chunks


def sentences_of(text: str) -> list[str]:
    """Return the sentences of a text, which joined are the text."""
    ends = [found.end() for found in SENTENCE_END.finditer(text)]
    bounds = [0, *ends, len(text)]
    parts = (text[start:end] for start, end in itertools.pairwise(bounds))
    return [part for part in parts if part]


def _with_spaces(streams: Iterable[Iterator[str]]) -> Iterator[str]:
    """Yield the pieces of all streams, with a space between streams that have any."""
    is_first = True
    for pieces in streams:
        gap = "" if is_first else " "
        for piece in pieces:
            yield gap + piece
            gap, is_first = "", False


def _joined(summaries: Sequence[Any]) -> Any:
    """Return the summaries of a text's chunks as one; of several return sequences each."""
    if isinstance(summaries[0], str):
        return " ".join(filter(None, summaries))
    return [" ".join(filter(None, several)) for several in zip(*summaries, strict=True)]
