"""Sentence vectors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from inarch.answers.quantization import check_precision, quantize_embeddings
from inarch.answers.similarity import (
    checked_similarity,
    pairwise_similarity,
    similarity,
    unit_vectors,
)
from inarch.errors import InputError, PresetError
from inarch.layers.pooling import Normalize, pooling_modes
from inarch.losses.embedding import MultipleNegativesRankingLoss
from inarch.metrics.retrieval import Relevant
from inarch.models.arguments import MutableArgument
from inarch.models.backbone import Backbone
from inarch.models.loading import Checkpoint
from inarch.paths import check_file_name
from inarch.preprocessors.preprocessor import TextPreprocessor, checked_optional_count
from inarch.preprocessors.raw_texts import texts_of
from inarch.sentence_transformers import embedder_folder, module_weights, pooled_scores
from inarch.sentence_transformers.embedding_modules import (
    pooled_vectors,
    resolve_modules,
    set_token_weights,
)
from inarch.sentence_transformers.module_files import module_kinds, without_modules
from inarch.sentence_transformers.settings import declared_arguments
from inarch.tasks import embedding_evaluation, prompts
from inarch.tasks.embedding_batches import VectorTraining, check_vectors
from inarch.tasks.runtimes import in_runtime
from inarch.tasks.sentence_folder import SentenceFolder
from inarch.tasks.task import Task
from inarch.training.objective import Objective
from inarch.validation import check_flag

_checked_truncation = partial(checked_optional_count, "truncate_dim")


class TextEmbedder(SentenceFolder, VectorTraining, Task):
    """One vector per text, float `[batch, dim]`.

    Trained on pairs of texts (`fit([(text, partner), ...])`) each partner is distinguished from the
    others in the batch. A loss of `EmbeddingLoss`'s family reads examples of several texts, such as
    `(anchor, positive, negative)`, with targets where it needs some; with any other, a text's
    vector is fitted to its target `[count, dim]`.

    Args:
        backbone: the encoder.
        preprocessor: text to inputs; None to feed prepared arrays.
        pooling: mode or modes, see `SequencePooling`.
        normalize: whether vectors have length one.
        similarity_fn_name: how `similarity` compares vectors: "cosine", "dot", "euclidean" or
            "manhattan", as sentence-transformers calls them.
        modules: sentence-transformers' modules between pooling and normalisation, in order, each
            its class's name and the fields of its config, such as
            `{"type": "Dense", "out_features": 128}`: `Dense`, `LayerNorm` and `Normalize`. A first
            one may be `WordWeights`, which weighs the tokens before they are pooled.
        truncate_dim: how many numbers of a text's vector `embed` and `predict` keep, the first
            ones; None for all. Training uses all of them.

    Raises:
        InputError: an unknown pooling mode or similarity, or `truncate_dim` below 1.
    """

    pipeline_tag = "sentence-similarity"
    verb = "embed"
    library_class = "SentenceTransformer"
    layout_module = embedder_folder
    similarity_fn_name = MutableArgument(checked_similarity)
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
        modules: Sequence[Mapping[str, Any]] = (),
        **kwargs: Any,
    ):
        pooling = pooling_modes(pooling)
        check_flag("normalize", normalize)
        checked_similarity(self, similarity_fn_name)  # before the graph is built
        _checked_truncation(self, truncate_dim)

        def pooled(outputs: Any) -> Any:
            nonlocal modules
            tokens = Backbone.sequence_output(outputs)
            modules = resolve_modules(modules, tokens.shape[-1] * len(pooling))
            x = pooled_vectors(modules, pooling, tokens, backbone.input, preprocessor)
            return Normalize(name="normalize")(x) if normalize else x

        super().__init__(backbone, pooled, preprocessor, **kwargs)
        self.pooling = pooling
        self.normalize = normalize
        self.modules = modules
        self.similarity_fn_name = similarity_fn_name
        self.truncate_dim = truncate_dim
        self.files = {check_file_name(n, "a name in files"): t for n, t in (files or {}).items()}
        set_token_weights(self, self.modules)

    @classmethod
    def is_declared_by(cls, checkpoint: Checkpoint) -> bool:
        folder = checkpoint.folder
        return "Pooling" in module_kinds(folder) and not pooled_scores.is_declared(folder)

    @classmethod
    def arguments_of(cls, checkpoint: Checkpoint, given: dict[str, Any]) -> dict[str, Any]:
        if pooled_scores.is_declared(checkpoint.folder):
            raise PresetError(
                f"{checkpoint.folder} is a CrossEncoder, whose modules make a score of a pair and "
                "no vector of a text. Load it by Reranker"
            )
        declared = embedder_folder.read(checkpoint.folder)
        found = declared_arguments(declared, cls)
        # Where the caller chooses other modules, their files are written anew; the rest stays.
        modes = pooling_modes(given.get("pooling", declared.pooling))
        flag, modules = (given.get(n, getattr(declared, n)) for n in ("normalize", "modules"))
        if (modes, flag) != (declared.pooling, declared.normalize) or (
            modules != declared.modules and modules != list(declared.modules)
        ):
            found["files"] = without_modules(declared.files)
        return found | given

    @property
    def sidecar_variables(self) -> frozenset[str]:
        return module_weights.variable_names(self.modules)

    def load_sidecar_weights(self, folder: Path) -> None:
        found = embedder_folder.read(folder)
        # Of the folder's own pooling, which the caller may have chosen another one for.
        width = self.backbone.arguments["hidden_dim"] * len(found.pooling)
        declared = resolve_modules(found.modules, width) if self.modules else ()
        module_weights.load_or_initialize(self, self.modules, declared, folder)

    def objective(self) -> Objective:
        return Objective(MultipleNegativesRankingLoss(), learning_rate=2e-5, reads_logits=False)

    @in_runtime
    def embed(
        self,
        texts: str | Sequence[Any],
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int = 32,
        truncate_dim: int | None = None,
        normalize: bool = False,
        precision: str = "float32",
        *,
        runtime: str | None = None,
    ) -> np.ndarray:
        """Return vectors `[len(texts), dim]`, or of one string its vector `[dim]`.

        Args:
            texts: one string, or a list of strings.
            prompt_name: name of the preprocessor's prompt to put before each.
            prompt: the text itself to put before each, in place of a name. Where neither is given
                it is the default prompt, if the checkpoint has one, as for `predict`.
            batch_size: size of a batch, in texts of 64 tokens, as of `Task.predict`.
            truncate_dim: how many numbers of each vector to keep; the task's `truncate_dim` where
                not given.
            normalize: whether to give the vectors length one, after that.
            precision: `"float32"`, `"float16"`, `"int8"`, `"uint8"`, `"binary"` or `"ubinary"`; see
                `quantize_embeddings`. The ranges of int8 and uint8 are those of these texts.
            runtime: as of `Task.predict`.

        Raises:
            InputError: there is no prompt of that name, or both are given; an unknown precision; or
                int8 or uint8 of a single text.
        """
        check_flag("normalize", normalize)
        check_precision(precision)
        dim = _checked_truncation(self, truncate_dim) or self.truncate_dim
        is_single = isinstance(texts, str)
        given = texts_of([texts] if is_single else texts)
        encodings = prompts.encode_with_prompt(self, given, prompt_name, prompt)
        vectors = self.predict_encodings(encodings, batch_size)[:, :dim]
        if normalize:
            vectors = unit_vectors(vectors)
        if precision != "float32":
            vectors = quantize_embeddings(vectors, precision)
        return vectors[0] if is_single else vectors

    def answers(self, examples: Sequence[Any], **options: Any) -> Sequence[Any]:
        if (precision := options.get("precision")) in ("int8", "uint8"):
            raise InputError(
                f"precision is {precision!r}, and a stream has no ranges that all its vectors "
                "share; stream float32 and give them to quantize_embeddings with ranges"
            )
        return super().answers(examples, **options)

    def embed_query(self, texts: str | Sequence[Any], **options: Any) -> np.ndarray:
        """Return vectors of queries: `embed` with the prompt named "query", or with none.

        Args:
            texts, options: as of `embed`; a prompt that is given counts.
        """
        return self.embed(texts, **prompts.options_for(self, "query", options))

    def embed_document(self, texts: str | Sequence[Any], **options: Any) -> np.ndarray:
        """Return vectors of documents: `embed` with the prompt named "document", or with none.

        Args:
            texts, options: as of `embed`; a prompt that is given counts.
        """
        return self.embed(texts, **prompts.options_for(self, "document", options))

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
        return similarity(self.similarity_fn_name, one, two)

    def similarity_pairwise(self, one: np.ndarray, two: np.ndarray) -> np.ndarray:
        """Return `[count]` similarities of the vectors in the same places of `one` and `two`.

        Raises:
            InputTypeError, InputError: as `similarity`; or their numbers differ.
        """
        return pairwise_similarity(self.similarity_fn_name, one, two)

    def evaluate_retrieval(
        self,
        queries: Sequence[str],
        documents: Sequence[str],
        relevant: Relevant,
        k: int = 10,
        batch_size: int = 32,
    ) -> dict[str, float]:
        """Return `{"ndcg@10", "mrr@10", "recall@10"}` of the `k=10` most similar documents.

        Args:
            queries, documents: texts for `embed_query` and `embed_document`.
            relevant: for each query the indices of its relevant documents, or their relevance by
                index.
            k: how many documents of each query count.
            batch_size: size of a batch, in texts of 64 tokens, as of `Task.predict`.

        Raises:
            InputError: there are no documents, or an index is none of theirs; or as
                `metrics.retrieval.gains_of`.
        """
        return embedding_evaluation.retrieval(self, queries, documents, relevant, k, batch_size)

    def evaluate_similarity(
        self, pairs: Sequence[tuple[str, str]], scores: Any, batch_size: int = 32
    ) -> dict[str, float]:
        """Return `{"pearson", "spearman"}`: how pairs' similarities correlate with their scores.

        Raises:
            InputError: fewer than two pairs, other numbers of pairs and scores, or a score is NaN.
        """
        return embedding_evaluation.similarity(self, pairs, scores, batch_size)

    def targets(self, y: Any, count: int) -> np.ndarray:
        y = super().targets(y, count)
        check_vectors(y, self.loss, self.output_shape[-1])
        return y
