"""Sentence vectors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

from inarch.errors import InputError, InputTypeError
from inarch.layers.pooling import Normalize, SequencePooling, pooling_modes
from inarch.models.arguments import MutableArgument
from inarch.models.backbone import Backbone
from inarch.models.loading import Checkpoint
from inarch.paths import check_file_name
from inarch.tasks import sentence_transformers
from inarch.tasks.datasets import Batch, array_of, weights_of
from inarch.tasks.module_files import module_kinds, without_modules
from inarch.tasks.objective import Objective
from inarch.tasks.preprocessor import TextPreprocessor, texts_of
from inarch.tasks.sentence_fields import SIMILARITIES
from inarch.tasks.sentence_transformers import SentenceConfig
from inarch.tasks.similarity import similarity
from inarch.tasks.task import Task
from inarch.tasks.text_source import TextSource
from inarch.validation import check_count, check_flag, shown


@keras.saving.register_keras_serializable(package="inarch")
class InBatchContrastive(keras.losses.Loss):
    """Each text's partner against all other partners of the batch.

    The first half of the rows are texts, the second half their partners in the same order; the
    loss is the cross entropy of the scaled cosine similarities. Source: Henderson et al., 2017,
    arXiv:1705.00652; sentence-transformers' MultipleNegativesRankingLoss.

    Args:
        scale: factor on the similarities, the inverse of a temperature.
    """

    def __init__(self, scale: float = 20.0, name: str = "in_batch_contrastive", **kwargs: Any):
        super().__init__(name=name, **kwargs)
        self.scale = scale

    def call(self, y_true: Any, y_pred: Any) -> Any:
        unit = Normalize(dtype="float32")(y_pred)
        texts, partners = ops.split(unit, 2, axis=0)
        logits = self.scale * ops.matmul(texts, ops.transpose(partners))
        rows = ops.arange(ops.shape(logits)[0])
        loss = keras.losses.sparse_categorical_crossentropy(rows, logits, from_logits=True)
        return ops.concatenate([loss, loss], axis=0)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "scale": self.scale}


# Arguments that a sentence-transformers folder decides.
DECLARED = ("pooling", "normalize", "similarity_fn_name", "truncate_dim", "files")


def _checked_similarity(task: Any, name: Any) -> str:
    if not isinstance(name, str) or name not in SIMILARITIES:
        raise InputError(f"similarity_fn_name is {shown(name)}; known: {', '.join(SIMILARITIES)}")
    return name


def _checked_truncation(task: Any, count: Any) -> int | None:
    if count is not None:
        check_count("truncate_dim", count)
    return count


class TextEmbedder(Task):
    """One vector per text, float `[batch, dim]`.

    Trained on pairs of texts (`fit([(text, partner), ...])`) each partner is distinguished from the
    others in the batch; with `y` given, vectors are fitted to the targets `[count, dim]`.

    Args:
        backbone: the encoder.
        preprocessor: text to inputs; None to feed prepared arrays.
        pooling: mode or modes, see `SequencePooling`.
        normalize: whether vectors have length one.
        similarity_fn_name: how `similarity` compares vectors: "cosine", "dot", "euclidean" or
            "manhattan", as sentence-transformers calls them.
        truncate_dim: how many numbers of a text's vector `embed` and `predict` keep, the first
            ones; None for all. Training uses all of them.

    Raises:
        InputError: an unknown pooling mode or similarity, or `truncate_dim` below 1.
    """

    similarity_fn_name = MutableArgument(_checked_similarity)
    truncate_dim = MutableArgument(_checked_truncation)

    def __init__(
        self,
        backbone: Backbone,
        preprocessor: TextPreprocessor | None = None,
        pooling: str | Sequence[str] = "mean",
        normalize: bool = False,
        similarity_fn_name: str = "cosine",
        truncate_dim: int | None = None,
        files: Mapping[str, str] | None = None,
        **kwargs: Any,
    ):
        pooling = pooling_modes(pooling)
        check_flag("normalize", normalize)
        _checked_similarity(self, similarity_fn_name)  # before the graph is built
        _checked_truncation(self, truncate_dim)

        def pooled(outputs: Any) -> Any:
            tokens = outputs["sequence_output"] if isinstance(outputs, dict) else outputs
            mask = backbone.input["padding_mask"]
            x = SequencePooling(pooling, name="pooling")(tokens, padding_mask=mask)
            return Normalize(name="normalize")(x) if normalize else x

        super().__init__(backbone, pooled, preprocessor, **kwargs)
        self.pooling = pooling
        self.normalize = normalize
        self.similarity_fn_name = similarity_fn_name
        self.truncate_dim = truncate_dim
        self.files = {check_file_name(n, "a name in files"): t for n, t in (files or {}).items()}

    @classmethod
    def is_declared_by(cls, checkpoint: Checkpoint) -> bool:
        return "Pooling" in module_kinds(checkpoint.folder)

    @classmethod
    def arguments_of(cls, checkpoint: Checkpoint, given: dict[str, Any]) -> dict[str, Any]:
        declared = sentence_transformers.read(checkpoint.folder)
        found = {name: getattr(declared, name) for name in DECLARED}
        # Where the caller chooses other modules, their files are written anew; the rest stays.
        modes = pooling_modes(given.get("pooling", declared.pooling))
        if (modes, given.get("normalize", declared.normalize)) != (
            declared.pooling,
            declared.normalize,
        ):
            found["files"] = without_modules(declared.files)
        return found | given

    @classmethod
    def preprocessor_of(
        cls, checkpoint: Checkpoint, arguments: Mapping[str, Any], source: TextSource
    ) -> TextPreprocessor:
        found = super().preprocessor_of(checkpoint, arguments, source)
        declared = sentence_transformers.read(source.folder)
        limit = min(
            declared.max_seq_length or found.sequence_length, arguments["max_sequence_length"]
        )
        found.sequence_length = limit
        found.lowercase = declared.lowercase or found.lowercase
        found.default_prompt_name = None
        found.prompts = declared.prompts
        found.default_prompt_name = declared.default_prompt_name
        return found

    def write_files(self, folder: Path) -> None:
        super().write_files(folder)
        config = SentenceConfig(
            tuple(self.pooling), self.normalize, files=self.files,
            similarity_fn_name=self.similarity_fn_name, truncate_dim=self.truncate_dim,
        )  # fmt: skip
        if text := self.preprocessor:
            config = replace(
                config, max_seq_length=text.sequence_length, lowercase=text.lowercase,
                prompts=text.prompts, default_prompt_name=text.default_prompt_name,
            )  # fmt: skip
        width = self.backbone.arguments["hidden_dim"]
        tokenizer = self.preprocessor.tokenizer if self.preprocessor else None
        sentence_transformers.write(config, folder, width, tokenizer)

    def objective(self) -> Objective:
        return Objective(InBatchContrastive(), learning_rate=2e-5, reads_logits=False)

    def embed(
        self, texts: Sequence[str], prompt_name: str | None = None, batch_size: int = 32
    ) -> np.ndarray:
        """Return vectors float32 `[len(texts), dim]`, with the named prompt before each text.

        Without a name it is the checkpoint's default prompt, if it has one, as for `predict`.

        Raises:
            InputError: there is no prompt of that name.
        """
        vectors = self.predict_texts(texts_of(texts), batch_size, prompt_name=prompt_name)
        return vectors[:, : self.truncate_dim]

    def predict(self, *args: Any, **kwargs: Any) -> Any:
        return super().predict(*args, **kwargs)[:, : self.truncate_dim]

    predict.__doc__ = Task.predict.__doc__

    def similarity(self, one: np.ndarray, two: np.ndarray) -> np.ndarray:
        """Return `[len(one), len(two)]` similarities of vectors, by `similarity_fn_name`.

        Cosine similarities are in [-1, 1]; euclidean and manhattan ones are negative distances.

        Raises:
            InputTypeError: they aren't arrays of numbers.
            InputError: their vectors are of different widths.
        """
        one, two = _vectors("one", one), _vectors("two", two)
        if one.shape[-1:] != two.shape[-1:]:
            raise InputError(
                f"vectors of shapes {one.shape} and {two.shape} can't be compared: their last "
                "dimensions differ; take both from one model"
            )
        return similarity(self.similarity_fn_name, one, two)

    def collate(
        self, texts: Sequence[Any], y: Any, sample_weight: Any
    ) -> Callable[[np.ndarray, np.random.Generator], Batch]:
        if y is not None:
            return super().collate(texts, y, sample_weight)
        if not all(isinstance(t, tuple) for t in texts):
            raise InputError(
                "without y, an embedder is trained on pairs of texts [(text, partner), ...]"
            )
        weights = weights_of(sample_weight, len(texts))
        firsts = self.encode([first for first, _ in texts])
        seconds = self.encode([second for _, second in texts])

        def make(indices: np.ndarray, random: np.random.Generator) -> Batch:
            rows = [firsts[i] for i in indices] + [seconds[i] for i in indices]
            # Keras wants a target; which rows are partners is in their order.
            batch = self.padded(rows), np.zeros(len(rows), np.float32)
            return batch if weights is None else (*batch, np.tile(weights[indices], 2))

        return make


def _vectors(name: str, given: Any) -> np.ndarray:
    """Return `given` as an array of numbers, bfloat16 included, which isn't NumPy's own dtype."""
    way_out = "vectors, such as embed(texts) makes of texts"
    array = array_of(name, given, way_out)
    if array.dtype.kind in "USOMm":
        raise InputTypeError(f"{name} is {shown(given)}; give {way_out}")
    return array
