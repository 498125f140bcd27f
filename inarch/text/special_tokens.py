"""Special tokens: their names, those that many models have, and how files write them.

Source of the tokens: the classes of tokenizers in transformers (models/*/tokenization_*.py).
"""

from collections.abc import Mapping
from typing import Any

from inarch.errors import ConfigError

SPECIAL_TOKEN_NAMES = (
    "bos_token",
    "eos_token",
    "unk_token",
    "sep_token",
    "pad_token",
    "cls_token",
    "mask_token",
)
BERT_TOKENS = {
    "unk_token": "[UNK]",
    "sep_token": "[SEP]",
    "pad_token": "[PAD]",
    "cls_token": "[CLS]",
    "mask_token": "[MASK]",
}
# A mask that takes the space before it.
SPACED: dict[str, Any] = {"lstrip": True, "special": True}
ROBERTA_TOKENS: dict[str, Any] = {
    "bos_token": "<s>",
    "eos_token": "</s>",
    "sep_token": "</s>",
    "cls_token": "<s>",
    "unk_token": "<unk>",
    "pad_token": "<pad>",
    "mask_token": {"content": "<mask>", **SPACED},
}
GPT2_TOKENS = dict.fromkeys(("bos_token", "eos_token", "unk_token"), "<|endoftext|>")


def token_text(value: Any, name: str = "an added token") -> str | None:
    """Return the text of a token given as text or as an object with `content`; None for none.

    Raises:
        ConfigError: it is given otherwise; the error calls it `name`.
    """
    if isinstance(value, Mapping):
        value = value.get("content", value)
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise ConfigError(f"{name} is {value!r}; it should be text or an object with 'content'.")
    return value


def special_token_texts(config: Mapping[str, Any]) -> dict[str, str]:
    """Return the special tokens that a tokenizer_config.json gives, by name."""
    texts = {name: token_text(config.get(name), name) for name in SPECIAL_TOKEN_NAMES}
    return {name: text for name, text in texts.items() if text is not None}


def added_token(token: Any, text: str, index: int, is_control: bool) -> dict[str, Any]:
    """Return an entry of `added_tokens` in tokenizer.json, with the flags that a config gives."""
    flags = token if isinstance(token, Mapping) else {}
    is_special = is_control or bool(flags.get("special"))
    return {
        "id": index,
        "content": text,
        "single_word": bool(flags.get("single_word", False)),
        "lstrip": bool(flags.get("lstrip", False)),
        "rstrip": bool(flags.get("rstrip", False)),
        "normalized": bool(flags.get("normalized", not is_special)),
        "special": is_special,
    }
