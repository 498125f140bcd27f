"""The description of a tokenizer, from whichever files a checkpoint has."""

import json
from collections.abc import Mapping
from typing import Any

from inarch.errors import ConfigError
from inarch.text import byte_level, fast_bpe, sentencepiece_families
from inarch.text.files import (
    CODES_FILE,
    CONFIG_FILE,
    IDS_FILE,
    MERGES_FILE,
    SENTENCE_PIECE_FILES,
    TOKENIZER_JSON,
    VOCABULARY_FILE,
    decode_text,
    parse_vocabulary,
    select_files,
)
from inarch.text.special_tokens import (
    BERT,
    ROBERTA,
    SPECIAL_TOKENS_OF,
    WORD_PIECE,
    resolve_tokenizer_class,
)
from inarch.text.tokenizer_json import word_piece_json
from inarch.text.whisper_json import is_whisper

# How a Japanese BERT may split words, and words into pieces, as all others do.
SPLITS = {"word_tokenizer_type": "basic", "subword_tokenizer_type": "wordpiece"}


def build_tokenizer_json(
    files: Mapping[str, bytes], config: dict[str, Any], model: Mapping[str, Any]
) -> tuple[str, dict[str, Any]]:
    """The text of a tokenizer.json, and the config completed by what the kind of model implies.

    Of Whisper the config names the kind, whether or not the files do.

    Args:
        files: the tokenizer's files by name, with at least one of `files.FILE_SETS` whole.
        config: the tokenizer_config.json.
        model: what the checkpoint's config.json says; {} where there is none.

    Raises:
        CheckpointError: a file is damaged, or made for a kind of tokenizer that isn't known.
    """
    spec, config = _build(files, config, model)
    if is_whisper(spec, config):
        named = {"tokenizer_class": byte_level.WHISPER["tokenizer_class"]}
        config = sentencepiece_families.with_defaults(config | named, byte_level.WHISPER)
    return spec, config


def _build(
    files: Mapping[str, bytes], config: dict[str, Any], model: Mapping[str, Any]
) -> tuple[str, dict[str, Any]]:
    kind = resolve_tokenizer_class(config, model)
    names = select_files(files, kind)
    assert names is not None  # `read_folder` sees to it
    texts = [decode_text(files, name) for name in names if not name.endswith(".model")]
    if names == (TOKENIZER_JSON,):
        return texts[0], config | {"tokenizer_class": kind} if kind in SPECIAL_TOKENS_OF else config
    if names == (VOCABULARY_FILE, CODES_FILE):
        if kind is not None and kind not in fast_bpe.TOKENIZER_CLASSES:
            raise unknown_class_error(names, kind, fast_bpe.TOKENIZER_CLASSES)
        named = {"tokenizer_class": kind or fast_bpe.TOKENIZER_CLASSES[0]}
        config = sentencepiece_families.with_defaults(config, ROBERTA) | named
        spec, config = fast_bpe.fast_bpe_json(texts[0], texts[1], config)
    elif names == (VOCABULARY_FILE,):
        _check_word_piece(names, config, kind)
        special_tokens = {role: BERT[role] for role in ("unk_token", "cls_token", "sep_token")}
        config = {**special_tokens, **config, "tokenizer_class": kind or "BertTokenizer"}
        spec = word_piece_json(parse_vocabulary(texts[0], lenient=True), config)
    elif names == (IDS_FILE, MERGES_FILE):
        if kind is not None and kind not in byte_level.TOKENIZER_CLASSES:
            raise unknown_class_error(names, kind, byte_level.TOKENIZER_CLASSES)
        ids, merges = byte_level.parse_ids(texts[0]), byte_level.parse_merges(texts[1])
        guess = "RobertaTokenizer" if {"<s>", "</s>"} <= ids.keys() else "GPT2Tokenizer"
        config = sentencepiece_families.with_defaults(
            config, byte_level.TOKENIZER_CLASSES[kind or guess]
        )
        spec = byte_level.byte_pair_json(ids, merges, config)
    else:
        (name,) = names
        layout = sentencepiece_families.FAMILIES.get(kind or SENTENCE_PIECE_FILES[name])
        if layout is None:
            raise unknown_class_error(names, kind, sentencepiece_families.FAMILIES)
        config = sentencepiece_families.with_defaults(config, layout.defaults)
        spec = sentencepiece_families.family_json(files[name], layout, config, name=name)
    return json.dumps(spec), config


def _check_word_piece(names: tuple[str, ...], config: Mapping[str, Any], kind: str | None) -> None:
    """A `vocab.txt` is of BERT's kind, as far as the configs say."""
    if kind is not None and kind not in WORD_PIECE:
        raise unknown_class_error(names, kind, WORD_PIECE)
    for name, usual in SPLITS.items():
        if config.get(name, usual) != usual:
            raise unknown_class_error(names, f"{name}={config[name]}", WORD_PIECE)


def unknown_class_error(names: tuple[str, ...], kind: object, known: Any) -> ConfigError:
    """The error for a vocabulary whose use isn't known."""
    return ConfigError(
        f"{' and '.join(names)} {'belong' if len(names) > 1 else 'belongs'} to a tokenizer of kind "
        f"{kind!r}; from such files only {', '.join(known)} can be made. If it is one of these, "
        f"name it as 'tokenizer_class' in {CONFIG_FILE}; else give the folder a "
        f"{TOKENIZER_JSON}, which transformers writes with "
        "`tokenizer.save_pretrained(folder)`, where its tokenizer has one."
    )
