"""Registry of tokenizer families: those of many models, and those of one architecture.

What one architecture alone needs is in its `text.py`: `TOKENIZERS`, a tuple of
`TokenizerFamily`, and `AUTHOR_TOKENIZERS`, one of `AuthorTokenizer`. Such a file is imported when
nothing that was looked at before is of the class in question.
"""

import functools
import importlib
import importlib.util
import sys
import threading
from collections.abc import Container, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from inarch.text.byte_level import GPT2, ROBERTA, WHISPER
from inarch.text.family import AuthorTokenizer, TokenizerFamily
from inarch.text.files import TOKENIZER_JSON
from inarch.text.sentencepiece_families import ALBERT
from inarch.text.word_piece_json import BERT, CONVBERT, MOBILEBERT

# Those of many models, or of models that have no folder here.
SHARED = (BERT, CONVBERT, MOBILEBERT, ROBERTA, GPT2, WHISPER, ALBERT)
# Classes that take a tokenizer.json as it is, and make nothing else.
GENERIC_CLASSES = ("PreTrainedTokenizerFast", "TokenizersBackend")
ARCHITECTURES = "inarch.models"


_LOCK = threading.RLock()


@functools.cache
def _declaring_files() -> dict[str, Path]:
    """Return the `text.py` of all architectures, by the name of the module."""
    package = importlib.util.find_spec(ARCHITECTURES)
    folders = (package.submodule_search_locations if package else None) or ()
    paths = sorted(path for folder in folders for path in Path(folder).glob("*/text.py"))
    return {f"{ARCHITECTURES}.{path.parent.name}.text": path for path in paths}


def _declarations() -> Iterator[ModuleType]:
    """Yield the `text.py` of all architectures, those first that are imported already."""
    for name in sorted(_declaring_files(), key=lambda name: name not in sys.modules):
        yield _import(name)


def _import(name: str) -> ModuleType:
    """Import one `text.py`, without `inarch.models` around it, which chooses a Keras backend."""
    with _LOCK:
        if ARCHITECTURES in sys.modules or name in sys.modules:
            return importlib.import_module(name)
        spec = importlib.util.spec_from_file_location(name, _declaring_files()[name])
        assert spec is not None
        assert spec.loader is not None  # as of every file of Python's
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return sys.modules.setdefault(name, module)


def families() -> Iterator[TokenizerFamily]:
    """Yield every family: those of many models, then those of one architecture after the other."""
    yield from SHARED
    for module in _declarations():
        yield from getattr(module, "TOKENIZERS", ())


def author_tokenizers() -> Iterator[AuthorTokenizer]:
    """Yield every format of tokenizers that authors of models publish."""
    for module in _declarations():
        yield from getattr(module, "AUTHOR_TOKENIZERS", ())


def named_class(config: Mapping[str, Any], model: Mapping[str, Any]) -> str | None:
    """Return the class that a tokenizer_config.json, or else a config.json, names; less "Fast"."""
    named = config.get("tokenizer_class") or model.get("tokenizer_class")
    if not named or named in GENERIC_CLASSES:
        return named or None
    return str(named).removesuffix("Fast")


def find_family(tokenizer_class: str | None, model_type: object = None) -> TokenizerFamily | None:
    """Return the family of a tokenizer's class, or else of a model type; None for an unknown one.

    Args:
        tokenizer_class: as `named_class` gives it; where it is None, or the class of several
            families, the type decides.
        model_type: of the config.json.
    """
    if tokenizer_class in GENERIC_CLASSES:
        return None
    if tokenizer_class is not None:
        named = (f for f in families() if f.tokenizer_class == tokenizer_class)
        first = next(named, None)
        if first is None or model_type is None or model_type in first.model_types:
            return first
        return next((f for f in named if model_type in f.model_types), first)
    if isinstance(model_type, str):
        return next((f for f in families() if model_type in f.model_types), None)
    return None


def file_sets() -> list[tuple[str, ...]]:
    """Return the files that make a tokenizer, for the text of an error."""
    return list(dict.fromkeys([(TOKENIZER_JSON,), *(family.files for family in families())]))


def has_tokenizer_files(names: Container[str]) -> bool:
    """Return whether some files, by their names, make a tokenizer."""
    return TOKENIZER_JSON in names or any(_are_among(f.files, names) for f in families())


def select_files(names: Container[str], family: TokenizerFamily | None) -> tuple[str, ...] | None:
    """Return the files among `names` that a tokenizer is read from; None where they make none.

    Those of the family come first, then a tokenizer.json; of other files those that are the most
    particular, as `vocab.txt` with `bpe.codes` is.
    """
    own = (*(family.file_sets if family else ()), (TOKENIZER_JSON,))
    found = next((files for files in own if _are_among(files, names)), None)
    if found:
        return found
    others = [f.files for f in families() if _are_among(f.files, names)]
    return next((a for a in others if not any({*a} < {*b} for b in others)), None)


def _are_among(files: tuple[str, ...], names: Container[str]) -> bool:
    return all(name in names for name in files)
