"""Byte pairs of SentencePiece's pieces, with steps around them that a class of transformers sets.

Source: transformers, tokenization_utils_tokenizers.py, `convert_to_native_format`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from json import dumps
from typing import Any

from inarch.text.byte_level import make_template
from inarch.text.family import TokenizerFamily
from inarch.text.json_parts import Part, token_ids
from inarch.text.special_tokens import token_text
from inarch.text.tokenizer_json_checks import PARTS


@dataclass(frozen=True, kw_only=True)
class PiecePairFamily(TokenizerFamily):
    """Byte pairs of a tokenizer.json, whose steps and unknown characters are the class's.

    Args:
        unknown: name of the special token in place of a character without a piece or bytes; `None`
            for none, so that it is dropped.
        kept_types: model types whose tokenizer.json stays as it is.
    """

    unknown: str | None = None
    kept_types: tuple[str, ...] = ()

    def make_steps(self, config: Mapping[str, Any]) -> dict[str, Part | None]:
        """Return the parts of a tokenizer.json around its model, but for the post-processor."""
        raise NotImplementedError

    def model_fields(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Return the fields of the model besides its vocabulary and merges."""
        unknown = config.get(self.unknown) if self.unknown else None
        return {
            "dropout": None,
            "unk_token": token_text(unknown, self.unknown or ""),
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": True,
            "byte_fallback": True,
            "ignore_merges": False,
        }

    def rebuild(
        self, spec: Mapping[str, Any], config: Mapping[str, Any], model_type: object
    ) -> Mapping[str, Any]:
        """Return a tokenizer.json of byte pairs with the steps of the class, whatever it had.

        One of bytes, as Llama 3 has it, stays as it is, as in transformers.
        """
        model, parts = spec["model"], [spec.get(name) for name in PARTS]
        has_pairs = model.get("type") == "BPE" and isinstance(model.get("vocab"), Mapping)
        if model_type in self.kept_types or not has_pairs or '"ByteLevel"' in dumps(parts):
            return spec
        config = self.with_defaults(config)
        added, declared = spec.get("added_tokens") or [], config.get("added_tokens_decoder")
        if isinstance(declared, Mapping):  # which is read in place of the file's, and added later
            kept = {token_text(token) for token in declared.values()}
            added = [token for token in added if token["content"] in kept]
        fields = {**model, **self.model_fields(config)}
        spec = {**spec, "model": fields, "added_tokens": added, **self.make_steps(config)}
        is_set = not config.keys().isdisjoint(("add_bos_token", "add_eos_token"))
        if is_set or not spec.get("post_processor"):
            spec["post_processor"] = make_template(config, token_ids(spec))
        return spec
