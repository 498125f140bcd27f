"""Byte pair encoding made from a vocabulary and merges, for a model trained from scratch."""

import json
import os
from collections.abc import Mapping, Sequence

from inarch.errors import InputError
from inarch.json_fields import json_text
from inarch.text.byte_level import byte_pair_json, ids_and_merges
from inarch.text.files import CONFIG_FILE, IDS_FILE, MERGES_FILE, TOKENIZER_JSON
from inarch.text.tokenizer import Tokenizer


class BytePairTokenizer(Tokenizer):
    """Byte-level byte pair encoding over a vocabulary and merges of one's own.

    Args:
        vocabulary: token to id, or the path of a vocab.json.
        merges: pairs of tokens as `"a b"`, the first to be merged first, or the path of a
            merges.txt.
        add_prefix_space: whether a text that begins with a word is read as if after a space.
        special_tokens: role to token, such as `{"cls_token": "<s>", "sep_token": "</s>"}`, each
            one in the vocabulary; with these two, texts are wrapped as RoBERTa has it.

    `save` writes tokenizer.json, vocab.json, merges.txt and tokenizer_config.json.

    Raises:
        CheckpointError: ids or merges that don't make a tokenizer.
        InputError: a special token that isn't there.
    """

    def __init__(
        self,
        vocabulary: Mapping[str, int] | str | os.PathLike,
        merges: Sequence[str] | str | os.PathLike,
        add_prefix_space: bool = False,
        special_tokens: Mapping[str, str] | None = None,
    ):
        ids, pairs = ids_and_merges(vocabulary, merges)
        for role, token in (special_tokens or {}).items():
            if token not in ids:
                raise InputError(
                    f"the vocabulary of {len(ids)} tokens has no {role} {token!r}; add it to the "
                    f"vocabulary, or name the right token in special_tokens."
                )
        config = {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "add_prefix_space": add_prefix_space,
            **(special_tokens or {}),
        }
        text = json.dumps(byte_pair_json(ids, pairs, config), ensure_ascii=False)
        lines = ["#version: 0.2", *(" ".join(pair) for pair in pairs), ""]
        files = {
            TOKENIZER_JSON: text,
            IDS_FILE: json.dumps(ids, ensure_ascii=False),
            MERGES_FILE: "\n".join(lines),
            CONFIG_FILE: json_text(config),
        }
        encoded = {name: value.encode("utf-8") for name, value in files.items()}
        super().__init__(text, config=config, files=encoded)
