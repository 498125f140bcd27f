"""ESM's tokenizer: a vocabulary of letters, or of words of DNA, found in a text as they stand.

Source: transformers, models/esm/tokenization_esm.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from inarch.errors import CheckpointError
from inarch.text.family import TokenizerFamily
from inarch.text.fast_bpe import SPACES
from inarch.text.files import VOCABULARY_FILE, decode_text, parse_vocabulary
from inarch.text.json_parts import Part, split, template, tokenizer_json
from inarch.text.special_tokens import added_token, special_token_texts, token_text

TOKENS = {
    "unk_token": "<unk>",
    "cls_token": "<cls>",
    "pad_token": "<pad>",
    "mask_token": "<mask>",
    "eos_token": "<eos>",
}


@dataclass(frozen=True, kw_only=True)
class EsmFamily(TokenizerFamily):
    """Tokenizers whose `vocab.txt` has tokens that are found anywhere, the longest ones first.

    What lies between them is unknown, a token for each word; case is kept.
    """

    files: tuple[str, ...] = (VOCABULARY_FILE,)
    special_tokens: Mapping[str, Any] = field(default_factory=lambda: TOKENS)
    ends: tuple[str, str] = ("cls_token", "eos_token")
    reads_tokenizer_json: bool = False

    def build(
        self, files: Mapping[str, bytes], names: tuple[str, ...], config: Mapping[str, Any]
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        vocabulary = parse_vocabulary(decode_text(files, names[0]), lenient=True)
        filled = self.with_defaults(config)
        ids = {token: index for index, token in enumerate(vocabulary) if token}
        unknown = token_text(filled["unk_token"], "unk_token")
        if unknown not in ids:
            raise CheckpointError(
                f"{names[0]} has no {unknown!r}, which is the unk_token. Add it, or name the right "
                "one in tokenizer_config.json."
            )
        named = {*special_token_texts(filled).values()}
        added = [added_token({}, token, ids[token], token in named) for token in ids]
        spec = tokenizer_json(
            {"type": "WordLevel", "vocab": ids, "unk_token": unknown},
            pre_tokenizer=split(f"[{SPACES}]+", "Removed"),
            added_tokens=[{**token, "normalized": False} for token in added],
        )
        return spec, filled

    def post_processor(
        self, spec: Mapping[str, Any], special_tokens: Mapping[str, str], ids: Mapping[str, int]
    ) -> Part | None:
        # Models of DNA have no token at the end.
        first, last = (special_tokens.get(name) for name in self.ends)
        return template("bert", first, last, ids)


TOKENIZERS = (EsmFamily(tokenizer_class="EsmTokenizer", model_types=("esm",)),)
