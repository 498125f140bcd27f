"""A vector for each token of a text, compared by MaxSim (ColBERT)."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from inarch.answers.answer_changes import vector_changes
from inarch.answers.max_sim import (
    SIMILARITIES,
    MaxSimContrastive,
    checked_token_vectors,
    max_sim,
)
from inarch.errors import InputError
from inarch.layers.pooling import Normalize
from inarch.models.arguments import MutableArgument
from inarch.models.backbone import Backbone
from inarch.models.loading import Checkpoint
from inarch.paths import check_file_name
from inarch.preprocessors.multi_vector_preprocessor import (
    NOT_ATTENDED,
    MultiVectorEncoding,
    MultiVectorPreprocessor,
)
from inarch.preprocessors.raw_texts import texts_of
from inarch.sentence_transformers import (
    colbert_projection,
    module_weights,
    multi_vector_files,
    multi_vector_folder,
)
from inarch.sentence_transformers.embedding_modules import apply_modules, resolve_modules
from inarch.sentence_transformers.multi_vector_folder import is_of_colbert
from inarch.sentence_transformers.settings import declared_arguments
from inarch.tasks import inference
from inarch.tasks.embedding_batches import columns_of
from inarch.tasks.runtimes import in_runtime
from inarch.tasks.sentence_folder import SentenceFolder
from inarch.tasks.task import Task
from inarch.training.datasets import weights_of
from inarch.training.objective import Objective
from inarch.training.training_batches import Batch, MakeBatch
from inarch.validation import check_flag, one_of

# Prompts of queries and documents, the first that there is.
PROMPTS = {"query": ("query",), "document": ("document", "passage", "corpus")}
# ColBERT's projection.
PROJECTION = {
    "type": "Dense", "out_features": 128, "bias": False, "activation_function": "identity",
}  # fmt: skip
# Arguments by which a folder's own files don't hold any more.
CHOSEN = ("modules", "normalize")


def _checked_similarity(task: Any, name: Any) -> str:
    one_of(SIMILARITIES).check("similarity_fn_name", name)
    return name


class MultiVectorEmbedder(SentenceFolder, Task):
    """A vector for each token of a text, float `[batch, length, dim]`.

    Trained on pairs of texts (`fit([(query, document), ...])`, or with hard negatives) each
    document is distinguished from the others in the batch by MaxSim (`MaxSimContrastive`).

    Args:
        backbone: the encoder.
        preprocessor: text to inputs; None to feed prepared arrays.
        modules: sentence-transformers' Dense modules that project the tokens, as of `TextEmbedder`;
            by default one without bias, to 128 numbers.
        normalize: whether vectors have length one.
        similarity_fn_name: how `similarity` compares texts: "maxsim", or "meanmaxsim", the same
            over the number of the query's vectors.

    Raises:
        InputError: an unknown similarity, or modules that aren't Dense.
    """

    pipeline_tag = "feature-extraction"
    verb = "embed_document"
    library_class = "MultiVectorEncoder"
    layout_module = multi_vector_files
    preprocessor_class = MultiVectorPreprocessor
    preprocessor: MultiVectorPreprocessor | None
    similarity_fn_name = MutableArgument(_checked_similarity)

    def __init__(
        self,
        backbone: Backbone,
        preprocessor: MultiVectorPreprocessor | None = None,
        modules: Sequence[Mapping[str, Any]] = (PROJECTION,),
        normalize: bool = True,
        similarity_fn_name: str = "maxsim",
        files: Mapping[str, str] | None = None,
        **kwargs: Any,
    ):
        check_flag("normalize", normalize)
        _checked_similarity(self, similarity_fn_name)  # before the graph is built
        modules = resolve_modules(modules, backbone.arguments["hidden_dim"])
        if not modules or any(module["type"] != "Dense" for module in modules):
            kinds = ", ".join(module["type"] for module in modules) or "empty"
            raise InputError(f"modules is {kinds}; give one or more of the type Dense")

        def projected(outputs: Any) -> Any:
            tokens = Backbone.sequence_output(outputs)
            x = apply_modules(modules, tokens)
            return Normalize(name="normalize")(x) if normalize else x

        super().__init__(backbone, projected, preprocessor, **kwargs)
        self.modules = modules
        self.normalize = normalize
        self.similarity_fn_name = similarity_fn_name
        self.files = {check_file_name(n, "a name in files"): t for n, t in (files or {}).items()}

    def answer_changes(self, before: np.ndarray, after: np.ndarray) -> dict[str, float]:
        return vector_changes(before, after)

    # --- folders ------------------------------------------------------------------------------

    @classmethod
    def is_declared_by(cls, checkpoint: Checkpoint) -> bool:
        return multi_vector_folder.is_declared(checkpoint.folder)

    @classmethod
    def arguments_of(cls, checkpoint: Checkpoint, given: dict[str, Any]) -> dict[str, Any]:
        declared = multi_vector_folder.read(checkpoint.folder)
        found = declared_arguments(declared, cls)
        if not declared.modules:
            del found["modules"]
        if not declared.modules and is_of_colbert(checkpoint.folder):
            found["modules"] = (
                {**PROJECTION, "out_features": colbert_projection.width(checkpoint)},
            )
        # Where the caller chooses other modules, their files are written anew.
        if any(given.get(name, found.get(name)) != found.get(name) for name in CHOSEN):
            found["files"] = {}
        return super().arguments_of(checkpoint, {}) | found | given

    @property
    def sidecar_variables(self) -> frozenset[str]:
        return module_weights.variable_names(self.modules)

    def load_sidecar_weights(self, folder: Path) -> None:
        width = self.backbone.arguments["hidden_dim"]
        declared = resolve_modules(multi_vector_folder.read(folder).modules, width)
        if declared == self.modules or not colbert_projection.load(self):
            module_weights.load_or_initialize(self, self.modules, declared, folder)

    def save_to_preset(self, folder: str | os.PathLike, **options: Any) -> None:
        colbert_projection.store(self)
        super().save_to_preset(folder, **options)

    save_to_preset.__doc__ = Task.save_to_preset.__doc__

    # --- vectors ------------------------------------------------------------------------------

    @in_runtime
    def embed_query(
        self, texts: str | Sequence[str], batch_size: int = 32, *, runtime: str | None = None
    ) -> Any:
        """Return the vectors of each query, float32 `[tokens, dim]`; of one text its array alone.

        Args:
            texts: a query, or several.
            batch_size: size of a batch, in texts of 64 tokens, as of `Task.predict`.
            runtime: as of `Task.predict`.

        Returns:
            an array for each query, with a vector for each token of it and of its expansion.
        """
        return self._embed(texts, "query", batch_size)

    @in_runtime
    def embed_document(
        self, texts: str | Sequence[str], batch_size: int = 32, *, runtime: str | None = None
    ) -> Any:
        """Return the vectors of each document, float32 `[tokens, dim]`; of one text its array.

        Args:
            texts: a document, or several.
            batch_size: size of a batch, in texts of 64 tokens, as of `Task.predict`.
            runtime: as of `Task.predict`.

        Returns:
            an array for each document, with a vector for each token that isn't in the skiplist.
        """
        return self._embed(texts, "document", batch_size)

    def _embed(self, texts: Any, task: str, batch_size: int) -> Any:
        single = isinstance(texts, str)
        encodings = self._encode(texts_of([texts] if single else texts, "texts"), task)

        def vectors(index: int, row: np.ndarray) -> np.ndarray:
            return row[: len(encodings[index])][encodings[index].is_compared]

        found = self.map_outputs(vectors, encodings, batch_size)
        return found[0] if single else found

    def _encode(self, texts: Sequence[Any], task: str) -> list[Any]:
        """Return the tokens of queries or documents, with their prompt before each."""
        text: Any = inference.preprocessor_of(self)
        name = next((name for name in PROMPTS[task] if name in text.prompts), None)
        encodings = text.encode(texts, name, task)
        inference.check_vocabulary(self, encodings)
        self._check_attention(encodings)
        return encodings

    def _check_attention(self, encodings: Sequence[MultiVectorEncoding]) -> None:
        able = self.backbone.attends_one_way
        if not able and any(NOT_ATTENDED in encoding.padding_mask for encoding in encodings):
            raise InputError(
                f"query_expansion has attend=False, and {type(self.backbone).__name__} can't "
                "compute tokens that attend and aren't attended to; set attend=True, or "
                "query_expansion to None"
            )

    def predict_texts(
        self,
        texts: Sequence[Any],
        batch_size: int,
        verbose: Any = 0,
        callbacks: Any = None,
        prompt_name: str | None = None,
    ) -> np.ndarray:
        """Return the vectors of documents `[texts, longest, dim]`.

        They are 0 beyond the end of a text, and for tokens that aren't compared.
        """
        encodings = (
            self._encode(texts, "document")
            if prompt_name is None
            else self.encode(texts, prompt_name)
        )
        longest = max(map(len, encodings), default=0)
        vectors = np.zeros((len(encodings), longest, self.output_shape[-1]), np.float32)
        for batch, output in self.outputs_of(encodings, batch_size, verbose, callbacks):
            for row, index in zip(output, batch.indices, strict=True):
                compared: Any = encodings[index].is_compared  # type: ignore[attr-defined]
                vectors[index, : len(compared)] = row[: len(compared)] * compared[:, None]
        return vectors

    def similarity(self, queries: Any, documents: Any) -> np.ndarray:
        """Return the scores `[queries, documents]`, by `similarity_fn_name`.

        Args:
            queries: what `embed_query` returns.
            documents: what `embed_document` returns; one without any vector has the score -1e9.

        Raises:
            InputTypeError: they aren't arrays of vectors, or lists of them.
            InputError: their vectors are of different widths.
        """
        sides = (
            checked_token_vectors("queries", queries),
            checked_token_vectors("documents", documents),
        )
        widths = sorted({vectors.shape[1] for side in sides for vectors in side})
        if len(widths) > 1:
            raise InputError(
                f"queries and documents have vectors of {widths[0]} and {widths[1]} numbers; take "
                "both of one model"
            )
        return max_sim(*sides, mean=self.similarity_fn_name == "meanmaxsim")

    # --- training -----------------------------------------------------------------------------

    def objective(self) -> Objective:
        return Objective(MaxSimContrastive(), learning_rate=1e-5, reads_logits=False)

    def collate(self, texts: Sequence[Any], y: Any, sample_weight: Any) -> MakeBatch:
        if y is not None:
            raise InputError(
                f"y is given, and {type(self).__name__} is trained on (query, document) pairs "
                "alone: leave it out"
            )
        columns = columns_of(texts)
        if len(columns) < 2:
            raise InputError(
                "examples have one text; give pairs [(query, document), ...], or more texts with "
                "hard negatives"
            )
        weights = weights_of(sample_weight, len(texts))
        encoded = [self._encode(columns[0], "query")]
        encoded += [self._encode(column, "document") for column in columns[1:]]

        def make(indices: np.ndarray, random: np.random.Generator) -> Batch:
            rows = [column[i] for column in encoded for i in indices]
            x = self.padded(rows)
            length = x["token_ids"].shape[1]
            compared = np.zeros((len(encoded), len(indices), length), np.float32)
            for mask, row in zip(compared.reshape(-1, length), rows, strict=True):
                mask[: len(row)] = row.is_compared
            batch = x, compared.swapaxes(0, 1)
            return batch if weights is None else (*batch, weights[indices])

        return make
