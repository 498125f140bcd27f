"""A checkpoint's tokenizer, on the Rust `tokenizers` library."""

import copy
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Self

import inarch.json_fields as fields
from inarch.errors import CheckpointError, InputError, InputTypeError
from inarch.text.chat_template import ChatTokenizer
from inarch.text.encoding import Encoding
from inarch.text.files import (
    CONFIG_FILE,
    TOKENIZER_JSON,
    check_names,
    decode_text,
    files_from_json,
    files_to_json,
    save_folder,
)
from inarch.text.rust_backend import (
    RustBackend,
    RustErrors,
    check_batch,
    check_ids,
    check_rows,
    check_text,
)
from inarch.text.tokenizer_doors import TokenizerDoors
from inarch.text.tokenizer_json import fill_defaults, model_max_length
from inarch.validation import shown


class Tokenizer(ChatTokenizer, TokenizerDoors):
    """Text to token ids and back.

    Safe to share between threads: what is configured per call (truncation, allowed special
    tokens) selects one of a few Rust tokenizers, none of which changes once made.

    A special token spelled out in a text, such as "[SEP]", is ordinary text, so that a text can't
    forge the model's control tokens. `allow_special=("[MASK]",)` lets exactly those through,
    `allow_special="all"` all of them, as transformers does. Where the model's own vocabulary would
    match such a token (Unigram does), its text is cut after the first character; if the
    vocabulary has neither side of the cut, there are two unknown tokens in place of one.

    Args:
        spec: text of a tokenizer.json.
        config: the tokenizer_config.json; names special tokens, `model_max_length`, ...
        files: the checkpoint's files, which `save` writes back byte for byte. By default a
            tokenizer.json and a tokenizer_config.json made of the two arguments above.

    Raises:
        CheckpointError: the `tokenizers` library can't use the tokenizer.json.
    """

    pad_token: str | None
    unk_token: str | None
    cls_token: str | None
    sep_token: str | None
    mask_token: str | None
    bos_token: str | None
    eos_token: str | None
    pad_token_id: int | None
    unk_token_id: int | None
    cls_token_id: int | None
    sep_token_id: int | None
    mask_token_id: int | None
    bos_token_id: int | None
    eos_token_id: int | None

    def __init__(
        self,
        spec: str,
        *,
        config: Mapping[str, Any] | None = None,
        files: Mapping[str, bytes] | None = None,
    ):
        check_text(spec, "spec")
        config = copy.deepcopy(dict(config or {}))
        if files is None:
            files = {TOKENIZER_JSON: spec.encode(), CONFIG_FILE: fields.json_text(config).encode()}
        check_names(files)
        self.config = config
        self.files = dict(files)
        self._given_spec = spec
        parsed = fields.object_in(spec, TOKENIZER_JSON, CheckpointError)
        filled, self._special_tokens = self._fill_defaults(parsed, config)
        side = "left" if config.get("truncation_side") == "left" else "right"
        self._backend = RustBackend(filled, self._special_tokens.get("unk_token"), side)
        self._ids = self._read_vocabulary()
        self._tokens = {index: token for token, index in self._ids.items()}
        self._size = max(self._tokens, default=-1) + 1
        for role in ("pad", "unk", "cls", "sep", "mask", "bos", "eos"):
            token = self._special_tokens.get(f"{role}_token")
            setattr(self, f"{role}_token", token)
            setattr(self, f"{role}_token_id", None if token is None else self._ids[token])
        self.special_ids = frozenset(self._ids[token] for token in self._backend.control)
        self.model_max_length = model_max_length(config)

    @staticmethod
    def _fill_defaults(
        spec: Mapping[str, Any], config: Mapping[str, Any]
    ) -> tuple[dict[str, Any], dict[str, str]]:
        """Return the tokenizer.json as it is used, and its special tokens by name."""
        return fill_defaults(spec, config)

    def _read_vocabulary(self) -> dict[str, int]:
        """Return token to id; encode once, since some faults of a tokenizer.json show only then."""
        rust = self._backend.get()
        with RustErrors(f"{TOKENIZER_JSON} can't be used"):
            rust.encode("a", "a")
            rust.encode("a")
            return rust.get_vocab(with_added_tokens=True)

    @classmethod
    def _assembled(cls, spec: str, config: Mapping[str, Any], files: Mapping[str, bytes]) -> Self:
        """Return an instance of the three parts, whatever a subclass's constructor takes."""
        own = [kind for kind in Tokenizer.__subclasses__() if kind._is_of(spec, config)]
        kind = own[0] if own and cls is Tokenizer else cls
        self: Any = kind.__new__(kind)
        Tokenizer.__init__(self, spec, config=config, files=files)
        return self

    @classmethod
    def _is_of(cls, spec: str, config: Mapping[str, Any]) -> bool:
        """Return whether files are of a model whose tokenizer class is this one."""
        return False

    @property
    def vocabulary_size(self) -> int:
        """One more than the largest id, added tokens included."""
        return self._size

    @property
    def control_tokens(self) -> frozenset[str]:
        """Special tokens that are text where a text spells them out, unless they are allowed."""
        return self._backend.control

    @property
    def implied_tokens(self) -> frozenset[str]:
        """Tokens that the model has and the tokenizer's files don't name."""
        return frozenset()

    @property
    def special_tokens(self) -> dict[str, str]:
        """Special tokens by name, such as `{"cls_token": "[CLS]", ...}`."""
        return dict(self._special_tokens)

    @property
    def continuing_subword_prefix(self) -> str | None:
        """Mark of a token that continues a word, such as `##`; None where words have no such mark.

        Models without it are those of SentencePiece and of bytes.
        """
        return getattr(self._backend.get().model, "continuing_subword_prefix", None) or None

    def get_vocabulary(self) -> list[str]:
        """Return the tokens by id; an id without a token is an empty string."""
        return [self._tokens.get(index, "") for index in range(self.vocabulary_size)]

    def has_token(self, token: str) -> bool:
        """Return whether a token is in the vocabulary."""
        return token in self._ids

    def token_to_id(self, token: str) -> int:
        """Return the id of a token; InputError for one that isn't in the vocabulary."""
        if not isinstance(token, str):
            raise InputTypeError(f"token is {shown(token)}; give one token as a string")
        if token not in self._ids:
            raise InputError(f"{token!r} isn't one of the {len(self._ids)} tokens of the tokenizer")
        return self._ids[token]

    def id_to_token(self, index: int) -> str:
        """Return the token of an id; InputError for one that isn't in the vocabulary."""
        return self.ids_to_tokens([index])[0]

    def ids_to_tokens(self, ids: Iterable[int]) -> list[str]:
        """Return the tokens of a row of ids; InputError for one that isn't in the vocabulary."""
        return [self._tokens[i] for i in check_ids(ids, self._tokens, self.vocabulary_size)]

    def encode(
        self,
        text: str,
        pair: str | None = None,
        *,
        max_length: int | None = None,
        add_special_tokens: bool = True,
        allow_special: Collection[str] | str = (),
    ) -> Encoding:
        """Encode one text, or a text and its `pair`.

        Args:
            text, pair: any Unicode text, empty ones included, without lone surrogates.
            max_length: most tokens of the result, special ones included, which are always kept;
                of a pair the longer text is cut first. None leaves the text whole.
            add_special_tokens: wrap the text as the model expects it.
            allow_special: special tokens that count as such when spelled out in the text.

        Raises:
            InputTypeError: something that isn't a string.
            InputError: a lone surrogate, an unknown special token, no room in `max_length`.
        """
        check_text(text, "text")
        if pair is not None:
            check_text(pair, "pair")
        entry = text if pair is None else (text, pair)
        raw = self._backend.encode([entry], max_length, add_special_tokens, allow_special)
        return self._wrap(raw[0])

    __call__ = encode

    def encode_batch(
        self,
        texts: Sequence[str | tuple[str, str]],
        *,
        max_length: int | None = None,
        add_special_tokens: bool = True,
        allow_special: Collection[str] | str = (),
    ) -> list[Encoding]:
        """Encode many texts or `(text, pair)` tuples in parallel, in order. See `encode`."""
        inputs = check_batch(texts)
        if not inputs:
            return []
        raw = self._backend.encode(inputs, max_length, add_special_tokens, allow_special)
        return [self._wrap(one) for one in raw]

    def _wrap(self, raw: Any) -> Encoding:
        """Return the encoding of one that the library made."""
        return Encoding(raw)

    @property
    def output_tokenizer(self) -> "Tokenizer":
        """The tokenizer of texts that a model gives, where they have other ids than those read."""
        return self

    def decode(self, ids: Iterable[int], skip_special_tokens: bool = True) -> str:
        """Return the text of a row of ids (a list or a one-dimensional array)."""
        values = check_ids(ids, self._tokens, self.vocabulary_size)
        rust = self._backend.get()
        with RustErrors("the tokenizer failed to decode"):
            return rust.decode(values, skip_special_tokens=skip_special_tokens)

    def decode_batch(
        self, rows: Iterable[Iterable[int]], skip_special_tokens: bool = True
    ) -> list[str]:
        """Return the texts of several rows of ids."""
        return [self.decode(row, skip_special_tokens) for row in check_rows(rows)]

    def save(self, folder: str | os.PathLike) -> None:
        """Write the tokenizer's files, byte for byte as loaded; those of another one are removed.

        Raises:
            CheckpointFileError: the folder can't be written to; what was there stays as it was.
        """
        save_folder(folder, self.files)

    def get_config(self) -> dict[str, Any]:
        """Return everything as JSON values, of which `from_config` makes an equal tokenizer."""
        texts = files_to_json(self.files)
        spec = None if texts.get(TOKENIZER_JSON) == self._given_spec else self._given_spec
        return {"spec": spec, "config": copy.deepcopy(self.config), "files": texts}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Return the tokenizer whose `get_config` is given.

        Raises:
            CheckpointError: the config is malformed, or no tokenizer's.
        """
        where = "the config of a tokenizer"
        files = files_from_json(fields.read_field(config, "files", fields.OBJECT, where=where))
        settings = fields.read_field(config, "config", fields.OBJECT, where=where)
        spec = fields.read_field(config, "spec", fields.TEXT, None, where=where)
        if spec is None and TOKENIZER_JSON not in files:
            raise CheckpointError(f"{where} has no 'spec', and no {TOKENIZER_JSON} in 'files'")
        spec = decode_text(files, TOKENIZER_JSON) if spec is None else spec
        return cls._assembled(spec, settings, files)

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(vocabulary_size={self.vocabulary_size}, "
            f"model_max_length={self.model_max_length}, special_tokens={self._special_tokens})"
        )
