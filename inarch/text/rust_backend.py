"""The Rust `tokenizers` library behind a Tokenizer: instances, argument checks and errors."""

import os
import threading
from collections import OrderedDict
from collections.abc import Collection, Container, Iterable, Mapping, Sequence
from functools import cache
from typing import Any

from inarch.errors import CheckpointError, InputError, InputTypeError
from inarch.text.long_pairs import TruncatedPair, is_long_pair
from inarch.text.tokenizer_json import with_allowed_special
from inarch.validation import shown

# How many configured Rust tokenizers are kept; each costs a few megabytes.
KEPT = 8

# No text has as many tokens. The library counts to 2**64, and files have int(1e30) for no limit.
UNLIMITED = 2**32


class RustBackend:
    """Configured Rust tokenizers of one tokenizer.json, made on need and never changed after.

    In the `tokenizers` library truncation is state of the tokenizer, shared by every caller, so
    each setting gets a separate tokenizer. A copy or a pickle carries the tokenizer.json alone.

    Args:
        spec: the content of the tokenizer.json, as `fill_defaults` gives it.
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
        """Return the Rust tokenizer for these settings.

        Raises:
            InputError: a length that is none, or a token that isn't special.
        """
        allowed = self._allowed(allow_special)
        if max_length is not None and (type(max_length) is not int or max_length < 1):
            raise InputError(f"max_length is {max_length!r}; give a whole number from 1, or None.")
        if max_length is not None and max_length >= UNLIMITED:
            max_length = None
        key = (allowed, max_length)
        with self._lock:
            if key not in self._made:
                with RustErrors("tokenizer.json can't be used"):
                    self._made[key] = self._make(allowed, max_length)
                if len(self._made) > KEPT:
                    self._made.popitem(last=False)
            self._made.move_to_end(key)
            return self._made[key]

    def encode(
        self,
        entries: Sequence[str | tuple[str, str]],
        max_length: int | None,
        add_special_tokens: bool,
        allow_special: Collection[str] | str,
    ) -> list[Any]:
        """Return the library's encoding of each text or pair, of which there is at least one.

        Raises:
            InputError: as `get`; or a length without room for the special tokens.
            CheckpointError: the library fails.
        """
        rust = self.get(allow_special, max_length)
        check_max_length(rust, max_length, tuple in map(type, entries), add_special_tokens)
        long = [i for i, entry in enumerate(entries) if is_long_pair(entry, max_length)]
        if not long:
            return _encode(rust, entries, add_special_tokens)
        others: list[Any] = list(entries)
        for place in long:
            others[place] = ("", "")
        found = _encode(rust, others, add_special_tokens)
        for place in long:  # one at a time, since each may take a lot of memory
            (whole,) = _encode(self.get(allow_special), [entries[place]], add_special_tokens)
            found[place] = TruncatedPair(whole, max_length or len(whole), self.side)
        return found

    def _allowed(self, allow_special: Collection[str] | str) -> frozenset[str] | None:
        """Return the allowed tokens, None for all of them."""
        if allow_special == ():
            return frozenset()
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

        rust = Tokenizer.from_str(with_allowed_special(self.spec, allowed or (), split=False))
        if allowed is not None:
            rust.encode_special_tokens = True
            if self._leaks(rust, allowed):
                rust = Tokenizer.from_str(with_allowed_special(self.spec, allowed, split=True))
                rust.encode_special_tokens = True
        if max_length is not None:
            rust.enable_truncation(max_length, strategy="longest_first", direction=self.side)
        return rust

    def _leaks(self, rust: Any, allowed: Collection[str]) -> bool:
        """Return whether the model gives the spelling of a blocked token that token's own id."""
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


def _encode(rust: Any, entries: Sequence[str | tuple[str, str]], add_special_tokens: bool) -> Any:
    with RustErrors(f"the tokenizer failed on {'a text' if len(entries) == 1 else 'some texts'}"):
        if len(entries) == 1:  # for which no thread is to be woken
            parts = entries[0] if type(entries[0]) is tuple else (entries[0], None)
            return [rust.encode(*parts, add_special_tokens=add_special_tokens)]
        disable_parallelism_in_forks()
        return rust.encode_batch(entries, add_special_tokens=add_special_tokens)


class RustErrors:
    """Context that turns an error of the library into a CheckpointError that says what failed.

    A panic in Rust arrives as a BaseException, which `except Exception` would let through.
    """

    OTHERS = (KeyboardInterrupt, SystemExit, GeneratorExit, MemoryError, ImportError)

    def __init__(self, what: str):
        self._what = what

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        if error is None or isinstance(error, self.OTHERS):
            return
        raise CheckpointError(
            f"{self._what}: the tokenizers library says {str(error) or type(error).__name__!r}. "
            "The file may be damaged, or made for another version of that library: fetch or save "
            "it again."
        ) from error


@cache
def disable_parallelism_in_forks() -> None:
    """Keep a process forked after a parallel batch from warning, or from waiting for lost threads.

    Older versions of the library ask for TOKENIZERS_PARALLELISM to be set before such a fork. It
    is set for the instant of the fork: the child works serially and the parent stays parallel.
    """
    name = "TOKENIZERS_PARALLELISM"
    if name in os.environ or not hasattr(os, "register_at_fork"):
        return
    os.register_at_fork(
        before=lambda: os.environ.__setitem__(name, "false"),
        after_in_parent=lambda: os.environ.pop(name, None),
    )


def check_text(text: object, place: str) -> None:
    """Refuse what isn't a string that UTF-8 can write."""
    if not isinstance(text, str):
        hint = "decode it first" if isinstance(text, bytes) else "turn it into text first"
        raise InputTypeError(f"{place} is of type {type(text).__name__}, not a string; {hint}.")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError(
            f"{place} has a lone surrogate, U+{ord(text[error.start]):04X}, at character "
            f"{error.start}, which no encoding can carry. Read the text with the right encoding, "
            "or replace it: text.encode('utf-8', 'replace').decode()"
        ) from None


def check_batch(texts: object) -> list[Any]:
    """Return the texts of a batch, and tuples of two; refuse one text, and anything else."""
    if type(texts) is list:
        return [_check_batch_entry(text, index) for index, text in enumerate(texts)]
    if isinstance(texts, str | bytes):
        raise InputTypeError(f"texts is one {type(texts).__name__}; give a list of strings.")
    if isinstance(texts, Mapping) or not isinstance(texts, Iterable):
        raise InputTypeError(f"texts is {shown(texts)}; give a list of strings.")
    return [_check_batch_entry(text, index) for index, text in enumerate(texts)]


def _check_batch_entry(entry: object, index: int) -> Any:
    if not isinstance(entry, tuple | list):
        check_text(entry, f"texts[{index}]")
        return entry
    if len(entry) != 2:
        raise InputError(f"texts[{index}] has {len(entry)} parts; give a string or a pair of two.")
    for part, text in enumerate(entry):
        check_text(text, f"texts[{index}][{part}]")
    return tuple(entry)


def check_max_length(
    rust: Any, max_length: int | None, pair: bool, add_special_tokens: bool
) -> None:
    """Refuse a length without room for the special tokens, at which the library doesn't cut."""
    needed = rust.num_special_tokens_to_add(pair) if add_special_tokens else 0
    if max_length is not None and max_length < needed:
        kind = "a pair" if pair else "a text"
        raise InputError(
            f"max_length={max_length} has no room for the {needed} special tokens of {kind}; "
            f"give at least {needed}, or add_special_tokens=False."
        )


def check_ids(ids: Iterable[int], known: Container[int], size: int) -> list[int]:
    """Return ids as Python numbers, each one known to a vocabulary of `size` ids."""
    values: Any = ids.tolist() if hasattr(ids, "tolist") else ids
    if not isinstance(values, Iterable):
        raise InputTypeError(f"ids is the single value {shown(values)}; give a row of token ids.")
    values = list(values)
    for position, value in enumerate(values):
        if not hasattr(value, "__index__") or isinstance(value, bool):
            raise InputTypeError(
                f"ids[{position}] is of type {type(value).__name__}; token ids are whole numbers "
                "in one row, and decode_batch takes several rows."
            )
        values[position] = value = value.__index__()
        if value not in known:
            raise InputError(
                f"ids[{position}] is {value}, which no token has; the ids run from 0 to {size - 1}."
            )
    return values


def check_rows(rows: Any) -> Iterable[Any]:
    """Return several rows of ids; refuse one number."""
    if not isinstance(rows, Iterable):
        raise InputTypeError(f"rows is {shown(rows)}; give a list of rows of token ids.")
    return rows
