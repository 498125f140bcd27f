"""Metrics of language models and of generated text.

BLEU, ROUGE and the word error rate are computed by the libraries that published results use; they
are in the extra `inarch[metrics]`. Metrics of rankings are in `retrieval`.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from statistics import fmean
from types import ModuleType
from typing import Any

import keras
from keras import ops

from inarch.errors import InputError, InputTypeError, MissingExtraError
from inarch.validation import check_count, check_flag, shown

References = Sequence[str | Sequence[str]]


@keras.saving.register_keras_serializable("inarch")
class Perplexity(keras.metrics.Metric):
    """Perplexity, the exponential of the mean cross entropy of all tokens.

    The arguments are those of KerasHub's metric. That one averages the means of batches, as Keras
    does for losses; here every token counts alike, so that the number doesn't depend on how texts
    are batched. For batches of equal numbers of tokens the two are the same.

    Args:
        from_logits: whether predictions are logits rather than probabilities.
        mask_token_id: id of targets that don't count, such as padding.
        dtype: of the computation, a floating point type.
        name: of the metric.

    Raises:
        InputError: `dtype` isn't a floating point type, or another argument can't be used.
    """

    def __init__(
        self,
        from_logits: bool = False,
        mask_token_id: int | None = None,
        dtype: Any = "float32",
        name: str = "perplexity",
        **kwargs: Any,
    ):
        check_flag("from_logits", from_logits)
        if mask_token_id is not None:
            check_count("mask_token_id", mask_token_id, 0)
        super().__init__(name=name, dtype=dtype, **kwargs)
        if not keras.backend.is_float_dtype(self.dtype):
            raise InputError(f"dtype is {shown(dtype)}; it must be a floating point type")
        self.from_logits = from_logits
        self.mask_token_id = mask_token_id
        self._total = self.add_weight(shape=(), initializer="zeros", name="total")
        self._count = self.add_weight(shape=(), initializer="zeros", name="count")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add tokens.

        Args:
            y_true: token ids `[batch, length]`.
            y_pred: logits or probabilities `[batch, length, vocabulary]`.
            sample_weight: weights `[batch, length]`, or `[batch]`.
        """
        y_true = ops.cast(y_true, "int32")
        losses = ops.sparse_categorical_crossentropy(
            y_true, ops.cast(y_pred, self.dtype), from_logits=self.from_logits
        )
        weights = ops.ones_like(losses)
        if sample_weight is not None:
            sample_weight = ops.cast(sample_weight, self.dtype)
            while len(sample_weight.shape) < len(losses.shape):
                sample_weight = ops.expand_dims(sample_weight, -1)
            weights = weights * sample_weight
        if self.mask_token_id is not None:
            weights = weights * ops.cast(y_true != self.mask_token_id, self.dtype)
        self._total.assign_add(ops.sum(ops.cast(losses * weights, self.dtype)))
        self._count.assign_add(ops.sum(ops.cast(weights, self.dtype)))

    def result(self) -> Any:
        """Return the perplexity, 0 where no token was counted."""
        mean = ops.divide_no_nan(self._total, self._count)
        return ops.where(ops.equal(self._count, 0), ops.zeros_like(mean), ops.exp(mean))

    def get_config(self) -> dict[str, Any]:
        own = {"from_logits": self.from_logits, "mask_token_id": self.mask_token_id}
        return super().get_config() | own


def bleu(predictions: Sequence[str], references: References, **options: Any) -> float:
    """Return the BLEU score of a corpus, 0 to 100, by sacrebleu (Post, 2018, arXiv:1804.08771).

    Args:
        predictions: generated texts.
        references: for each of them the right text, or several.
        options: of `sacrebleu.corpus_bleu`, such as `tokenize="zh"` and `lowercase=True`.

    Raises:
        MissingExtraError: sacrebleu isn't installed.
        InputTypeError, InputError: there are no texts, or not one reference for each.
    """
    library = _library("sacrebleu", "BLEU")
    several = _checked(predictions, references)
    most = max(map(len, several))
    # One list for each place; a text with fewer references has None there.
    places = [[r[i] if i < len(r) else None for r in several] for i in range(most)]
    return float(library.corpus_bleu(list(predictions), places, **options).score)


def rouge(
    predictions: Sequence[str],
    references: References,
    rouge_types: Sequence[str] = ("rouge1", "rouge2", "rougeL", "rougeLsum"),
    use_stemmer: bool = False,
) -> dict[str, float]:
    """Return the mean F measures of ROUGE, from 0 to 1, by rouge-score (Lin, 2004).

    Args:
        predictions: generated texts.
        references: for each of them the right text, or several, of which the best counts.
        rouge_types: names of rouge-score's; for "rougeLsum" sentences are lines.
        use_stemmer: whether endings of English words are cut off.

    Raises:
        MissingExtraError: rouge-score isn't installed.
        InputTypeError, InputError: there are no texts, not one reference for each, or a type is
            unknown.
    """
    library = _library("rouge_score.rouge_scorer", "ROUGE")
    several = _checked(predictions, references)
    try:
        scorer = library.RougeScorer(list(rouge_types), use_stemmer=use_stemmer)
        scores = [
            scorer.score_multi(right, text)
            for text, right in zip(predictions, several, strict=True)
        ]
    except ValueError as error:
        raise InputError(f"rouge_types is {shown(rouge_types)}: {error}") from error
    return {name: fmean(score[name].fmeasure for score in scores) for name in rouge_types}


def word_error_rate(predictions: Sequence[str], references: Sequence[str]) -> float:
    """Return the word error rate of transcripts, by jiwer: edits per word of the references.

    Texts are compared as they are, but for white space; normalize both the same way before.

    Args:
        predictions: transcripts.
        references: for each of them the right text.

    Raises:
        MissingExtraError: jiwer isn't installed.
        InputTypeError, InputError: there are no texts, not one reference for each, or the
            references have no words.
    """
    library = _library("jiwer", "the word error rate")
    right = [texts[0] for texts in _checked(predictions, references, most=1)]
    if not any(map(str.split, right)):
        raise InputError("references holds no words, by which errors are counted")
    return float(library.wer(right, list(predictions)))


def _library(name: str, what: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        package = name.partition(".")[0].replace("_", "-")
        raise MissingExtraError(f"{what} needs {package}: pip install 'inarch[metrics]'") from error


def _checked(predictions: Any, references: Any, most: int | None = None) -> list[list[str]]:
    """Return the references of each prediction as lists."""
    for name, texts in (("predictions", predictions), ("references", references)):
        if isinstance(texts, str) or not isinstance(texts, Sequence):
            raise InputTypeError(f"{name} is {shown(texts)}; give a list of texts")
    if len(predictions) != len(references):
        raise InputError(
            f"there are {len(predictions)} predictions and {len(references)} references; give one "
            "for each"
        )
    if not predictions:
        raise InputError("predictions holds no texts; give at least one")
    several = [list(r) if isinstance(r, list | tuple) else [r] for r in references]
    for index, (text, right) in enumerate(zip(predictions, several, strict=True)):
        for each in (text, *right):
            if not isinstance(each, str):
                raise InputTypeError(f"text {index} is {shown(each)}; give strings")
        if not right or (most and len(right) > most):
            wanted = "one" if most else "at least one"
            raise InputError(f"text {index} has {len(right)} references; give {wanted}")
    return several
