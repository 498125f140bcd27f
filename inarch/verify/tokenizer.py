"""Comparison of our tokenizer with the reference's, on texts that are hard to tokenize."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise, takewhile
from typing import Any

from inarch.errors import InarchError, MissingExtraError, ReferenceModelError
from inarch.text import Tokenizer
from inarch.verify.corpus import CORPUS, PAIRS, spelled_out

Entry = str | tuple[str, str]

# Room for tokens of the text besides the special ones. An odd number can't be shared evenly by
# two texts, and none at all leaves the special tokens alone.
ROOMS = (0, 7, 10)


@dataclass(frozen=True)
class TextDifference:
    """One text that the two tokenizers read differently.

    Attributes:
        text: the text, or the pair joined by " | "; empty where no text is involved.
        what: `ids`, `offsets`, `special_tokens_mask`, `segment_ids` or `decoded`, and after it
            how the text was read where that isn't whole, such as `ids at max_length=9`. Without a
            text `vocabulary` or `special_tokens`.
        ours: our value, from shortly before the first difference on.
        theirs: the reference's, from the same place on.
    """

    text: str
    what: str
    ours: str
    theirs: str


@dataclass(frozen=True)
class TokenizerParity:
    """The comparison of two tokenizers.

    Attributes:
        texts: how many texts and pairs were compared.
        differences: those that came out different.
    """

    texts: int
    differences: tuple[TextDifference, ...] = ()

    @property
    def same(self) -> bool:
        """Return whether there is no difference."""
        return not self.differences


def compare_tokenizers(
    folder: str | os.PathLike, tokenizer: Tokenizer | None = None, texts: Iterable[Entry] = ()
) -> TokenizerParity:
    """Compare our tokenizer of a checkpoint with the one that transformers makes of it.

    Compared are the vocabulary with every id, the special tokens, and for each text and pair of
    the corpus ids, offsets, special tokens mask, segment ids and the text decoded again; whole,
    and truncated to several lengths (`longest_first`).

    Special tokens spelled out in a text are control tokens to transformers and text to us. So ours
    with `allow_special="all"` is compared with transformers as it comes, and ours as it comes with
    transformers' `split_special_tokens=True`. That flag only keeps transformers from looking for
    those tokens: a model that has them in its own vocabulary, as Unigram may, still finds them.
    Where that happens ours must have none, and nothing else is compared.

    A tokenizer of transformers that is written in Python has no offsets, and gives an odd room to
    the first of two texts, where the Rust library gives it to the longer one; both are left out.
    One that looks for its whole vocabulary as it does for special tokens, as ESM's, finds nothing
    with that flag; there too ours must have no special token, and nothing else is compared.

    Args:
        folder: the checkpoint.
        tokenizer: ours; by default the folder's.
        texts: further texts and pairs to compare on.

    Raises:
        MissingExtraError: transformers isn't installed.
        ReferenceModelError: it fails on the folder or on a text.
        CheckpointError, CheckpointFileError: ours can't read the folder's tokenizer.
    """
    ours = Tokenizer.from_folder(folder) if tokenizer is None else tokenizer
    with _reference_errors(folder):
        theirs = _load(folder)
        named = [*ours.special_tokens.values(), *theirs.special_tokens_map.values()]
        special, given = list(dict.fromkeys(named)), list(texts)
        singles = [*CORPUS, *spelled_out(special), *(x for x in given if isinstance(x, str))]
        pairs = [*PAIRS, *pairwise(special), *(x for x in given if not isinstance(x, str))]
        found = list(_vocabularies(ours, theirs))
        for entries in (singles, pairs):
            needed = theirs.num_special_tokens_to_add(entries is pairs)
            # No room at all is no length to cut to, where there are no special tokens.
            even = entries is pairs and not theirs.is_fast
            rooms = [room for room in ROOMS if needed + room and not (even and room % 2)]
            for limit in (None, *(needed + room for room in rooms)):
                found += _texts(ours, theirs, entries, limit)
            found += _texts(ours, theirs, entries, None, literal=True)
    # One fault shows at many lengths: of each text, the first of a kind is reported.
    once = {(d.text, d.what.split()[0]): d for d in reversed(found)}
    return TokenizerParity(len(singles) + len(pairs), tuple(reversed(once.values())))


@contextmanager
def _reference_errors(folder: str | os.PathLike) -> Iterator[None]:
    """Silence transformers' warnings, and turn its failures into ours."""
    try:
        from transformers.utils import logging
    except ImportError as error:
        raise MissingExtraError(
            "comparing tokenizers needs transformers, which isn't installed: "
            "pip install 'inarch[verify]'"
        ) from error
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    except (InarchError, KeyboardInterrupt, SystemExit, GeneratorExit, MemoryError):
        raise
    except BaseException as error:  # a panic in Rust is no Exception
        reason = " ".join(str(error).split()) or "no reason given"
        raise ReferenceModelError(
            f"transformers fails on the tokenizer of {os.fspath(folder)} "
            f"({type(error).__name__}: {reason}). Check that the folder is whole, and made for the "
            "version of transformers that is installed."
        ) from error
    finally:
        logging.set_verbosity(before)


def _load(folder: str | os.PathLike) -> Any:
    """Load transformers' tokenizer; nothing is fetched, and no code of the checkpoint is run."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(
        os.fspath(folder), local_files_only=True, trust_remote_code=False
    )


def _vocabularies(ours: Tokenizer, theirs: Any) -> Iterator[TextDifference]:
    """Yield differences of vocabularies and special tokens, which no text need show."""
    rows = {index: token for token, index in theirs.get_vocab().items()}
    tokens = [rows.get(index, "") for index in range(max(rows, default=-1) + 1)]
    implied = ours.implied_tokens
    named = ["" if token in implied else token for token in ours.get_vocabulary()]
    while implied and named and not named[-1]:
        named.pop()
    yield from _different("", "vocabulary", _rows(named), _rows(tokens))
    roles = sorted(theirs.special_tokens_map.items())
    yield from _different("", "special_tokens", sorted(ours.special_tokens.items()), roles)


def _rows(tokens: Sequence[str]) -> list[str]:
    return [f"{index} {token!r}" for index, token in enumerate(tokens)]


def _texts(
    ours: Tokenizer,
    theirs: Any,
    entries: Sequence[Entry],
    limit: int | None,
    literal: bool = False,
) -> Iterator[TextDifference]:
    """Yield differences on texts or on pairs; `literal` takes special tokens for text."""
    how = f" at max_length={limit}" if limit is not None else ""
    how += " with special tokens as text" if literal else ""
    got = _ours(ours, entries, max_length=limit, allow_special=() if literal else "all")
    wanted = _theirs(theirs, entries, limit, literal)
    # The unknown token is forged only where it is spelled out; any text may turn into it.
    unknown, control = ours.unk_token, ours.special_ids - {ours.unk_token_id}
    blind = literal and len(getattr(theirs, "unique_no_split_tokens", ())) >= theirs.vocab_size
    for entry, mine, want in zip(entries, got, wanted, strict=True):
        text = entry if isinstance(entry, str) else " | ".join(entry)
        ids = want["ids"]
        forged = ours.special_ids if unknown and unknown in text else control
        if isinstance(mine, InarchError):
            reason = f"{type(mine).__name__}: {mine}"
            yield TextDifference(text, f"ids{how}", reason, _shown(_named(ids, theirs), 0))
        elif literal and (blind or _has_control(ids, want["special_tokens_mask"], forged)):
            if _has_control(mine.ids, mine.special_tokens_mask, control):
                shown = _shown(_named(mine.ids, ours), 0)
                yield TextDifference(text, f"ids{how}", shown, "no special token in the text")
        elif mine.ids != ids:  # and all else with them
            yield from _different(text, f"ids{how}", _named(mine.ids, ours), _named(ids, theirs))
        else:
            for name, values in want.items():
                yield from _different(text, name + how, getattr(mine, name), values)
        if limit is None:
            for skip in (True, False):
                yield from _decoded(ours, theirs, text, ids, skip)


def _ours(tokenizer: Tokenizer, entries: Sequence[Entry], **how: Any) -> list[Any]:
    """Return our encodings of a batch, with an error in place of each text that fails."""
    try:
        return list(tokenizer.encode_batch(entries, add_special_tokens=True, **how))
    except InarchError as error:
        if len(entries) == 1:
            return [error]
        return [x for entry in entries for x in _ours(tokenizer, [entry], **how)]


def _theirs(
    tokenizer: Any, entries: Sequence[Entry], limit: int | None, literal: bool
) -> list[dict[str, list]]:
    """Return transformers' encodings of a batch, by our names of the lists."""
    names = {
        "ids": "input_ids",
        "offsets": "offset_mapping",
        "special_tokens_mask": "special_tokens_mask",
        "segment_ids": "token_type_ids",
    }
    if not tokenizer.is_fast:
        del names["offsets"]
    # In two lists, because transformers takes a lone empty pair for no pair at all.
    pairs = not isinstance(entries[0], str)
    columns = [list(column) for column in zip(*entries, strict=True)] if pairs else [list(entries)]
    batch = tokenizer(
        *columns,
        truncation=False if limit is None else "longest_first",
        max_length=limit,
        split_special_tokens=literal,
        return_offsets_mapping="offsets" in names,
        return_special_tokens_mask=True,
        return_token_type_ids=True,
    )
    return [{name: batch[key][i] for name, key in names.items()} for i in range(len(entries))]


def _decoded(
    ours: Tokenizer, theirs: Any, text: str, ids: Sequence[int], skip: bool
) -> Iterator[TextDifference]:
    """Yield the difference of the texts that the same ids give."""
    what = "decoded" if skip else "decoded with special tokens"
    want = theirs.decode(ids, skip_special_tokens=skip)
    try:
        got = ours.decode(ids, skip_special_tokens=skip)
    except InarchError as error:
        yield TextDifference(text, what, f"{type(error).__name__}: {error}", repr(want))
    else:
        yield from _different(text, what, got, want)


def _has_control(ids: Sequence[int], added: Sequence[int], control: Collection[int]) -> bool:
    """Return whether a special token is among the text's own tokens."""
    return any(i in control for i, template in zip(ids, added, strict=True) if not template)


def _named(ids: Sequence[int], tokenizer: Any) -> list[str]:
    """Return ids with their tokens, of our tokenizer or theirs."""
    ours = isinstance(tokenizer, Tokenizer)
    token = tokenizer.id_to_token if ours else tokenizer.convert_ids_to_tokens
    return [f"{index} {token(index)!r}" for index in ids]


def _different(text: str, what: str, ours: Sequence, theirs: Sequence) -> Iterator[TextDifference]:
    """Yield the difference of two sequences, if there is one."""
    if ours != theirs:
        both = zip(ours, theirs, strict=False)
        same = sum(1 for _ in takewhile(lambda two: two[0] == two[1], both))
        yield TextDifference(text, what, _shown(ours, same), _shown(theirs, same))


def _shown(values: Sequence, position: int) -> str:
    """Return the values around a position, as text."""
    before, most = (10, 40) if isinstance(values, str) else (2, 6)
    first = max(position - before, 0)
    part = values[first : first + most]
    shown = repr(part) if isinstance(part, str) else ", ".join(map(str, part))
    return "... " * (first > 0) + shown + " ..." * (first + most < len(values))
