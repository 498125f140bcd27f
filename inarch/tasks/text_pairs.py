"""Pairs of texts as rows of token ids, and as the inputs and targets of an encoder-decoder."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from inarch.data import PackedBatch, PlannedBatch, bucket, by_length, pad
from inarch.data.columns import values_of
from inarch.errors import InputError
from inarch.preprocessors.preprocessor import Tokens
from inarch.runtime.forward import compiled, compiles_per_shape
from inarch.tasks import inference
from inarch.tasks.task_mixin import TaskMixin
from inarch.text import Encoding
from inarch.training.datasets import weights_of
from inarch.training.training_batches import Batch, MakeBatch
from inarch.validation import shown


@dataclass(frozen=True)
class Seq2SeqRow(Tokens):
    """A pair of texts as token ids.

    Attributes:
        ids: those that the decoder reads.
        source: those that the encoder reads.
        labels: those that the decoder is to give, each one after the token at its place in `ids`.
    """

    source: Sequence[int]
    labels: Sequence[int]


class TextPairs(TaskMixin):
    """Methods of a task that reads pairs of texts by an encoder and a decoder.

    Mixed in before `Task`. A task may encode its sources and targets in ways of its own.
    """

    _forward: Callable[[Mapping[str, np.ndarray]], Any] | None = None

    @property
    def start_ids(self) -> list[int]:
        """Ids of the tokens that the decoder begins with."""
        raise NotImplementedError

    def encode(  # type: ignore[override]  # pairs, as rows of both
        self, texts: Sequence[Any], prompt_name: str | None = None
    ) -> list[Seq2SeqRow]:
        """Return the token ids of each pair of a source and a target, truncated, unpadded.

        Raises:
            InputError: an example is no such pair; there is no prompt of that name, or no
                preprocessor; or the tokenizer has tokens that the model doesn't have.
        """
        for i, pair in enumerate(texts):
            if isinstance(pair, str) or len(pair) != 2:
                raise InputError(
                    f"example {i} is {shown(pair)}; give a pair of a source and a target, or call "
                    "generate for a target"
                )
        sources = self.encode_sources([source for source, _ in texts], prompt_name)
        targets = self.encode_targets([target for _, target in texts])
        start = self.start_ids
        return [
            Seq2SeqRow([*start, *target.ids[:-1]], source.ids, target.ids)
            for source, target in zip(sources, targets, strict=True)
        ]

    def encode_sources(
        self, sources: Sequence[str], prompt_name: str | None = None
    ) -> list[Encoding]:
        """Return the token ids of texts for the encoder, truncated, unpadded."""
        return super().encode(sources, prompt_name)

    def encode_targets(self, targets: Sequence[str]) -> list[Encoding]:
        """Return the token ids of texts that the decoder is to give, truncated, unpadded."""
        return super().encode(targets)

    def inputs_of(  # type: ignore[override]
        self, encodings: Sequence[Seq2SeqRow], batch: PlannedBatch
    ) -> dict[str, np.ndarray]:
        chosen = [encodings[i] for i in batch.indices]
        preprocessor, found = inference.preprocessor_of(self), {}
        sides = {"encoder": [r.source for r in chosen], "decoder": [r.ids for r in chosen]}
        for side, rows in sides.items():
            length = self._padded_length(max(map(len, rows)))
            arrays = preprocessor.pad([Tokens(row) for row in rows], batch.rows, length)
            found[f"{side}_token_ids"] = arrays["token_ids"]
            found[f"{side}_padding_mask"] = arrays["padding_mask"]
        self._repad(found)
        return found

    def _repad(self, inputs: dict[str, np.ndarray]) -> None:
        """Pad what the decoder reads by its own tokenizer, whose vocabulary may be smaller."""
        tokenizer = inference.preprocessor_of(self).tokenizer
        if (own := tokenizer.output_tokenizer) is not tokenizer:
            is_padding = inputs["decoder_padding_mask"] == 0
            inputs["decoder_token_ids"][is_padding] = own.pad_token_id or 0

    def batches_of(  # type: ignore[override]
        self, encodings: Sequence[Seq2SeqRow], batch_size: int
    ) -> list[PackedBatch | PlannedBatch]:
        lengths = [max(len(row.source), len(row.ids)) for row in encodings]
        return list(by_length(lengths, batch_size, exact=not compiles_per_shape()))

    def outputs_of(self, encodings: Any, batch_size: int, verbose: Any, callbacks: Any) -> Any:
        if self._forward is None:
            object.__setattr__(self, "_forward", compiled(self))
        forward = self._forward
        assert forward is not None

        def run(rows: Any, batch: Any) -> Iterator[tuple[PlannedBatch, Any]]:
            yield batch, forward(self.inputs_of(rows, batch))

        batches = self.batches_of(encodings, batch_size)
        return inference.run(self, run, encodings, batches, verbose, callbacks)

    def _padded_length(self, longest: int) -> int:
        return bucket(longest, self.backbone.max_length) if compiles_per_shape() else longest

    def collate(self, texts: Sequence[Any], y: Any, sample_weight: Any) -> MakeBatch:
        y = values_of(y)
        if y is not None and len(y) != len(texts):
            raise InputError(f"there are {len(texts)} sources and {len(y)} targets")
        pairs = texts if y is None else list(zip(texts, y, strict=True))
        rows = self.encode(pairs, inference.preprocessor_of(self).default_prompt_name)
        weights = weights_of(sample_weight, len(rows))

        def make(indices: np.ndarray, random: np.random.Generator) -> Batch:
            chosen = [rows[i] for i in indices]
            x = self.padded(chosen)
            weight = x["decoder_padding_mask"].astype(np.float32)
            targets = pad([row.labels for row in chosen], *weight.shape)
            if weights is not None:
                weight *= weights[indices][:, np.newaxis]
            return x, targets, weight

        return make
