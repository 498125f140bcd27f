"""Sparse vectors of texts: a weight for each term of the vocabulary (SPLADE)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, overload

import numpy as np

from inarch.answers.similarity import checked_similarity
from inarch.answers.sparse_vectors import (
    SparseVector,
    checked_vectors,
    from_dense,
    is_sparse_vector,
    sparse_similarity,
    to_dense,
)
from inarch.layers.pooling import SpladePooling
from inarch.losses.splade import SpladeLoss
from inarch.models.arguments import MutableArgument
from inarch.models.backbone import Backbone
from inarch.models.loading import Checkpoint
from inarch.paths import check_file_name
from inarch.preprocessors.preprocessor import TextPreprocessor, checked_optional_count
from inarch.preprocessors.raw_texts import texts_of
from inarch.sentence_transformers import sparse_folder
from inarch.sentence_transformers.module_files import module_kinds, without_modules
from inarch.sentence_transformers.settings import declared_arguments
from inarch.tasks import prompts
from inarch.tasks.embedding_batches import VectorTraining
from inarch.tasks.inference import preprocessor_of
from inarch.tasks.runtimes import in_runtime
from inarch.tasks.sentence_folder import SentenceFolder
from inarch.tasks.task import Task
from inarch.training.objective import Objective
from inarch.validation import check_count

_checked_dims = partial(checked_optional_count, "max_active_dims")


class SparseEmbedder(SentenceFolder, VectorTraining, Task):
    """A weight for each term of the vocabulary, float `[batch, vocabulary]`, of which few aren't 0.

    These are SPLADE's: the masked-LM head's logits through `SpladePooling`. Trained on pairs of
    texts (`fit([(query, document), ...])`, or with hard negatives) each document is distinguished
    from the others in the batch, at a price on the terms in use (`SpladeLoss`).

    Args:
        backbone: the encoder.
        preprocessor: text to inputs; None to feed prepared arrays.
        pooling_strategy: `"max"` or `"sum"`, see `SpladePooling`.
        activation_function: `"relu"` or `"log1p_relu"`, see `SpladePooling`.
        similarity_fn_name: how `similarity` compares vectors: "cosine", "dot", "euclidean" or
            "manhattan", as sentence-transformers calls them.
        max_active_dims: how many terms of a text `embed` and `predict` keep, those of the largest
            weights; None for all. Training uses all of them.
        tie_word_embeddings: whether the output embeddings are the input embeddings.

    Raises:
        InputError: an unknown strategy, activation or similarity, or `max_active_dims` below 1.
    """

    head = "masked_lm"
    pipeline_tag = "feature-extraction"
    verb = "embed"
    library_class = "SparseEncoder"
    layout_module = sparse_folder
    similarity_fn_name = MutableArgument(checked_similarity)
    max_active_dims = MutableArgument(_checked_dims)

    def __init__(
        self,
        backbone: Backbone,
        preprocessor: TextPreprocessor | None = None,
        pooling_strategy: str = "max",
        activation_function: str = "relu",
        similarity_fn_name: str = "dot",
        max_active_dims: int | None = None,
        tie_word_embeddings: bool = True,
        files: Mapping[str, str] | None = None,
        **kwargs: Any,
    ):
        checked_similarity(self, similarity_fn_name)  # before the graph is built
        _checked_dims(self, max_active_dims)
        pooling = SpladePooling(pooling_strategy, activation_function, name="splade_pooling")
        super().__init__(
            backbone,
            lambda outputs: pooling(
                backbone.masked_lm(outputs, tie_word_embeddings),
                padding_mask=backbone.input["padding_mask"],
            ),
            preprocessor,
            **kwargs,
        )
        self.pooling_strategy = pooling_strategy
        self.activation_function = activation_function
        self.similarity_fn_name = similarity_fn_name
        self.max_active_dims = max_active_dims
        self.tie_word_embeddings = tie_word_embeddings
        self.files = {check_file_name(n, "a name in files"): t for n, t in (files or {}).items()}

    # --- folders ------------------------------------------------------------------------------

    @classmethod
    def is_declared_by(cls, checkpoint: Checkpoint) -> bool:
        return "SpladePooling" in module_kinds(checkpoint.folder)

    @classmethod
    def arguments_of(cls, checkpoint: Checkpoint, given: dict[str, Any]) -> dict[str, Any]:
        declared = sparse_folder.read(checkpoint.folder)
        found = declared_arguments(declared, cls)
        # Where the caller chooses another pooling, its files are written anew; the rest stays.
        names = ("pooling_strategy", "activation_function")
        if any(given.get(name, found[name]) != found[name] for name in names):
            found["files"] = without_modules(declared.files)
        return super().arguments_of(checkpoint, {}) | found | given

    # --- vectors ------------------------------------------------------------------------------

    @overload
    def embed(
        self, texts: str | tuple[str, str], prompt_name: str | None = ...,
        max_active_dims: int | None = ..., batch_size: int = ..., *, runtime: str | None = ...,
    ) -> SparseVector: ...  # fmt: skip

    @overload
    def embed(
        self, texts: Sequence[Any], prompt_name: str | None = ...,
        max_active_dims: int | None = ..., batch_size: int = ..., *, runtime: str | None = ...,
    ) -> list[SparseVector]: ...  # fmt: skip

    @in_runtime
    def embed(
        self,
        texts: Any,
        prompt_name: str | None = None,
        max_active_dims: int | None = None,
        batch_size: int = 32,
        *,
        runtime: str | None = None,
    ) -> SparseVector | list[SparseVector]:
        """Return the sparse vector of each text; of one text, its vector alone.

        Args:
            texts: a text, or several.
            prompt_name: the prompt to put before each; the default prompt where not given.
            max_active_dims: how many terms to keep, in place of the attribute.
            batch_size: size of a batch, in texts of 64 tokens, as of `Task.predict`.
            runtime: as of `Task.predict`.

        Raises:
            InputError: there is no prompt of that name, or `max_active_dims` is below 1.
        """
        limit = self.max_active_dims if max_active_dims is None else max_active_dims
        _checked_dims(self, limit)
        single = isinstance(texts, str)
        given = texts_of([texts] if single else texts, "texts")
        encodings = prompts.encode_with_prompt(self, given, prompt_name, None)
        vectors = self.map_outputs(lambda index, row: from_dense(row, limit), encodings, batch_size)
        return vectors[0] if single else vectors

    def decode(
        self, vectors: SparseVector | Sequence[SparseVector], top_k: int | None = None
    ) -> list[tuple[str, float]] | list[list[tuple[str, float]]]:
        """Return the terms of each sparse vector with their weights, by falling weight.

        Args:
            vectors: what `embed` returns: one vector or several.
            top_k: how many terms of each; None for all.

        Raises:
            InputError: `top_k` is below 1, or the task has no preprocessor; or as `similarity`.
            InputTypeError: as `similarity`.
        """
        if top_k is not None:
            check_count("top_k", top_k)
        tokenizer = preprocessor_of(self).tokenizer
        decoded = []
        for vector in checked_vectors("vectors", vectors, self._width):
            order = np.argsort(-vector["values"], kind="stable")[:top_k]
            terms = tokenizer.ids_to_tokens(vector["indices"][order])
            decoded.append(list(zip(terms, vector["values"][order].tolist(), strict=True)))
        return decoded[0] if is_sparse_vector(vectors) else decoded

    def similarity(
        self,
        one: SparseVector | Sequence[SparseVector],
        two: SparseVector | Sequence[SparseVector],
    ) -> np.ndarray:
        """Return `[len(one), len(two)]` similarities of sparse vectors, by `similarity_fn_name`.

        A single vector has no axis in the result. Euclidean and manhattan similarities are negative
        distances.

        Raises:
            InputTypeError: they aren't sparse vectors.
            InputError: a vector has a term beyond the vocabulary.
        """
        sides = (checked_vectors("one", one, self._width), checked_vectors("two", two, self._width))
        found = sparse_similarity(self.similarity_fn_name, *sides, self._width)
        return found.reshape(
            [
                len(side)
                for side, x in zip(sides, (one, two), strict=True)
                if not is_sparse_vector(x)
            ]
        )

    @property
    def _width(self) -> int:
        return self.output_shape[-1]

    def predict(self, *args: Any, **kwargs: Any) -> Any:
        dense = super().predict(*args, **kwargs)
        if self.max_active_dims is None:
            return dense
        return to_dense([from_dense(row, self.max_active_dims) for row in dense], self._width)

    predict.__doc__ = Task.predict.__doc__

    # --- training -----------------------------------------------------------------------------

    def objective(self) -> Objective:
        return Objective(SpladeLoss(), 2e-5, reads_logits=False)
