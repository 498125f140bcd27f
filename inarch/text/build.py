"""Construction of a checkpoint's tokenizer.json from whichever tokenizer files it has."""

import json
from collections.abc import Mapping
from typing import Any

from inarch.errors import CheckpointError, ConfigError
from inarch.json_fields import object_in
from inarch.text.byte_level import GPT2, WHISPER, parse_ids
from inarch.text.families import families, find_family, named_class, select_files
from inarch.text.family import TokenizerFamily
from inarch.text.files import (
    CONFIG_FILE,
    IDS_FILE,
    TOKENIZER_JSON,
    decode_text,
    merged_config,
)
from inarch.text.tokenizer_json import fill_defaults
from inarch.text.tokenizer_json_checks import check_tokenizer_json
from inarch.text.whisper_json import is_whisper


def build_tokenizer_json(
    files: Mapping[str, bytes], model: Mapping[str, Any]
) -> tuple[str, dict[str, Any]]:
    """Return the text of a tokenizer.json, and the tokenizer_config.json with all defaults.

    The config of a Whisper names its class, whether or not the files do.

    Args:
        files: the tokenizer's files by name, which `has_tokenizer_files`.
        model: the content of the checkpoint's config.json; {} where there is none.

    Raises:
        CheckpointError: a file is damaged, or of a tokenizer that isn't known.
    """
    config = merged_config(files)
    named = named_class(config, model)
    family = find_family(named, model.get("model_type"))
    if family:
        config = config | {"tokenizer_class": named or family.tokenizer_class}
    names = select_files(files, family)
    assert names is not None  # `read_folder` sees to it
    if names == (TOKENIZER_JSON,):
        text, filled = decode_text(files, TOKENIZER_JSON), config
        if family:
            text = _rebuild(text, family, config, model.get("model_type"))
    else:
        stated = named or (family.tokenizer_class if family else model.get("model_type"))
        family = _family_for(names, files, family, stated)
        spec, filled = family.build(files, names, config)
        text = json.dumps(spec)
    if is_whisper(text, config):
        filled = WHISPER.with_defaults(filled | {"tokenizer_class": WHISPER.tokenizer_class})
    elif family:
        filled = {"tokenizer_class": family.tokenizer_class, **filled}
    return text, filled


def _rebuild(
    text: str, family: TokenizerFamily, config: Mapping[str, Any], model_type: object
) -> str:
    """Return the text of a tokenizer.json as the family makes it, or as it is."""
    given = object_in(text, TOKENIZER_JSON, CheckpointError)
    check_tokenizer_json(given)
    made = family.rebuild(given, config, model_type)
    return text if made is given else json.dumps(made)


def _family_for(
    names: tuple[str, ...],
    files: Mapping[str, bytes],
    family: TokenizerFamily | None,
    stated: object,
) -> TokenizerFamily:
    """Return the family that some vocabulary files are of.

    Args:
        family: that of the class or model type that the configs state, where it is known.
        stated: that class or type; None where none is stated, so that the files decide.

    Raises:
        ConfigError: the files are of another kind of vocabulary than the family's, or it is
            unknown.
    """
    # A folder that names no class has no tokens of languages.
    usual = next(
        (each for each in families() if each.files == names and each.languages is None),
        next(each for each in families() if each.files == names),
    )
    if family is None and stated is None:
        texts = [decode_text(files, name) for name in names if name == IDS_FILE]
        wrapped = all({"<s>", "</s>"} <= parse_ids(text).keys() for text in texts)
        return usual if wrapped else GPT2
    if family is not None and (names in family.file_sets or isinstance(family, type(usual))):
        return family
    known = [each.tokenizer_class for each in families() if isinstance(each, type(usual))]
    raise ConfigError(
        f"{' and '.join(names)} {'belong' if len(names) > 1 else 'belongs'} to a tokenizer of kind "
        f"{stated!r}; from such files only {', '.join(known)} can be made. If it is one of these, "
        f"name it as 'tokenizer_class' in {CONFIG_FILE}; else give the folder a "
        f"{TOKENIZER_JSON}, which transformers writes with "
        "`tokenizer.save_pretrained(folder)`, where its tokenizer has one."
    )


def with_tokenizer_json(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return a tokenizer's files with a tokenizer.json added.

    Of some of the others transformers makes what their authors' program doesn't: of FNet's
    SentencePiece model a tokenizer that adds no special tokens.
    """
    text, config = build_tokenizer_json(files, {})
    filled, _ = fill_defaults(json.loads(text), config)
    return {**files, TOKENIZER_JSON: json_bytes(filled)}


def json_bytes(value: Any) -> bytes:
    """Return the bytes of a JSON file."""
    return (json.dumps(value, ensure_ascii=False) + "\n").encode("utf-8")
