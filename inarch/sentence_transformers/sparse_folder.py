"""The folder layout of sentence-transformers' sparse encoders, read and written without it.

Format: sentence-transformers, sparse_encoder/model.py and modules/splade_pooling.py.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from inarch.errors import ConfigError
from inarch.file_names import MODULES
from inarch.file_names import SENTENCE_SETTINGS as SETTINGS
from inarch.json_fields import json_text
from inarch.layers.pooling import SPLADE_ACTIVATIONS, STRATEGIES
from inarch.sentence_transformers.module_files import (
    Module,
    TextConfig,
    file_texts,
    list_modules,
    modules_list,
    read_fields,
    read_settings,
    read_transformer,
    write_model,
)
from inarch.sentence_transformers.sentence_fields import SETTINGS as SETTINGS_FIELDS
from inarch.sentence_transformers.sentence_fields import (
    TRANSFORMER,
    Check,
    any_value,
    one_of,
    optional_count,
)
from inarch.sentence_transformers.settings import folder_config

if TYPE_CHECKING:
    from inarch.tasks.task import Task

_LOGITS = {"text": {"method": "forward", "method_output_name": "logits"}}
_FILL_MASK: dict[str, Check] = {
    **TRANSFORMER,
    "transformer_task": one_of("fill-mask"),
    "modality_config": one_of(_LOGITS),
}
_POOLING: dict[str, Check] = {
    "pooling_strategy": one_of(*STRATEGIES),
    "activation_function": one_of(*SPLADE_ACTIVATIONS),
    # The width is the vocabulary's, and rows of texts are pooled whole or in parts alike.
    **dict.fromkeys(("embedding_dimension", "word_embedding_dimension", "chunk_size"), any_value),
}
_SETTINGS: dict[str, Check] = {
    **SETTINGS_FIELDS,
    "model_type": one_of("SparseEncoder"),
    "max_active_dims": optional_count,
}
_COMPUTED = "computed here: a Transformer of the task fill-mask (or MLMTransformer), SpladePooling"


@dataclass(frozen=True)
class SparseConfig(TextConfig):
    """Settings of a folder of a sparse encoder, besides those of the transformer itself.

    Args:
        pooling_strategy, activation_function, similarity_fn_name, max_active_dims: arguments of a
            `SparseEmbedder`.
    """

    pooling_strategy: str = "max"
    activation_function: str = "relu"
    similarity_fn_name: str = "dot"
    max_active_dims: int | None = None


def read(folder: Path) -> SparseConfig:
    """Return the settings of a checkpoint folder; where none are declared, the usual ones.

    Raises:
        ConfigError: a module, or a field of one of the files, that isn't computed here; it is
            named.
        CheckpointFileError: a file that `modules.json` needs is absent or damaged.
    """
    modules = list_modules(folder)
    if modules is None:
        return SparseConfig()
    _check_modules(folder, modules)
    pooling = read_fields(folder / modules[1].config, _POOLING)
    found, own = read_transformer(folder, modules[0].path, SparseConfig(), _FILL_MASK)
    task = next((config.get("transformer_task") for config in own.values()), None)
    if modules[0].kind == "Transformer" and task is None:
        raise ConfigError(
            f"{folder / next(iter(own), MODULES)} has no transformer_task, so that the Transformer "
            f"of {MODULES} gives no logits; {_COMPUTED}"
        )
    found, settings = read_settings(folder, found, _SETTINGS)
    declared = settings.get(SETTINGS, {})
    return replace(
        found,
        pooling_strategy=pooling.get("pooling_strategy", "max"),
        activation_function=pooling.get("activation_function", "relu"),
        similarity_fn_name=declared.get("similarity_fn_name") or "dot",
        max_active_dims=declared.get("max_active_dims"),
        files=file_texts(folder, [MODULES, modules[1].config, *own, *settings]),
    )


def _check_modules(folder: Path, modules: list[Module]) -> None:
    """Raise ConfigError for a module that isn't computed here."""
    wanted = (("Transformer", "MLMTransformer"), ("SpladePooling",))
    for place, module in enumerate(modules):
        if place >= len(wanted) or module.kind not in wanted[place]:
            raise ConfigError(f"{folder / MODULES}: module {place} is {module.type!r}; {_COMPUTED}")
    if len(modules) < len(wanted):
        raise ConfigError(f"{folder / MODULES} has no SpladePooling module; {_COMPUTED}")


def write(task: Task, folder: Path) -> None:
    """Write the files that make `folder` a sparse encoder of sentence-transformers.

    The original files are updated where they differ from the `SparseEmbedder`.
    """
    config = folder_config(SparseConfig, task)
    files = dict(config.files)
    if MODULES not in files:
        files |= _modules_files(config, task.output_shape[-1])
    settings = {
        "model_type": "SparseEncoder",
        "similarity_fn_name": config.similarity_fn_name,
        "max_active_dims": config.max_active_dims,
    }
    defaults = {"model_type": None, "similarity_fn_name": "dot", "max_active_dims": None}
    write_model(config, files, folder, task.preprocessor, settings, defaults)


def _modules_files(config: SparseConfig, vocabulary_size: int) -> dict[str, str]:
    package = "sentence_transformers.sparse_encoder.models"
    # By the class whose task is fill-mask without a field, which every version reads.
    types = {"": f"{package}.MLMTransformer", "1_SpladePooling": f"{package}.SpladePooling"}
    pooling = {
        "pooling_strategy": config.pooling_strategy,
        "activation_function": config.activation_function,
        "word_embedding_dimension": vocabulary_size,
    }
    files = {MODULES: modules_list(types), "1_SpladePooling/config.json": pooling}
    return {name: json_text(value) for name, value in files.items()}
