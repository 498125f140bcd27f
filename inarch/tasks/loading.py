"""A task of a checkpoint: its backbone, its head and its preprocessor, with trained weights."""

from __future__ import annotations

import inspect
import os
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from inarch.checkpoints.io.steady import retry_when_changed
from inarch.errors import InputError, PresetError
from inarch.models.arguments import mutable_arguments
from inarch.models.load_weights import load_checkpoint_weights
from inarch.models.loading import Checkpoint
from inarch.models.variables import build_without_values
from inarch.preprocessors.text_source import TextSource, check_choice
from inarch.tasks.settings_file import read_settings

if TYPE_CHECKING:
    from inarch.tasks.task import Task

T = TypeVar("T", bound="Task")


@retry_when_changed
def load_task(
    cls: type[T],
    preset: str | os.PathLike,
    arguments: Mapping[str, Any],
    *,
    load_weights: bool,
    dtype: Any,
    preprocessor: Any,
    tokenizer: Any,
    ignore_fields: Collection[str],
) -> T:
    """Load a task, by the arguments of `Task.from_preset`."""
    usual = cls.preprocessor_class
    is_other = isinstance(preprocessor, cls.other_preprocessors)
    choice = check_choice(type(preprocessor) if is_other else usual, preprocessor, tokenizer)
    with Checkpoint(preset, ignore_fields=ignore_fields) as checkpoint:
        cls = cls.class_for(checkpoint, arguments)
        if cls.preprocessor_class is not usual:
            choice = check_choice(cls.preprocessor_class, preprocessor, tokenizer)
        arguments = cls.choose_variant(checkpoint, arguments)
        of_text, arguments = _split_arguments(cls, preprocessor, arguments)
        check_head(cls, checkpoint)
        names = inspect.signature(cls).parameters
        own = {name: arguments[name] for name in names if name in arguments}
        rest = {name: value for name, value in arguments.items() if name not in own}
        config = checkpoint.arguments(**optional_layers(cls, checkpoint) | rest)
        saved = read_settings(checkpoint.folder).arguments_of(cls, cls.saved_settings)
        own = saved | cls.arguments_of(checkpoint, own)
        if isinstance(preprocessor, str | os.PathLike):
            source = cls.open_source(choice, checkpoint)
            preprocessor = cls.preprocessor_of(checkpoint, config, source)
            if of_text:
                names = inspect.signature(type(preprocessor)).parameters
                found = {name: getattr(preprocessor, name) for name in names}
                preprocessor = type(preprocessor)(**found | of_text)

        def build() -> T:
            backbone = checkpoint.backbone(**config, dtype=dtype)
            return cls(backbone, preprocessor=preprocessor, **own)  # type: ignore[call-arg]

        if not load_weights:
            checkpoint.check_unchanged()
            return build()
        task, waiting = build_without_values(build)
        misfit = task.head_misfit(checkpoint)
        load_checkpoint_weights(
            checkpoint, task, waiting, None if misfit else cls.head, misfit or ""
        )
        task.load_sidecar_weights(checkpoint.folder)
        checkpoint.check_unchanged()
    return task


def _split_arguments(
    cls: type[Task], preprocessor: Any, arguments: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the arguments that are the preprocessor's, and all others.

    Raises:
        InputError: some are the preprocessor's, and it isn't made here.
    """
    settable = mutable_arguments(cls.preprocessor_class).keys() - mutable_arguments(cls).keys()
    of_text = {name: arguments[name] for name in settable if name in arguments}
    if of_text and not isinstance(preprocessor, str | os.PathLike):
        name, value = next(iter(of_text.items()))
        raise InputError(
            f"{name}={value!r} is an argument of the preprocessor, and preprocessor is given; set "
            "it there"
        )
    return of_text, {n: v for n, v in arguments.items() if n not in of_text}


def read_preprocessor(cls: type[Task], source: TextSource, limit: int) -> Any:
    """Return a preprocessor with the tokenizer and the settings of a source.

    Args:
        limit: the backbone's longest sequence.
    """
    tokenizer, saved = source.tokenizer, read_settings(source.folder)
    length = saved.sequence_length or tokenizer.model_max_length or limit
    special = cls.default_special(tokenizer)
    if saved.task == cls.__name__ and saved.allow_special is not None:
        special = saved.allow_special
    return cls.preprocessor_class(
        tokenizer,
        min(length, limit),
        special,
        bool(saved.lowercase),
        saved.prompts,
        saved.default_prompt_name,
    )


def check_head(cls: type[Task], checkpoint: Checkpoint) -> None:
    """Raise PresetError where an architecture has no head for a task."""
    if cls.head and cls.head not in checkpoint.source.heads:
        raise PresetError(
            f"{checkpoint.folder} holds model_type {checkpoint.source.model_type!r}, which "
            f"has no head for {cls.__name__}; it has {', '.join(checkpoint.source.heads)}"
        )


def optional_layers(cls: type[Task], checkpoint: Checkpoint) -> dict[str, bool]:
    """Return which optional layers to build, by argument, where the file doesn't decide it.

    A fresh head gets the backbone that the reference has below it: what it needs and no more.
    """
    if cls.head is None:
        # What embeds texts is an encoder, of whatever else there may be next to it.
        return dict.fromkeys({"decoder"} & checkpoint.source.optional_layers.keys(), False)
    required = checkpoint.source.heads[cls.head].requires
    if checkpoint.has_head(cls.head):
        return dict.fromkeys(required, True)
    return {part: part in required for part in checkpoint.source.optional_layers}
