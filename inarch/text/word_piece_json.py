"""WordPiece (Devlin et al., 2018, arXiv:1810.04805) as a tokenizer.json, and its families."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from inarch.errors import ConfigError
from inarch.text.family import TokenizerFamily
from inarch.text.files import VOCABULARY_FILE, decode_text, parse_vocabulary
from inarch.text.json_parts import Template, tokenizer_json
from inarch.text.json_parts import template as wrap
from inarch.text.special_tokens import BERT_TOKENS, token_text
from inarch.user_warnings import warn

# Fields of tokenizer_config.json, and those of the normalizer that they set.
BERT_OPTIONS = {
    "do_lower_case": "lowercase",
    "strip_accents": "strip_accents",
    "tokenize_chinese_chars": "handle_chinese_chars",
}
# The only ways that are computed here in which a Japanese BERT may split words, and words into
# pieces: those of all others.
SPLITS = {"word_tokenizer_type": "basic", "subword_tokenizer_type": "wordpiece"}
REQUIRED = ("unk_token", "cls_token", "sep_token")


@dataclass(frozen=True, kw_only=True)
class WordPieceFamily(TokenizerFamily):
    """Tokenizers whose `vocab.txt` is WordPiece, split into words as BERT does it."""

    files: tuple[str, ...] = (VOCABULARY_FILE,)

    def build(
        self, files: Mapping[str, bytes], names: tuple[str, ...], config: Mapping[str, Any]
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        for setting, usual in SPLITS.items():
            if config.get(setting, usual) != usual:
                raise ConfigError(
                    f"tokenizer_config.json has {setting}={config[setting]}, and only {usual} is "
                    f"computed here from {names[0]}. Give the folder a tokenizer.json, which "
                    "transformers writes with `tokenizer.save_pretrained(folder)`, where its "
                    "tokenizer has one."
                )
        vocabulary = parse_vocabulary(decode_text(files, names[0]), lenient=True)
        known, texts = {*vocabulary}, self.special_token_texts
        # A token that isn't in the vocabulary has no row in the model, and isn't needed.
        absent = {name for name in texts if name not in REQUIRED and texts[name] not in known}
        filled = self.with_defaults(config)
        config = {k: v for k, v in filled.items() if k not in absent or k in config}
        return word_piece_json(vocabulary, config, template=self.template), config


def word_piece_json(
    vocabulary: Sequence[str],
    config: Mapping[str, Any],
    suffix_indicator: str = "##",
    template: Template = "bert",
) -> dict[str, Any]:
    """Return the content of a tokenizer.json.

    Args:
        vocabulary: tokens by id.
        config: a tokenizer_config.json; what it leaves out is as in BERT's uncased models.
        suffix_indicator: what marks a piece that continues a word.
        template: how texts are wrapped, as in `TokenizerFamily`.
    """
    ids = {token: index for index, token in enumerate(vocabulary)}
    names = {name: token_text(config.get(name, BERT_TOKENS[name]), name) for name in REQUIRED}
    if names["unk_token"] is None:
        raise ConfigError("unk_token is None; WordPiece needs a token for unknown words.")
    _add_unknown(ids, names)
    ends = names["cls_token"], names["sep_token"]
    has_ends = all(token is None or token in ids for token in ends)
    return tokenizer_json(
        {
            "type": "WordPiece",
            "unk_token": names["unk_token"],
            "continuing_subword_prefix": suffix_indicator,
            "max_input_chars_per_word": 100,
            "vocab": ids,
        },
        normalizer={
            "type": "BertNormalizer",
            "clean_text": True,
            "handle_chinese_chars": True,
            "strip_accents": None,
            "lowercase": True,
            **bert_options(config),
        },
        pre_tokenizer={"type": "BertPreTokenizer"},
        # Where one has no id yet, `fill_defaults` makes it.
        post_processor=wrap(template, *ends, ids) if has_ends else None,
        decoder={"type": "WordPiece", "prefix": suffix_indicator, "cleanup": True},
    )


def _add_unknown(ids: dict[str, int], names: Mapping[str, str | None]) -> None:
    """Give the unknown token an id where the vocabulary has none, and warn of what it lacks."""
    lacking = {name: token for name, token in names.items() if token and token not in ids}
    if not lacking:
        return
    warn(
        f"the vocabulary of {len(ids)} tokens has no "
        + ", ".join(f"{token!r}, which is the {name}" for name, token in lacking.items())
        + ": its id comes after those of the vocabulary. If the model has no such row, add the "
        "token, or name the right one in tokenizer_config.json"
    )
    if "unk_token" in lacking:
        ids[lacking["unk_token"]] = max(ids.values()) + 1


def bert_options(config: Mapping[str, Any]) -> dict[str, bool | None]:
    """Return the fields of the normalizer that a tokenizer_config.json sets.

    Raises:
        ConfigError: one is neither true nor false.
    """
    options = {field: config[key] for key, field in BERT_OPTIONS.items() if key in config}
    for key, field in BERT_OPTIONS.items():
        value = options.get(field, True)
        if not isinstance(value, bool) and not (value is None and field == "strip_accents"):
            raise ConfigError(f"{key} is {value!r} in tokenizer_config.json; it is true or false.")
    return options


BERT = WordPieceFamily(
    tokenizer_class="BertTokenizer", model_types=("bert",), special_tokens=BERT_TOKENS
)
CONVBERT = replace(BERT, tokenizer_class="ConvBertTokenizer", model_types=("convbert",))
MOBILEBERT = replace(BERT, tokenizer_class="MobileBertTokenizer", model_types=("mobilebert",))
