"""Scores of pairs of texts by modules after the pooling of an encoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from inarch.answers.activation import checked_activation
from inarch.answers.labels import numbered
from inarch.errors import InputError
from inarch.layers.pooling import pooling_modes
from inarch.models.arguments import MutableArgument
from inarch.models.backbone import Backbone
from inarch.models.loading import Checkpoint
from inarch.paths import check_file_name
from inarch.preprocessors.preprocessor import TextPreprocessor
from inarch.sentence_transformers import cross_encoder, module_weights, pooled_scores
from inarch.sentence_transformers.embedding_modules import pooled_vectors, resolve_modules
from inarch.sentence_transformers.settings import declared_arguments
from inarch.tasks.pair_scores import PairScores
from inarch.tasks.sentence_folder import SentenceFolder
from inarch.tasks.task import Task

# What sentence-transformers has after the pooling where a CrossEncoder is made by hand.
SCORE = {"type": "Dense", "out_features": 1, "activation_function": "identity"}


class PooledReranker(SentenceFolder, PairScores, Task):
    """Scores of pairs by `Dense` modules after the pooling of an encoder that has no head.

    They are those of sentence-transformers' `CrossEncoder` with the modules `Transformer`,
    `Pooling`, any of `Dense`, `LayerNorm` and `Normalize`, and a last `Dense`, whose output is the
    scores. `predict`, `rank` and training are those of `Reranker`, whose `from_preset` gives this
    task where a checkpoint has such modules.

    Args:
        backbone: the encoder.
        modules: those after the pooling, each its class's name and the fields of its config; the
            last one a `Dense`, whose `out_features` is the number of scores.
        preprocessor: text to inputs; None to feed prepared arrays.
        pooling: mode or modes, see `SequencePooling`.
        activation_fn: what makes scores of logits; where not given, the sigmoid for one score and
            the logits themselves for several, as in CrossEncoder.

    Raises:
        InputError: an unknown pooling mode, or modules that don't end in a `Dense`.
    """

    pipeline_tag = "text-ranking"
    library_class = "CrossEncoder"
    layout_module = pooled_scores
    activation_fn = MutableArgument(checked_activation)

    def __init__(
        self,
        backbone: Backbone,
        modules: Sequence[Mapping[str, Any]] = (SCORE,),
        preprocessor: TextPreprocessor | None = None,
        pooling: str | Sequence[str] = "cls",
        activation_fn: str | None = None,
        files: Mapping[str, str] | None = None,
        **kwargs: Any,
    ):
        pooling = pooling_modes(pooling)
        checked_activation(None, activation_fn)  # before the graph is built

        def scores(outputs: Any) -> Any:
            nonlocal modules
            tokens = Backbone.sequence_output(outputs)
            modules = resolve_modules(modules, tokens.shape[-1] * len(pooling))
            kinds = [module["type"] for module in modules]
            if kinds[-1:] != ["Dense"] or "WordWeights" in kinds:
                raise InputError(
                    f"modules is {', '.join(kinds) or 'empty'}; give those after the pooling, of "
                    "which the last one, a Dense, makes the scores"
                )
            return pooled_vectors(modules, pooling, tokens, backbone.input, preprocessor)

        super().__init__(backbone, scores, preprocessor, **kwargs)
        self.pooling = pooling
        self.modules = modules
        self.activation_fn = activation_fn
        self.files = {check_file_name(n, "a name in files"): t for n, t in (files or {}).items()}

    @property
    def num_classes(self) -> int:  # type: ignore[override]
        """Number of scores of a pair."""
        return int(self.modules[-1]["out_features"])

    @property
    def labels(self) -> list[str]:  # type: ignore[override]
        """Names of the scores: `LABEL_0` and so on."""
        return numbered(self.num_classes)

    # --- from a checkpoint and back ------------------------------------------------------------

    @classmethod
    def is_declared_by(cls, checkpoint: Checkpoint) -> bool:
        return pooled_scores.is_declared(checkpoint.folder)

    @classmethod
    def arguments_of(cls, checkpoint: Checkpoint, given: dict[str, Any]) -> dict[str, Any]:
        found = declared_arguments(pooled_scores.read(checkpoint.folder), cls)
        found["activation_fn"] = cross_encoder.recorded_activation(checkpoint)
        changed = [name for name in ("pooling", "modules") if name in given]
        if changed:
            raise InputError(
                f"{changed[0]} is given, and {checkpoint.folder} has modules with their weights; "
                f"leave it out, or make {cls.__name__}(backbone, ...) of its backbone"
            )
        return found | given

    @property
    def sidecar_variables(self) -> frozenset[str]:
        return module_weights.variable_names(self.modules)

    def load_sidecar_weights(self, folder: Path) -> None:
        module_weights.load_weights(self, self.modules, folder)
