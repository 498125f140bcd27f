"""Scores of pairs of texts by a causal language model that answers yes or no."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from inarch.answers.activation import checked_activation
from inarch.errors import InputError
from inarch.layers.pooling import SequencePooling
from inarch.models.arguments import MutableArgument
from inarch.models.backbone import Backbone
from inarch.models.loading import Checkpoint
from inarch.preprocessors.pair_preprocessor import PairPreprocessor
from inarch.preprocessors.text_source import TextSource
from inarch.sentence_transformers import cross_encoder, logit_score
from inarch.sentence_transformers.module_files import TextConfig, read_settings, read_transformer
from inarch.sentence_transformers.sentence_fields import CAUSAL_TRANSFORMER, CROSS_ENCODER_FIELDS
from inarch.sentence_transformers.settings import with_declared
from inarch.tasks.pair_scores import PairScores
from inarch.tasks.task import Task
from inarch.validation import check_count


class CausalReranker(PairScores, Task):
    """Scores of pairs by the logits of a token, or of two, after a query and a document.

    The score is the logit of one token, such as "yes", less that of another, such as "no", at the
    last token of a pair: what sentence-transformers' `CrossEncoder` of a causal language model
    gives. `predict`, `rank` and training are those of `Reranker`, whose `from_preset` gives this
    task where a checkpoint is of such a model.

    Args:
        backbone: a decoder.
        true_token_id: of the token whose logit is the score.
        false_token_id: of the token whose logit is taken off it; None for none.
        preprocessor: pairs to inputs; None to feed prepared arrays.
        tie_word_embeddings: whether the output embeddings are the input embeddings.
        activation_fn: what makes scores of logits; the sigmoid where not given.

    Raises:
        InputError: a token isn't one of the backbone's.
    """

    head = "causal_lm"
    pipeline_tag = "text-ranking"
    preprocessor_class = PairPreprocessor
    num_classes = 1
    labels = ("LABEL_0",)
    activation_fn = MutableArgument(checked_activation)

    def __init__(
        self,
        backbone: Backbone,
        true_token_id: int,
        false_token_id: int | None = None,
        preprocessor: PairPreprocessor | None = None,
        tie_word_embeddings: bool = True,
        activation_fn: str | None = None,
        **kwargs: Any,
    ):
        for name, index in (("true_token_id", true_token_id), ("false_token_id", false_token_id)):
            if index is not None:
                check_count(name, index, 0)
                if index >= (size := backbone.arguments["vocabulary_size"]):
                    raise InputError(f"{name} is {index}, and the model has {size} tokens")
        checked_activation(None, activation_fn)  # before the graph is built

        def score(outputs: Any) -> Any:
            last = SequencePooling("lasttoken", name="last_token")(
                outputs, backbone.input["padding_mask"]
            )
            logits = backbone.causal_lm(last, tie_word_embeddings)
            found = logits[:, true_token_id : true_token_id + 1]
            if false_token_id is None:
                return found
            return found - logits[:, false_token_id : false_token_id + 1]

        super().__init__(backbone, score, preprocessor, **kwargs)
        self.true_token_id = true_token_id
        self.false_token_id = false_token_id
        self.tie_word_embeddings = tie_word_embeddings
        self.activation_fn = activation_fn

    # --- from a checkpoint and back ------------------------------------------------------------

    @classmethod
    def fits(cls, checkpoint: Checkpoint) -> bool:
        """Return whether CrossEncoder would read a checkpoint as a causal language model."""
        if logit_score.is_declared(checkpoint.folder):
            return True
        head = checkpoint.source.heads.get(cls.head)
        named = head is not None and bool({*head.architectures} & {*checkpoint.written_by})
        return named and not logit_score.has_modules(checkpoint.folder)

    @classmethod
    def is_declared_by(cls, checkpoint: Checkpoint) -> bool:
        return logit_score.is_declared(checkpoint.folder)

    @classmethod
    def arguments_of(cls, checkpoint: Checkpoint, given: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = {"activation_fn": cross_encoder.recorded_activation(checkpoint)}
        if given.get("true_token_id") is None:
            score = logit_score.read(checkpoint)
            found |= {"true_token_id": score.true_token_id, "false_token_id": score.false_token_id}
        return super().arguments_of(checkpoint, found | given)

    @classmethod
    def preprocessor_of(
        cls, checkpoint: Checkpoint, arguments: Mapping[str, Any], source: TextSource
    ) -> Any:
        found, folder = super().preprocessor_of(checkpoint, arguments, source), source.folder
        declared, _ = read_transformer(folder, "", TextConfig(), CAUSAL_TRANSFORMER)
        declared, _ = read_settings(folder, declared, CROSS_ENCODER_FIELDS)
        found = with_declared(found, declared, arguments["max_sequence_length"])
        messages = logit_score.read_messages(folder, found.tokenizer.chat_templates)
        found.message_format, found.template_variables = messages
        return found

    def write_files(self, folder: Path) -> None:
        super().write_files(folder)
        preprocessor = self.preprocessor
        score = logit_score.ScoreConfig(
            self.true_token_id,
            self.false_token_id,
            preprocessor and preprocessor.message_format,
            preprocessor.template_variables if preprocessor else {},
        )
        templates = preprocessor.tokenizer.chat_templates if preprocessor else {}
        logit_score.write(folder, score, templates)
        create = preprocessor is not None
        cross_encoder.update_files(folder, self.activation_fn, preprocessor, create)
