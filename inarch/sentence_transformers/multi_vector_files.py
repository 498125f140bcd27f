"""Files of models with a vector for each token, in sentence-transformers' own layout, written."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inarch.file_names import CONFIG, MODULES
from inarch.file_names import SENTENCE_SETTINGS as SETTINGS
from inarch.json_fields import json_text
from inarch.sentence_transformers import embedding_modules
from inarch.sentence_transformers.module_files import (
    TRANSFORMER_FILES,
    list_modules,
    modules_list,
    write_texts,
)
from inarch.sentence_transformers.module_weights import write_weights
from inarch.sentence_transformers.multi_vector_folder import TOKENS, MultiVectorConfig, read
from inarch.sentence_transformers.settings import folder_config

if TYPE_CHECKING:
    from inarch.tasks.task import Task

__all__ = ["read", "write"]


def write(task: Task, folder: Path) -> None:
    """Write the files of a `MultiVectorEmbedder`, and the weights of its modules.

    The original ones are written as they were where they say what the task does; otherwise all of
    them anew, in sentence-transformers' own layout. Without a preprocessor nothing is known about
    texts, and the files' settings of them stay.
    """
    config, text = folder_config(MultiVectorConfig, task), task.preprocessor
    if config.files:
        if _write_original(task, config, folder):
            return
        for module in list_modules(folder) or ():
            if module.path:
                shutil.rmtree(folder / module.path, ignore_errors=True)
        for name in config.files:
            (folder / name).unlink(missing_ok=True)
    write_texts(folder, _native_files(config, text.unknown_markers() if text else {}))
    write_weights(task, config.modules, folder)


def _write_original(task: Task, config: MultiVectorConfig, folder: Path) -> bool:
    """Write the original files, and return whether they say what `config` does."""
    write_texts(folder, config.files)
    write_weights(task, config.modules, folder)
    again, text = read(folder), task.preprocessor
    modules = config.modules
    if MODULES in config.files:
        modules = embedding_modules.resolve_modules(again.modules, modules[0]["in_features"])
    limit = task.backbone.arguments["max_sequence_length"]
    usual = (text.tokenizer.model_max_length if text else None) or limit
    length = min(again.max_seq_length or usual, limit)
    again = replace(again, modules=modules, files=config.files, max_seq_length=length)
    if text is None:
        _update_similarity(config, again, folder)
    return text is None or config == again


def _update_similarity(config: MultiVectorConfig, again: MultiVectorConfig, folder: Path) -> None:
    """Write the similarity into the settings of a folder whose other files stay."""
    if MODULES in config.files and config.similarity_fn_name != again.similarity_fn_name:
        declared = json.loads(config.files.get(SETTINGS, "{}"))
        declared["similarity_fn_name"] = config.similarity_fn_name
        write_texts(folder, {SETTINGS: json_text(declared)})


def _native_files(config: MultiVectorConfig, markers: Mapping[str, str]) -> dict[str, str]:
    dense_folders = [f"{i}_Dense" for i in range(1, len(config.modules) + 1)]
    base = "sentence_transformers.base.modules"
    mask = "sentence_transformers.multi_vector_encoder.modules.multi_vector_mask.MultiVectorMask"
    last = len(dense_folders) + 1
    types = {
        "": f"{base}.transformer.Transformer",
        **dict.fromkeys(dense_folders, f"{base}.dense.Dense"),
        f"{last}_MultiVectorMask": mask,
    }
    files: dict[str, Any] = {
        f"{last}_MultiVectorMask/{CONFIG}": {
            "skiplist_words": list(config.skiplist_words),
            "skiplist_tasks": list(config.skiplist_tasks),
            "keep_only_token_ids": None,
        }
    }
    for path, module in zip(dense_folders, config.modules, strict=True):
        dense = embedding_modules.config_of(module)
        files[f"{path}/{CONFIG}"] = dense | {"module_input_name": TOKENS}
    if config.normalize:
        types[f"{last + 1}_Normalize"] = f"{base}.normalize.Normalize"
        files[f"{last + 1}_Normalize/{CONFIG}"] = {"module_input_name": TOKENS}
    files[MODULES] = modules_list(types)
    own = {
        "max_seq_length": config.max_seq_length,
        "do_lower_case": config.lowercase,
        "query_length": config.query_length,
        "document_length": config.document_length,
        "query_expansion": config.query_expansion,
    }
    optional = list(own)[2:]
    own = {name: v for name, v in own.items() if v is not None or name not in optional}
    files[TRANSFORMER_FILES[0]] = own
    files[SETTINGS] = {
        "model_type": "MultiVectorEncoder",
        "prompts": config.prompts,
        "default_prompt_name": config.default_prompt_name,
        "similarity_fn_name": config.similarity_fn_name,
    }
    if markers:
        # Fields of PyLate, by which a marker is one token whatever the tokenizer's files say.
        files[SETTINGS] |= {f"{role}_prefix": marker for role, marker in markers.items()}
        files[SETTINGS]["query_expansion"] = config.query_expansion
    return {name: json_text(value) for name, value in files.items()}
