"""The Rust tokenizers behind one Tokenizer: one for each way of calling it."""

import threading
from collections import OrderedDict
from collections.abc import Collection, Mapping
from typing import Any

from inarch.checks import shown
from inarch.errors import InputError, InputTypeError
from inarch.text.guard import rust_errors
from inarch.text.spec import allowing

# How many configured Rust tokenizers are kept; each costs a few megabytes.
KEPT = 8

# No text has as many tokens. The library counts to 2**64, and files have int(1e30) for no limit.
UNLIMITED = 2**32


class Variants:
    """Configured Rust tokenizers of one description, made on need and never changed after.

    In the `tokenizers` library truncation is state of the tokenizer, shared by every caller, so
    each setting gets a tokenizer of its own. A copy or a pickle carries the description alone.

    Args:
        spec: the completed description (see `inarch.text.spec.complete`).
        unk_token: the unknown token, which any text may turn into.
        side: where truncation cuts, "left" or "right".
    """

    def __init__(self, spec: Mapping[str, Any], unk_token: str | None, side: str):
        self.spec = spec
        self.unk_token = unk_token
        self.side = side
        added = spec["added_tokens"]
        self.control = frozenset(token["content"] for token in added if token["special"])
        self._reset()

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._made: OrderedDict[tuple, Any] = OrderedDict()

    def get(
        self, allow_special: Collection[str] | str = "all", max_length: int | None = None
    ) -> Any:
        """The Rust tokenizer for these settings. InputError when they mean nothing."""
        allowed = self._allowed(allow_special)
        if max_length is not None and (type(max_length) is not int or max_length < 1):
            raise InputError(f"max_length is {max_length!r}; give a whole number from 1, or None.")
        if max_length is not None and max_length >= UNLIMITED:
            max_length = None
        key = (allowed, max_length)
        with self._lock:
            if key not in self._made:
                with rust_errors("tokenizer.json can't be used"):
                    self._made[key] = self._make(allowed, max_length)
                if len(self._made) > KEPT:
                    self._made.popitem(last=False)
            self._made.move_to_end(key)
            return self._made[key]

    def _allowed(self, allow_special: Collection[str] | str) -> frozenset[str] | None:
        """The allowed tokens, None for all of them."""
        if isinstance(allow_special, str):
            if allow_special == "all":
                return None
            raise InputError(
                f'allow_special is {allow_special!r}; give "all" or a tuple of tokens, '
                f"such as ({allow_special!r},)."
            )
        if not isinstance(allow_special, Collection):
            raise InputTypeError(
                f'allow_special is {shown(allow_special)}; give "all" or a tuple of tokens, () for '
                "none."
            )
        unknown = [
            token
            for token in allow_special
            if not isinstance(token, str) or token not in self.control
        ]
        if unknown:
            raise InputError(
                f"allow_special has {unknown[0]!r}, which isn't one of the tokenizer's special "
                f"tokens: {sorted(self.control)}"
            )
        return frozenset(allow_special)

    def _make(self, allowed: frozenset[str] | None, max_length: int | None) -> Any:
        from tokenizers import Tokenizer

        rust = Tokenizer.from_str(allowing(self.spec, allowed or (), split=False))
        if allowed is not None:
            rust.encode_special_tokens = True
            if self._leaks(rust, allowed):
                rust = Tokenizer.from_str(allowing(self.spec, allowed, split=True))
                rust.encode_special_tokens = True
        if max_length is not None:
            rust.enable_truncation(max_length, strategy="longest_first", direction=self.side)
        return rust

    def _leaks(self, rust: Any, allowed: Collection[str]) -> bool:
        """Whether a blocked token, spelled out, becomes its own id through the model itself."""
        return any(
            rust.token_to_id(token) in rust.encode(text, add_special_tokens=False).ids
            for token in self.control.difference(allowed, {self.unk_token})
            for text in (token, f"a {token} a")
        )

    def __getstate__(self) -> dict[str, Any]:
        kept = ("spec", "unk_token", "side", "control")
        return {name: getattr(self, name) for name in kept}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._reset()
