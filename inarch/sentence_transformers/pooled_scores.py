"""Files of sentence-transformers' CrossEncoder whose score is made of a pooled vector.

Source: sentence-transformers, cross_encoder/model.py and base/modules/dense.py. A transformer
without a head gives vectors of tokens, `Pooling` one vector of a pair, and after any further
modules a last `Dense`, whose output is named "scores", its scores.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import inarch.sentence_transformers.embedder_folder as layout
from inarch.errors import ConfigError
from inarch.file_names import MODULES
from inarch.models.sidecar import CROSS_ENCODER_SETTINGS, sidecar_names
from inarch.sentence_transformers import sentence_fields
from inarch.sentence_transformers.cross_encoder import settings_to_write
from inarch.sentence_transformers.embedding_modules import FIELDS
from inarch.sentence_transformers.module_files import TextConfig, module_kinds, write_model
from inarch.sentence_transformers.module_weights import write_weights
from inarch.sentence_transformers.sentence_fields import CROSS_ENCODER_FIELDS, one_of
from inarch.sentence_transformers.settings import folder_config

if TYPE_CHECKING:
    from inarch.tasks.task import Task

OUTPUT, SCORES = "module_output_name", "scores"
_FIELDS = FIELDS | {
    "Dense": sentence_fields.DENSE | {OUTPUT: one_of("sentence_embedding", None, SCORES)}
}


@dataclass(frozen=True)
class PooledScoresConfig(TextConfig):
    """Settings of such a folder, besides those of its texts.

    Args:
        pooling, modules: arguments of a `PooledReranker`.
    """

    pooling: tuple[str, ...] = ("cls",)
    modules: tuple[Mapping[str, Any], ...] = ()


def is_declared(folder: Path) -> bool:
    """Return whether CrossEncoder wrote a folder, with a list of modules that has a pooling."""
    return CROSS_ENCODER_SETTINGS in sidecar_names(folder) and "Pooling" in module_kinds(folder)


def read(folder: Path) -> PooledScoresConfig:
    """Return the modules of a folder.

    Raises:
        ConfigError: a module, or a field of one of the files, that isn't computed here; or the
            scores are another module's than the last one's.
        CheckpointFileError: a file that `modules.json` needs is absent or damaged.
    """
    found = layout.read(folder, _FIELDS, CROSS_ENCODER_FIELDS)
    modules = [dict(module) for module in found.modules]
    scoring = [i for i, module in enumerate(modules) if module.get(OUTPUT) == SCORES]
    if found.normalize or scoring != [len(modules) - 1]:
        raise ConfigError(
            f"{folder / MODULES}: the scores must be the output of the last module, and of no "
            f"other: a Dense whose config.json has {OUTPUT}={SCORES!r}"
        )
    del modules[-1][OUTPUT]
    return PooledScoresConfig(
        found.max_seq_length, found.lowercase, found.prompts, found.default_prompt_name,
        found.files, found.pooling, tuple(modules),
    )  # fmt: skip


def write(task: Task, folder: Path) -> None:
    """Write the files that make `folder` a CrossEncoder, with its modules' weights.

    The original files are updated where they differ from the `PooledReranker`.
    """
    config, files = folder_config(PooledScoresConfig, task), dict(task.files)
    if MODULES not in files:
        last = {**config.modules[-1], OUTPUT: SCORES}
        modules = (*config.modules[:-1], last)
        whole = layout.SentenceConfig(pooling=config.pooling, modules=modules)
        files |= layout.modules_files(whole, task.backbone.arguments["hidden_dim"])
    settings = settings_to_write(files, task.activation_fn)
    write_model(config, files, folder, task.preprocessor, settings, dict.fromkeys(settings))
    write_weights(task, config.modules, folder)
