"""Files of models with a vector for each token, in sentence-transformers' own layout, written."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from inarch.file_names import CONFIG, MODULES
from inarch.file_names import SENTENCE_SETTINGS as SETTINGS
from inarch.json_fields import json_text
from inarch.tasks import embedding_modules
from inarch.tasks.module_files import TRANSFORMER_FILES, list_modules, modules_list, write_texts
from inarch.tasks.multi_vector_folder import TOKENS, MultiVectorConfig, read


def write(
    config: MultiVectorConfig,
    folder: Path,
    markers: Mapping[str, str],
    write_weights: Callable[[Path], None],
    has_text: bool,
    usual_length: int,
    limit: int,
) -> None:
    """Write the files of a model, and the weights of its modules.

    The original ones are written as they were where they say what `config` does; otherwise all of
    them anew, in sentence-transformers' own layout.

    Args:
        config: their content.
        folder: where to write; it has config.json already.
        markers: by role, the token at the start of its prompt that the tokenizer's files don't
            have as one.
        write_weights: writes the weights of the modules that the folder then lists.
        has_text: whether the settings of texts are known; otherwise those of the files stay.
        usual_length: longest sequence where the files have none.
        limit: the backbone's longest sequence.
    """
    if config.files:
        write_texts(folder, config.files)
        write_weights(folder)
        again = read(folder)
        if MODULES in config.files:
            width = config.modules[0]["in_features"]
            modules = embedding_modules.resolve_modules(again.modules, width)
            again = replace(again, modules=modules)
        else:
            again = replace(again, modules=config.modules)
        length = min(again.max_seq_length or usual_length, limit)
        again = replace(again, files=config.files, max_seq_length=length)
        if not has_text:
            _update_similarity(config, again, folder)
            return
        if config == again:
            return
        for module in list_modules(folder) or ():
            if module.path:
                shutil.rmtree(folder / module.path, ignore_errors=True)
        for name in config.files:
            (folder / name).unlink(missing_ok=True)
    write_texts(folder, _native_files(config, markers))
    write_weights(folder)


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
