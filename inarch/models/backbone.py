"""`Backbone`: an architecture, from a checkpoint and back to it."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, ClassVar, Self

import keras
import numpy as np
from keras.layers import Dense, Dropout

from inarch.checkpoints.io.steady import retry_when_changed
from inarch.errors import PresetError
from inarch.keras_private import all_layers
from inarch.layers.frames import frame_count, frame_mask, sample_count
from inarch.models import saving
from inarch.models.layout_map import layout_map
from inarch.models.load_weights import load_checkpoint_weights
from inarch.models.loading import Checkpoint
from inarch.models.model import Model
from inarch.models.variables import build_without_values

# Arguments that count layers and heads, of one stack or of an encoder and a decoder.
_LAYERS = re.compile(r"num_(encoder_|decoder_)?layers")
_HEADS = re.compile(r"num_(encoder_|decoder_)?heads")


class Backbone(Model):
    """Base class of the architectures.

    A subclass builds its graph in `__init__` and hands inputs and outputs to this class; the
    formats it is read from are in `checkpoint.py` next to it. For the attributes see `Model`.

    An encoder-decoder of text has the inputs `encoder_token_ids`, `encoder_padding_mask`,
    `decoder_token_ids` and `decoder_padding_mask`, int32 `[batch, length]` each, of which those of
    the encoder may have another length (`encoder_decoder_inputs`), and the outputs
    `encoder_sequence_output` and `decoder_sequence_output`, float `[batch, length, hidden_dim]`.
    Its method `seq2seq_lm(outputs, tie_word_embeddings)` gives logits of the token after each of
    the decoder's, by a layer `logits` where the output embeddings are its own, and a layer
    `logits_bias` on top where the family has one. `decoder_stack(head, logits_bias)` describes the
    decoder for generation, given these layers; a family without a bias leaves out the second.

    Attributes:
        padding_affects_output: whether the numbers of a row's tokens depend on all that is in the
            row, as where no mask is honoured: on padding, and on other sequences packed in it. The
            tasks then predict without padding, on batches of sequences of one length.
        packs_sequences: whether several sequences may be packed into one row.
        padding_side: where the reference expects padding, "right" or "left"; what is computed of
            tokens doesn't depend on it.
    """

    padding_affects_output: ClassVar[bool] = False
    packs_sequences: ClassVar[bool] = True
    padding_side: ClassVar[str] = "right"

    @property
    def reference_reads_padding(self) -> bool:
        """Return whether the reference's numbers depend on padding where ours don't.

        It is then compared on rows without padding.
        """
        return False

    @property
    def reference_row_multiple(self) -> int:
        """Return the number of tokens to whose multiples the reference pads rows.

        It is compared on rows of such lengths, in which its modules give what ours do.
        """
        return 1

    def default_inputs(
        self, head: str | None, arrays: Mapping[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        """Return the inputs of a task that no preprocessor makes, such as which tokens are global.

        Args:
            head: of the task; None where it has none.
            arrays: what the preprocessor makes of a batch, each `[batch, length]`.
        """
        return {}

    @property
    def windows(self) -> tuple[Sequence[int], Sequence[int]]:
        """Kernel sizes and strides of the convolutions that make positions of a row of samples.

        They are empty where each token of a row has its position.
        """
        return (), ()

    def row_length(self, positions: int) -> int:
        """Return the fewest samples, or tokens, of a row that has vectors of so many positions."""
        return sample_count(positions, *self.windows)

    def position_count(self, length: int) -> int:
        """Return the number of positions of a row of so many samples or tokens."""
        return frame_count(length, *self.windows)

    def position_mask(self, padding_mask: np.ndarray) -> np.ndarray:
        """Return the mask `[batch, positions]` of the vectors that a padding mask of rows gives."""
        has_windows = bool(self.windows[0])
        return frame_mask(padding_mask, *self.windows) if has_windows else padding_mask

    @property
    def attends_one_way(self) -> bool:
        """Return whether a token may attend to a sequence that doesn't attend to it.

        Such a token has the sequence id -1 in `padding_mask`.
        """
        return all(getattr(layer, "attends_one_way", True) for layer in self.layers)

    @property
    def hidden_dim(self) -> int:
        """Width of the vectors of tokens."""
        return self.arguments["hidden_dim"]

    @property
    def num_layers(self) -> int:
        """Number of Transformer layers, those of an encoder and of a decoder together."""
        has_decoder = self.arguments.get("decoder", True)
        counts = {name: n for name, n in self.arguments.items() if _LAYERS.fullmatch(name)}
        return sum(n for name, n in counts.items() if has_decoder or name != "num_decoder_layers")

    @property
    def num_heads(self) -> int | None:
        """Attention heads of each layer; None where there are none, or not everywhere as many."""
        found = {n for name, n in self.arguments.items() if _HEADS.fullmatch(name)}
        return found.pop() if len(found) == 1 else None

    @property
    def token_embedding(self) -> keras.layers.ReversibleEmbedding:
        """Layer whose table has a row for each token of the vocabulary."""
        return next(layer for layer in all_layers(self) if layer.name == "token_embedding")

    @property
    def max_length(self) -> int | None:
        """Most tokens of a row; None where positions are only relative, which have no limit."""
        absolute = self.argument("absolute_positions", True)
        return self.argument("max_sequence_length") if absolute else None

    @property
    def axis_limits(self) -> dict[str, int]:
        """Largest sizes of open axes of the inputs, by name (see `models.serving`)."""
        return {} if self.max_length is None else {"length": self.max_length}

    @classmethod
    @retry_when_changed
    def from_preset(
        cls,
        preset: str | os.PathLike,
        *,
        load_weights: bool = True,
        dtype: Any = None,
        ignore_fields: Collection[str] = (),
        **overrides: Any,
    ) -> Self:
        """Load the model of a checkpoint.

        Args:
            preset: a folder, a built-in name, or a hub id (`owner/name`, optionally `@revision`).
            load_weights: False for the same architecture with initial weights.
            dtype: dtype or dtype policy; Keras's default where not given.
            ignore_fields: fields of `config.json` that are unknown or refused here and that you
                know to do nothing; taken as absent, and named again in the folder that is saved.
            overrides: constructor arguments that replace those of the config, such as `dropout`.

        Raises:
            PresetError: `preset` leads nowhere, or to an architecture of another class.
            CheckpointFileError: a file is absent or damaged.
            ConfigError: a field of the config has a value that can't be computed.
            WeightMapError: tensors are missing, unknown or of another shape.
        """
        with Checkpoint(preset, cls, ignore_fields) as checkpoint:
            found = cls.resolve_class(checkpoint)
            arguments = checkpoint.arguments(**overrides)
            if not load_weights:
                checkpoint.check_unchanged()
                return checkpoint.backbone(found, **arguments, dtype=dtype)
            model, waiting = build_without_values(
                lambda: checkpoint.backbone(found, **arguments, dtype=dtype)
            )
            load_checkpoint_weights(checkpoint, model, waiting)
            checkpoint.check_unchanged()
        return model

    @classmethod
    def get_layout_map(
        cls,
        preset: str | os.PathLike,
        device_mesh: Any,
        model_parallel_dim_name: str = "model",
        *,
        ignore_fields: Collection[str] = (),
        **overrides: Any,
    ) -> keras.distribution.LayoutMap:
        """Return the layout of each weight of a checkpoint's model over the devices of a mesh.

        Only the config is read. The map is for `keras.distribution.ModelParallel`, in whose scope
        the model, or a task with it, is loaded afterwards; a task's head, which has a layout in
        `Task.get_layout_map`, is whole on every device then. It has the layouts of
        `inarch.models.layout_map.layout_map`, which takes a model.

        Args:
            preset, ignore_fields, overrides: as in `from_preset`.
            device_mesh: a `keras.distribution.DeviceMesh`.
            model_parallel_dim_name: the axis of the mesh over which weights are cut.

        Raises:
            InputTypeError: `device_mesh` isn't one.
            InputError: the mesh has no such axis, or the backend isn't JAX.
            PresetError, CheckpointFileError, ConfigError: as `from_preset`.
        """
        with Checkpoint(preset, cls, ignore_fields) as checkpoint:
            found = cls.resolve_class(checkpoint)
            arguments = checkpoint.arguments(**overrides)
            model, _ = build_without_values(lambda: checkpoint.backbone(found, **arguments))
            checkpoint.check_unchanged()
        return layout_map(model, device_mesh, model_parallel_dim_name)

    @classmethod
    def resolve_class(cls, checkpoint: Checkpoint) -> type[Self]:
        """Return the class to build for a checkpoint: this one, if it is the right kind."""
        right = checkpoint.architecture.backbone
        if issubclass(cls, right):
            return cls
        if issubclass(right, cls):
            return right
        raise PresetError(
            f"{checkpoint.folder} holds model_type {checkpoint.source.model_type!r}: "
            f"use {right.__name__}.from_preset (or Backbone.from_preset), not {cls.__name__}"
        )

    def save_to_preset(
        self, folder: str | os.PathLike, *, overwrite: bool = False, model_card: bool = False
    ) -> None:
        """Write config and weights to `folder` in the format that it came in.

        A model from a checkpoint that nothing has changed is written back tensor for tensor. Files
        of the folder that aren't a checkpoint's stay as they are.

        Args:
            folder: a new folder, an empty one, or one that holds a checkpoint.
            overwrite: whether it may also hold other things and no checkpoint.
            model_card: whether to write a README.md with base model, task and labels; one that
                isn't of this library, or that was edited, stays as it is.

        Raises:
            CheckpointFileError: the folder can't be written; what was there stays whole.
        """
        saving.save(self, folder, overwrite=overwrite, model_card=model_card)

    # --- encoder-decoders ----------------------------------------------------------------------

    def encoder(self) -> keras.Model:
        """Return the encoder of an encoder-decoder: its inputs to `encoder_sequence_output`.

        It shares its layers with this model.
        """
        inputs = {n: x for n, x in self.input.items() if not n.startswith("decoder_")}
        return keras.Model(inputs, self.output["encoder_sequence_output"])

    # Heads over tokens, which are one linear layer in nearly every reference; an architecture
    # overrides what differs in its own.

    @staticmethod
    def sequence_output(outputs: Any) -> Any:
        """Return the vectors of tokens `[batch, length, dim]` among the outputs of a backbone."""
        if not isinstance(outputs, dict):
            return outputs
        return outputs.get("sequence_output", outputs.get("decoder_sequence_output"))

    def token_features(self, outputs: Any) -> Any:
        """Return the vectors `[batch, length, dim]` that a head over tokens reads."""
        return self.sequence_output(outputs)

    def token_classifier(self, outputs: Any, num_classes: int, dropout: float | None = None) -> Any:
        """Return logits `[batch, length, num_classes]`, of each token."""
        rate = self.arguments.get("dropout", 0.0) if dropout is None else dropout
        x = Dropout(rate, name="classifier_dropout")(self.token_features(outputs))
        return Dense(num_classes, name="logits")(x)

    def tanh_classifier(self, pooled: Any, num_classes: int, dropout: float | None = None) -> Any:
        """Return logits `[batch, num_classes]` of a vector for each text, through a tanh layer."""
        rate = self.arguments["dropout"] if dropout is None else dropout
        x = Dropout(rate, name="pooled_dropout")(pooled)
        x = Dense(self.hidden_dim, "tanh", name="pooled_dense")(x)
        return Dense(num_classes, name="logits")(Dropout(rate, name="classifier_dropout")(x))

    def question_answering(self, outputs: Any, dropout: float = 0.0) -> Any:
        """Return logits `[batch, length, 2]`: of an answer's first token, and of its last."""
        x = self.token_features(outputs)
        x = Dropout(dropout, name="answer_dropout")(x) if dropout else x
        return Dense(2, name="logits")(x)


def encoder_decoder_inputs() -> dict[str, Any]:
    """Return the symbolic inputs of an encoder-decoder of text, each `[batch, length]` int32.

    They are `token_ids` and `padding_mask` (see `text_inputs`) of the encoder and of the decoder,
    whose tokens attend to the encoder's tokens of the same sequence id.
    """
    names = [f"{s}_{n}" for s in ("encoder", "decoder") for n in ("token_ids", "padding_mask")]
    return {name: keras.Input((None,), dtype="int32", name=name) for name in names}


def text_inputs(*extra: str) -> dict[str, Any]:
    """Return the symbolic inputs of a text model, each `[batch, length]` int32.

    `token_ids`, `padding_mask` (0 for padding, 1 for tokens; 2 and up for the further sequences
    of a packed row), and any `extra` ones such as `segment_ids`.
    """
    names = ("token_ids", "padding_mask", *extra)
    return {name: keras.Input((None,), dtype="int32", name=name) for name in names}
