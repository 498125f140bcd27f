"""Checks of the config in a `.keras` file, which may hold anything."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from inarch.checkpoints.maps.layout import Layout
from inarch.errors import ConfigError
from inarch.file_names import SIDECAR_FILES
from inarch.json_fields import OBJECT, read_field
from inarch.models import registry
from inarch.models.arguments import KERAS_ARGUMENTS, mutable_arguments
from inarch.models.sidecar import CROSS_ENCODER
from inarch.validation import listed, shown


def check_arguments(cls: type[Any], values: Mapping[str, Any], where: str) -> None:
    """Refuse values that aren't named as a class's constructor names its arguments.

    Raises:
        ConfigError: an argument is unknown, or one without a default is missing.
    """
    signature = inspect.signature(cls.__init__)
    own = [name for name in values if name in signature.parameters or name not in KERAS_ARGUMENTS]
    try:
        signature.bind(None, **{name: values[name] for name in own})
    except TypeError as e:
        raise ConfigError(f"{where} doesn't fit {cls.__name__}: {e}") from e


def stored_layout(config: Mapping[str, Any], model: Any, where: str) -> Layout | None:
    """Return the layout that the config of a model keeps, if it keeps one.

    Raises:
        ConfigError: it is of another form, has files that aren't written next to a model, or is of
            a format that isn't the model's, so that nothing could be saved in it.
    """
    value = read_field(config, "layout", OBJECT, None, where=where)
    if not value:
        return None
    layout = Layout.from_json(value)
    if others := layout.sidecar_files.keys() - {*SIDECAR_FILES, *CROSS_ENCODER}:
        raise ConfigError(
            f"{where}: 'layout' keeps {listed(sorted(others))}, which isn't written next to a "
            f"model; it may keep {', '.join((*SIDECAR_FILES, *CROSS_ENCODER))}"
        )
    backbone = getattr(model, "backbone", model)
    known = [source.model_type for source in registry.of_backbone(type(backbone)).sources]
    model_type = layout.model_type or layout.config.get("model_type")
    if model_type not in known:
        raise ConfigError(
            f"{where}: 'layout' has model_type {shown(model_type)}; a "
            f"{type(backbone).__name__} is saved as {' or '.join(known)}"
        )
    return layout


def stored_settings(config: Mapping[str, Any], cls: type[Any], where: str) -> dict[str, Any]:
    """Return what is set on a model in addition to its constructor's arguments.

    Raises:
        ConfigError: a name is none of the class's mutable arguments.
    """
    settings = read_field(config, "settings", OBJECT, {}, where=where)
    known = mutable_arguments(cls)
    if unknown := settings.keys() - known.keys():
        raise ConfigError(
            f"{where}: 'settings' has {listed(sorted(unknown))}; a {cls.__name__} has the settings "
            f"{', '.join(known) or 'none'}"
        )
    return dict(settings)
