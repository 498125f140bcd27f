"""The folder layouts of models with a vector for each token, read.

Formats: sentence-transformers, multi_vector_encoder/model.py, which also has how PyLate's folders
and colbert-ai's `artifact.metadata` are read (there "legacy").
"""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from inarch.answers.max_sim import SIMILARITIES
from inarch.errors import ConfigError, InputError, InputTypeError
from inarch.file_names import COLBERT_SETTINGS, CONFIG, MODULES
from inarch.file_names import SENTENCE_SETTINGS as SETTINGS
from inarch.json_fields import read_object
from inarch.paths import resolve_inside
from inarch.preprocessors.multi_vector_preprocessor import checked_expansion
from inarch.sentence_transformers import module_weights, sentence_fields
from inarch.sentence_transformers.module_files import (
    Module,
    TextConfig,
    file_texts,
    list_modules,
    read_fields,
    read_settings,
    read_transformer,
)
from inarch.sentence_transformers.sentence_fields import SETTINGS as SETTINGS_FIELDS
from inarch.sentence_transformers.sentence_fields import (
    TRANSFORMER,
    Check,
    any_value,
    one_of,
    optional_count,
)

# The features that every module reads and writes.
TOKENS = "token_embeddings"
# The class that a folder of colbert-ai names.
HF_COLBERT = "HF_ColBERT"
_TRANSFORMER: dict[str, Check] = {
    **TRANSFORMER,
    "query_length": optional_count,
    "document_length": optional_count,
    "query_expansion": any_value,
}
_MODEL_TYPES = ("MultiVectorEncoder", "ColBERT", "SentenceTransformer")
_SETTINGS: dict[str, Check] = {
    **SETTINGS_FIELDS,
    "model_type": one_of(*_MODEL_TYPES),
    "similarity_fn_name": any_value,
    "query_length": optional_count,
    "document_length": optional_count,
}


def _strings(value: Any) -> bool:
    return value is None or (isinstance(value, list) and all(isinstance(v, str) for v in value))


_MASK: dict[str, Check] = {
    "skiplist_words": _strings,
    "skiplist_tasks": lambda value: isinstance(value, str) or _strings(value),
    "keep_only_token_ids": one_of(None),
}
_OF_TOKENS: dict[str, Check] = {
    "module_input_name": one_of(TOKENS),
    "module_output_name": one_of(TOKENS, None),
}
_DENSE: dict[str, Check] = {**sentence_fields.DENSE, **_OF_TOKENS}
_PYLATE_FIELDS = (
    "query_length", "document_length", "query_expansion", "do_query_expansion",
    "attend_to_expansion_tokens", "attend_to_mask_tokens", "query_prefix", "document_prefix",
    "skiplist_words",
)  # fmt: skip
_COMPUTED = "computed here: a Transformer, then Dense, MultiVectorMask and Normalize of the tokens"


@dataclass(frozen=True)
class MultiVectorConfig(TextConfig):
    """Settings of a folder, besides those of the transformer itself.

    Args:
        modules: the Dense ones, see `embedding_modules`; none where the folder lists none.
        normalize, similarity_fn_name: arguments of a `MultiVectorEmbedder`.
        query_length, document_length, query_expansion, skiplist_words, skiplist_tasks: arguments
            of a `MultiVectorPreprocessor`.
    """

    modules: tuple[Mapping[str, Any], ...] = ()
    normalize: bool = True
    similarity_fn_name: str = "maxsim"
    query_length: int | None = None
    document_length: int | None = None
    query_expansion: Mapping[str, Any] | None = None
    skiplist_words: tuple[str, ...] = ()
    skiplist_tasks: tuple[str, ...] = ("document",)


def is_of_colbert(folder: Path) -> bool:
    """Return whether a folder is a checkpoint of colbert-ai: by the class that it names."""
    path = resolve_inside(folder, CONFIG)
    named = read_object(path).get("architectures") if path.is_file() else None
    return isinstance(named, list) and HF_COLBERT in named


def is_declared(folder: Path) -> bool:
    """Return whether a folder declares a model with a vector for each token."""
    if list_modules(folder) is None:
        return is_of_colbert(folder)
    path = folder / SETTINGS
    declared = read_object(path) if path.is_file() else {}
    return declared.get("model_type") in _MODEL_TYPES[:2] or "query_prefix" in declared


def read(folder: Path) -> MultiVectorConfig:
    """Return the settings of a checkpoint folder; where none are declared, the usual ones.

    Raises:
        ConfigError: a module, or a field of one of the files, that isn't computed here; it is
            named.
        CheckpointFileError: a file that `modules.json` needs is absent or damaged.
    """
    modules = list_modules(folder)
    if modules is not None:
        return _read_modules(folder, modules)
    return _read_colbert(folder) if is_of_colbert(folder) else MultiVectorConfig()


def _read_colbert(folder: Path) -> MultiVectorConfig:
    path = resolve_inside(folder, COLBERT_SETTINGS)
    settings = read_object(path) if path.is_file() else {}
    expansion = {
        "strategy": "fixed",
        "length": settings.get("query_maxlen") or 32,
        "attend": bool(settings.get("attend_to_mask_tokens")),
    }
    tokens = (settings.get("query_token_id"), settings.get("doc_token_id"))
    query, document = (
        str(token or usual) + " "
        for token, usual in zip(tokens, ("[unused0]", "[unused1]"), strict=True)
    )
    length = settings.get("doc_maxlen")
    if not optional_count(length):
        raise ConfigError(f"{path}: doc_maxlen is {length!r}; it must be a whole number from 1 up")
    files = file_texts(folder, [COLBERT_SETTINGS]) if path.is_file() else {}
    return MultiVectorConfig(
        prompts={"query": query, "document": document},
        files=files,
        document_length=length,
        query_expansion=_expansion(path, expansion),
        skiplist_words=tuple(string.punctuation) if settings.get("mask_punctuation", True) else (),
    )


def _read_modules(folder: Path, modules: Sequence[Module]) -> MultiVectorConfig:
    kinds = [module.kind for module in modules]
    found, own = read_transformer(folder, modules[0].path, MultiVectorConfig(), _TRANSFORMER)
    found, settings = read_settings(folder, found, _SETTINGS)
    declared = settings.get(SETTINGS, {})
    given = _pylate_arguments(declared)
    expanding = ("query_length", "document_length", "query_expansion")
    for config in own.values():
        given |= {name: config[name] for name in expanding if config.get(name)}
    similarity = declared.get("similarity_fn_name")
    found = replace(
        found,
        similarity_fn_name=similarity if similarity in SIMILARITIES else "maxsim",
        prompts=_with_prefixes(found.prompts, declared),
        query_length=given.get("query_length"),
        document_length=given.get("document_length"),
        query_expansion=_expansion(
            folder / next(iter(own), SETTINGS), given.get("query_expansion")
        ),
    )
    # PyLate's folders, and those that it wrote for older versions, list neither mask nor norm.
    implicit = "MultiVectorMask" not in kinds and "Normalize" not in kinds
    implicit = implicit and declared.get("model_type") != "MultiVectorEncoder"
    found = replace(found, normalize=implicit or "Normalize" in kinds)
    if implicit:
        words = declared.get("skiplist_words")
        old = declared.get("model_type") == "ColBERT" or "query_prefix" in declared
        usual = tuple(string.punctuation) if old else ()
        found = replace(found, skiplist_words=usual if words is None else tuple(words))
    elif found.query_expansion is not None and "MultiVectorMask" not in kinds:
        raise ConfigError(
            f"{folder / MODULES} has no MultiVectorMask, so the tokens of query_expansion don't "
            "take part in scores; add it, or take query_expansion out"
        )
    for place, module in enumerate(modules):
        found = _with_module(folder, place, module, found)
    if not found.modules:
        raise ConfigError(f"{folder / MODULES} has no Dense module; {_COMPUTED}")
    configs = [module.config for module in modules if module.config]
    names = [MODULES, *own, *settings, *(c for c in configs if (folder / c).is_file())]
    return replace(found, files=file_texts(folder, names))


def _with_module(
    folder: Path, place: int, module: Module, found: MultiVectorConfig
) -> MultiVectorConfig:
    path = folder / module.config if module.config else folder
    if module.kind == "Transformer" and place == 0:
        return found
    if module.kind == "Dense" and place > 0 and module.path:
        dense = module_weights.read_module(folder, "Dense", module.path, _DENSE)
        dense = {name: value for name, value in dense.items() if name not in _OF_TOKENS}
        return replace(found, modules=(*found.modules, dense))
    if module.kind == "MultiVectorMask" and module.path:
        mask = read_fields(path, _MASK)
        tasks = mask.get("skiplist_tasks") or ("document",)
        return replace(
            found,
            skiplist_words=tuple(mask.get("skiplist_words") or ()),
            skiplist_tasks=(tasks,) if isinstance(tasks, str) else tuple(tasks),
        )
    if module.kind == "Normalize" and place == len(list_modules(folder) or ()) - 1:
        if path.is_file():
            read_fields(path, _OF_TOKENS)
        return found
    raise ConfigError(f"{folder / MODULES}: module {place} is {module.type!r}; {_COMPUTED}")


def _with_prefixes(prompts: Mapping[str, str], declared: Mapping[str, Any]) -> dict[str, str]:
    """Return prompts that begin with the markers of PyLate."""
    found = dict(prompts)
    for role in ("query", "document"):
        if f"{role}_prefix" in declared:
            prefix = declared[f"{role}_prefix"] or ""
            if not isinstance(prefix, str):
                raise ConfigError(f"{SETTINGS}: {role}_prefix is {prefix!r}; it must be text")
            found[role] = prefix + found.get(role, "").removeprefix(prefix)
    return found


def _pylate_arguments(declared: Mapping[str, Any]) -> dict[str, Any]:
    """Return lengths and expansion by the fields that PyLate has for them."""
    names = ("query_length", "document_length")
    found = {name: declared[name] for name in names if declared.get(name) is not None}
    if "query_expansion" in declared:
        return found | {"query_expansion": declared["query_expansion"]}
    if not any(name in declared for name in _PYLATE_FIELDS):
        return found
    if declared.get("do_query_expansion") is False:
        return found
    attend = declared.get("attend_to_expansion_tokens", declared.get("attend_to_mask_tokens"))
    length = found.pop("query_length", None) or 32
    expansion = {"strategy": "fixed", "attend": bool(attend), "length": length}
    return found | {"query_expansion": expansion}


def _expansion(path: Path, given: Any) -> dict[str, Any] | None:
    try:
        return checked_expansion(None, given)
    except (InputError, InputTypeError) as e:
        raise ConfigError(f"{path}: {e}") from None
