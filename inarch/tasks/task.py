"""`Task`: a backbone, a head and a preprocessor as one Keras model that takes raw examples."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Self, TypeVar

import keras
import numpy as np

from inarch.data import PackedBatch, PlannedBatch
from inarch.errors import ConfigError, InputError, InputTypeError
from inarch.json_fields import OBJECT, read_field
from inarch.models.arguments import MutableArgument
from inarch.models.backbone import Backbone
from inarch.models.model import Model
from inarch.preprocessors.preprocessor import TextPreprocessor, TokenRow
from inarch.tasks import inference, raw_data
from inarch.tasks.checkpoint_io import CheckpointIO
from inarch.tasks.precision import LowPrecision
from inarch.tasks.runtimes import Forwards, in_runtime, refuse_runtime
from inarch.tasks.stream import CHUNK, OnError, stream
from inarch.tasks.training import Training
from inarch.text import Encoding
from inarch.training.datasets import default_batch_size, is_prepared
from inarch.validation import shown

T = TypeVar("T")


def _checked_preprocessor(task: Task, preprocessor: Any) -> Any:
    kind = task.preprocessor_class
    if preprocessor is not None and not isinstance(preprocessor, kind):
        raise InputTypeError(
            f"preprocessor is {shown(preprocessor)}; give a {kind.__name__}, or None to feed "
            "prepared arrays"
        )
    return preprocessor


class Task(CheckpointIO, Training, LowPrecision, Model):
    """Base class of the tasks.

    A task is called like any Keras model on `{"token_ids", "padding_mask"[, "segment_ids"]}`;
    `fit`, `evaluate` and `predict` also take raw text where it has a preprocessor.

    A new task gives its graph (`outputs`), the `objective` that it is trained by, how `targets` are
    checked, a verb that makes answers of logits, and what the config has of its head
    (`arguments_of`, `head_fields`).

    What a task is configured by are attributes: each `MutableArgument` may be set anew
    and is in every file that is saved, all others are read-only.

    Attributes:
        backbone: the model below the head.
        preprocessor: text to inputs; None where prepared arrays are fed.
        fresh_weights: names of weights that the checkpoint had no values for.
    """

    # The hub's name of what the task does, and of the library that opens its folder; and the class
    # of that library, where it isn't the architecture's of transformers.
    pipeline_tag: ClassVar[str | None] = None
    library_name: ClassVar[str] = "transformers"
    library_class: ClassVar[str | None] = None
    preprocessor_class: ClassVar[Any] = TextPreprocessor
    # Whether outputs are of tokens, rather than of whole texts.
    has_token_outputs: ClassVar[bool] = False
    # Whether targets and weights are of tokens, too.
    has_token_targets: ClassVar[bool] = False
    # The method that `stream` calls with a list of examples.
    verb: ClassVar[str] = "predict"
    # An input that the backbone must have.
    required_input: ClassVar[str] = "token_ids"
    # Whether it is trained on texts alone, and so on the lines of a file.
    is_self_supervised: ClassVar[bool] = False
    backbone: Backbone
    preprocessor = MutableArgument(_checked_preprocessor)
    _forwards: Forwards | None = None

    def __init__(
        self,
        backbone: Backbone,
        outputs: Callable[[Any], Any],
        preprocessor: TextPreprocessor | None,
        **kwargs: Any,
    ):
        if not isinstance(backbone, Backbone):
            raise InputTypeError(
                f"backbone is {shown(backbone)}; give what Backbone.from_preset returns, or "
                f"load the whole: {type(self).__name__}.from_preset(...)"
            )
        inputs = backbone.input
        if self.required_input not in inputs:
            raise InputError(
                f"{type(self).__name__} needs the input {self.required_input}, and "
                f"{type(backbone).__name__} takes {', '.join(inputs)}; choose another task for it"
            )
        before = keras.config.dtype_policy()
        keras.config.set_dtype_policy(backbone.dtype_policy)
        try:
            below = backbone(inputs)
            super().__init__(inputs=inputs, outputs=outputs(below), **kwargs)
        finally:
            keras.config.set_dtype_policy(before)
        self.backbone = backbone
        self.backbone_outputs = below
        self.preprocessor = preprocessor

    # --- config and Keras files ----------------------------------------------------------------

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        config["backbone"] = keras.saving.serialize_keras_object(self.backbone)
        config["preprocessor"] = self.preprocessor and self.preprocessor.get_config()
        return config

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Self:
        where = f"the config of a {cls.__name__}"
        stored = read_field(config, "backbone", OBJECT, where=where)
        text = read_field(config, "preprocessor", OBJECT, None, where=where)
        backbone = keras.saving.deserialize_keras_object(stored, custom_objects)
        if not isinstance(backbone, Backbone):
            raise ConfigError(
                f"{where}: 'backbone' is a {type(backbone).__name__}; it must be a Backbone"
            )
        preprocessor = cls.preprocessor_class.from_config(text) if text else None
        made = {"backbone": backbone, "preprocessor": preprocessor}
        return super().from_config(config | made, custom_objects)

    # --- inference -----------------------------------------------------------------------------

    @in_runtime
    def predict(
        self,
        x: Any,
        batch_size: int | None = None,
        verbose: Any = "auto",
        steps: int | None = None,
        callbacks: Any = None,
        *,
        runtime: str | None = None,
    ) -> Any:
        """Return outputs for raw text, in the caller's order, as float32 arrays.

        Args:
            x: a list or array of strings (or pairs of strings), a data set of such batches, or
                what `keras.Model.predict` takes.
            batch_size: size of a batch, in texts of 64 tokens; 32 where not given, so that 2,048
                tokens are computed at a time. Texts are packed into rows, of whose tokens each
                attends to its own text only. Of prepared arrays, and where a backbone takes no
                padding (`padding_affects_output`), it is a number of rows.
            verbose: progress bar; by default on a terminal only.
            steps: batches to read of a data set.
            callbacks: Keras callbacks.
            runtime: "openvino" or "onnx", which computes the tokens' vectors in place of Keras,
                from raw text; made at the first call, and anew when the weights have changed.
        """
        if self.preprocessor is None or is_prepared(x):
            refuse_runtime(runtime)
            return super().predict(x, batch_size, verbose, steps, callbacks)
        given = raw_data.inputs_to_predict(x, steps)
        if given and isinstance(given[0], Mapping):
            refuse_runtime(runtime)
            return np.concatenate([super(Task, self).predict(i, verbose=0) for i in given])
        return self.predict_texts(given, default_batch_size(batch_size), verbose, callbacks)

    def stream(
        self,
        examples: Iterable[Any],
        *,
        on_error: OnError | None = None,
        chunk: int = CHUNK,
        **options: Any,
    ) -> Iterator[Any]:
        """Return an iterator of the answer to each of `examples`, in order, in bounded memory.

        An answer is what the task's own method returns for an example of a list: `embed` (of
        vectors of tokens `embed_document`), `classify`, `tag`, `answer`, `fill_mask`, `generate`;
        of a reranker `predict`.

        Args:
            examples: an iterable of any length: texts, pairs, or (question, context) pairs.
            on_error: called with the number, counted from 0, the example and the error of one that
                can't be answered; what it returns takes the place of the answer.
            chunk: how many examples are read and answered together.
            options: arguments of that method, such as `batch_size` or `top_k`.

        Raises:
            InputTypeError: `examples` is one text, a table, or no iterable.
            InputError, InputTypeError: from the iterator, of an example that can't be answered,
                with its number, after the answers to those before it;
                or of an option, as it is, also where there is `on_error`.
        """
        return stream(lambda part: self.answers(part, **options), examples, on_error, chunk)

    def answers(self, examples: Sequence[Any], **options: Any) -> Sequence[Any]:
        """Return the answer to each example of a list."""
        return getattr(self, self.verb)(examples, **options)

    def predict_texts(
        self,
        texts: Sequence[Any],
        batch_size: int,
        verbose: Any = 0,
        callbacks: Any = None,
        prompt_name: str | None = None,
    ) -> np.ndarray:
        """Return the outputs of `predict` for a list of texts.

        Those of tokens are float32 `[texts, longest, width]`, 0 beyond the end of a text, which is
        cut to one row.

        Args:
            prompt_name: of the prompt to put before each; for outputs of whole texts the
                preprocessor's default one where not given.
        """
        texts = self.checked_texts(texts)
        if self.has_token_outputs:
            encodings = self.encode(texts, prompt_name)
            return inference.token_outputs(self, encodings, batch_size, verbose, callbacks)
        default = inference.preprocessor_of(self).default_prompt_name
        encodings = self.encode(texts, default if prompt_name is None else prompt_name)
        return self.predict_encodings(encodings, batch_size, verbose, callbacks)

    def checked_texts(self, texts: Sequence[Any]) -> Sequence[Any]:
        """Return texts to predict, of which each must be what the task reads, such as a pair."""
        return texts

    def predict_encodings(
        self,
        encodings: Sequence[Encoding],
        batch_size: int,
        verbose: Any = 0,
        callbacks: Any = None,
    ) -> np.ndarray:
        """Return the outputs of `predict` for encoded texts."""
        rows = self.map_outputs(lambda index, row: row, encodings, batch_size, verbose, callbacks)
        if rows:
            return np.stack(rows) if len(rows) > 1 else rows[0][np.newaxis]
        return np.zeros((0, *(n or 0 for n in self.output_shape[1:])), np.float32)

    def encode(self, texts: Sequence[Any], prompt_name: str | None = None) -> list[Encoding]:
        """Return the token ids of each text or pair of texts, truncated, unpadded.

        Raises:
            InputError: there is no preprocessor, or no prompt of that name; or the tokenizer has
                tokens that the model doesn't have.
        """
        encodings = inference.preprocessor_of(self).encode(texts, prompt_name)
        inference.check_vocabulary(self, encodings)
        return encodings

    def outputs_of(
        self, encodings: Sequence[TokenRow], batch_size: int, verbose: Any, callbacks: Any
    ) -> Iterator[tuple[PlannedBatch, np.ndarray]]:
        """Yield each batch of `encodings` with the model's outputs for its rows."""
        if self._forwards is None:
            self._forwards = Forwards(self)
        forward, batches = self._forwards.chosen(), self.batches_of(encodings, batch_size)
        return inference.run(self, forward, encodings, batches, verbose, callbacks)

    def map_outputs(
        self,
        function: Callable[[int, np.ndarray], T],
        encodings: Sequence[TokenRow],
        batch_size: int,
        verbose: Any = 0,
        callbacks: Any = None,
    ) -> list[T]:
        """Return `function(index, output)` of each of `encodings`, in their order.

        An output is the model's for one row: of tokens it has those of padding at its end, too.
        """
        found: list[Any] = [None] * len(encodings)
        for batch, output in self.outputs_of(encodings, batch_size, verbose, callbacks):
            for index, row in zip(batch.indices, output, strict=True):
                found[index] = function(index, row)
        return found

    def batches_of(
        self, encodings: Sequence[TokenRow], batch_size: int
    ) -> list[PackedBatch | PlannedBatch]:
        """Return batches in which no text's numbers depend on the others."""
        return inference.plan(self, encodings, batch_size)

    def inputs_of(
        self, encodings: Sequence[TokenRow], batch: PlannedBatch
    ) -> dict[str, np.ndarray]:
        """Return the inputs for one batch of `encodings`."""
        pad, given = inference.preprocessor_of(self).pad, [encodings[i] for i in batch.indices]
        return self.select_inputs(pad(given, batch.rows, batch.length))

    def padded(self, encodings: Sequence[TokenRow]) -> dict[str, np.ndarray]:
        """Return the inputs for `encodings` in one batch."""
        return self.inputs_of(encodings, inference.one_batch(self, encodings))

    def select_inputs(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return the arrays that this architecture takes, with its defaults for those not given."""
        if self.input.keys() - arrays.keys():
            arrays = {**self.backbone.default_inputs(self.head, arrays), **arrays}
        return {name: arrays[name] for name in self.input}
