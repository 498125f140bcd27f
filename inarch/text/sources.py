"""The description of a tokenizer, from whichever files a checkpoint has."""

import json
from collections.abc import Mapping
from typing import Any

from inarch.errors import ConfigError
from inarch.text import byte_level, fast_bpe, layouts
from inarch.text import files as file_room
from inarch.text.roles import BERT, ROBERTA, ROLES_OF, WORD_PIECE, kind_of
from inarch.text.spec import word_piece_spec
from inarch.text.whisper_spec import is_whisper

# How a Japanese BERT may split words, and words into pieces, as all others do.
SPLITS = {"word_tokenizer_type": "basic", "subword_tokenizer_type": "wordpiece"}


def described(
    files: Mapping[str, bytes], config: dict[str, Any], model: Mapping[str, Any]
) -> tuple[str, dict[str, Any]]:
    """The text of a tokenizer.json, and the config completed by what the kind of model implies.

    Of Whisper the config names the kind, whether or not the files do.

    Args:
        files: the tokenizer's files by name, with at least one of `files.SOURCES` whole.
        config: the tokenizer_config.json.
        model: what the checkpoint's config.json says; {} where there is none.

    Raises:
        CheckpointError: a file is damaged, or made for a kind of tokenizer that isn't known.
    """
    spec, config = _described(files, config, model)
    if is_whisper(spec, config):
        named = {"tokenizer_class": byte_level.WHISPER["tokenizer_class"]}
        config = layouts.with_defaults(config | named, byte_level.WHISPER)
    return spec, config


def _described(
    files: Mapping[str, bytes], config: dict[str, Any], model: Mapping[str, Any]
) -> tuple[str, dict[str, Any]]:
    kind = kind_of(config, model)
    names = file_room.source_among(files, kind)
    assert names is not None  # `read_folder` sees to it
    texts = [file_room.text_of(files, name) for name in names if not name.endswith(".model")]
    if names == (file_room.SPEC_FILE,):
        return texts[0], config | {"tokenizer_class": kind} if kind in ROLES_OF else config
    if names == (file_room.VOCABULARY_FILE, file_room.CODES_FILE):
        if kind is not None and kind not in fast_bpe.KINDS:
            raise unknown_kind(names, kind, fast_bpe.KINDS)
        named = {"tokenizer_class": kind or fast_bpe.KINDS[0]}
        config = layouts.with_defaults(config, ROBERTA) | named
        spec, config = fast_bpe.fast_bpe_spec(texts[0], texts[1], config)
    elif names == (file_room.VOCABULARY_FILE,):
        _check_word_piece(names, config, kind)
        roles = {role: BERT[role] for role in ("unk_token", "cls_token", "sep_token")}
        config = {**roles, **config, "tokenizer_class": kind or "BertTokenizer"}
        spec = word_piece_spec(file_room.parse_vocabulary(texts[0], lenient=True), config)
    elif names == (file_room.IDS_FILE, file_room.MERGES_FILE):
        if kind is not None and kind not in byte_level.KINDS:
            raise unknown_kind(names, kind, byte_level.KINDS)
        ids, merges = byte_level.parse_ids(texts[0]), byte_level.parse_merges(texts[1])
        guess = "RobertaTokenizer" if {"<s>", "</s>"} <= ids.keys() else "GPT2Tokenizer"
        config = layouts.with_defaults(config, byte_level.KINDS[kind or guess])
        spec = byte_level.byte_pair_spec(ids, merges, config)
    else:
        (name,) = names
        layout = layouts.LAYOUTS.get(kind or file_room.SENTENCE_PIECE_FILES[name])
        if layout is None:
            raise unknown_kind(names, kind, layouts.LAYOUTS)
        config = layouts.with_defaults(config, layout.defaults)
        spec = layouts.spec_for(files[name], layout, config, name=name)
    return json.dumps(spec), config


def _check_word_piece(names: tuple[str, ...], config: Mapping[str, Any], kind: str | None) -> None:
    """A `vocab.txt` is of BERT's kind, as far as the configs say."""
    if kind is not None and kind not in WORD_PIECE:
        raise unknown_kind(names, kind, WORD_PIECE)
    for name, usual in SPLITS.items():
        if config.get(name, usual) != usual:
            raise unknown_kind(names, f"{name}={config[name]}", WORD_PIECE)


def unknown_kind(names: tuple[str, ...], kind: object, known: Any) -> ConfigError:
    """The error for a vocabulary whose use isn't known."""
    return ConfigError(
        f"{' and '.join(names)} {'belong' if len(names) > 1 else 'belongs'} to a tokenizer of kind "
        f"{kind!r}; from such files only {', '.join(known)} can be made. If it is one of these, "
        f"name it as 'tokenizer_class' in {file_room.CONFIG_FILE}; else give the folder a "
        f"{file_room.SPEC_FILE}, which transformers writes with "
        "`tokenizer.save_pretrained(folder)`, where its tokenizer has one."
    )
