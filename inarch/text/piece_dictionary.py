"""SentencePiece models whose pieces have the ids of a dictionary: Marian's and M2M100's tokenizers.

The pieces of a text are those of the model, as its own library finds them; a `vocab.json` has their
ids. Text that the model doesn't know is looked up too, and is unknown where the dictionary has no
such entry.
Source: transformers, models/marian/tokenization_marian.py and models/m2m_100/
tokenization_m2m_100.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from inarch.errors import CheckpointError, ConfigError
from inarch.text.byte_level import parse_ids
from inarch.text.family import TokenizerFamily
from inarch.text.files import IDS_FILE, decode_text
from inarch.text.json_parts import Template
from inarch.text.sentence_piece import sentence_piece_json
from inarch.text.sentence_piece_model import read_model
from inarch.text.special_tokens import added_token, special_token_texts
from inarch.text.translation import wrapped_in

# Where the config of such a tokenizer keeps the dictionary, and the dictionary's id of each piece.
DICTIONARY, PIECE_IDS = "piece_dictionary", "piece_ids"
# Marian's model of the pieces of translations, and their dictionary where it is another.
TARGET, TARGET_IDS = "target.spm", "target_vocab.json"


def has_own_target_ids(config: Mapping[str, Any]) -> bool:
    """Return whether translations have a dictionary of their own, by a tokenizer_config.json.

    Raises:
        ConfigError: the field is neither true nor false.
    """
    found = config.get("separate_vocabs") or False
    if not isinstance(found, bool):
        raise ConfigError(
            f"separate_vocabs is {found!r} in tokenizer_config.json; it is true or false."
        )
    return found


@dataclass(frozen=True, kw_only=True)
class PieceDictionaryFamily(TokenizerFamily):
    """Tokenizers of a SentencePiece model and a dictionary of its pieces.

    Args:
        files: the model's file first, that of sources; then the dictionary's, and others.
        codes: by `language_codes` of a tokenizer_config.json, the first where it has none,
            languages whose tokens come after the dictionary, in the order of their ids.
        gap: what decoding puts after a special token.
    """

    reads_tokenizer_json: bool = False
    template: Template = "translation"
    codes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    gap: str = ""

    def build(
        self, files: Mapping[str, bytes], names: tuple[str, ...], config: Mapping[str, Any]
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        config = self.with_defaults(config)
        if has_own_target_ids(config) and TARGET_IDS not in files:
            raise CheckpointError(
                f"separate_vocabs is true in tokenizer_config.json, and there is no {TARGET_IDS}, "
                "the dictionary of the pieces of translations. Put it next to the other files."
            )
        model = read_model(files[names[0]], names[0])
        ids = dict(parse_ids(decode_text(files, IDS_FILE), IDS_FILE))
        languages = self._language_tokens(config)
        special = special_token_texts(config)
        for role, token in special.items():
            if token not in ids:
                raise CheckpointError(
                    f"{IDS_FILE} has no {token!r}, which is the {role}. Name the right token as "
                    f"{role!r} in tokenizer_config.json."
                )
        for token in languages:
            ids.setdefault(token, len(ids))
        spec, pieces = sentence_piece_json(model), [piece.text for piece in model.pieces]
        others = [t for t in dict.fromkeys([*special.values(), *languages]) if t not in pieces]
        places = {token: index for index, token in enumerate([*pieces, *others])}
        spec["added_tokens"] = [each for each in spec["added_tokens"] if each["content"] in ids]
        spec["added_tokens"] += [
            added_token({"normalized": False}, token, places[token], is_control=True)
            for token in others
        ]
        spec["post_processor"] = wrapped_in(self.languages, config, places)
        unknown = ids[special["unk_token"]]
        table = [ids.get(token, unknown) for token in places]
        return spec, {**config, DICTIONARY: ids, PIECE_IDS: table}

    def _language_tokens(self, config: Mapping[str, Any]) -> list[str]:
        """Return the tokens of languages that come after the dictionary."""
        if not self.codes or self.languages is None:
            return []
        chosen = config.get("language_codes") or next(iter(self.codes))
        if chosen not in self.codes:
            raise ConfigError(
                f"language_codes is {chosen!r} in tokenizer_config.json; known: "
                f"{', '.join(self.codes)}"
            )
        return [self.languages.token(code) for code in self.codes[chosen]]
