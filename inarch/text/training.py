"""Training of tokenizers on texts, by the trainers of the Rust `tokenizers` library."""

from __future__ import annotations

import inspect
import itertools
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from inarch.errors import InputError, InputTypeError
from inarch.text.byte_level import byte_pair_json
from inarch.text.json_parts import Part, replace, template, tokenizer_json
from inarch.text.rust_backend import check_text, disable_parallelism_in_forks
from inarch.text.sentence_piece import metaspace
from inarch.text.special_tokens import BERT_TOKENS, SPECIAL_TOKEN_NAMES
from inarch.text.word_piece_json import word_piece_json
from inarch.validation import check_count, check_flag, one_of, shown

if TYPE_CHECKING:
    from inarch.text.tokenizer import Tokenizer

# In the order of their ids in published models.
WORD_PIECE_TOKENS = {
    role: BERT_TOKENS[role]
    for role in ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token")
}
ROBERTA_TOKENS = {
    "bos_token": "<s>",
    "pad_token": "<pad>",
    "eos_token": "</s>",
    "unk_token": "<unk>",
    "mask_token": "<mask>",
    "cls_token": "<s>",
    "sep_token": "</s>",
}
# A word repeated this many times is one text where counted words are given to a trainer.
REPEATS = 1000


def train_tokenizer(
    texts: Iterable[Any],
    kind: str,
    vocabulary_size: int,
    special_tokens: Mapping[str, str] | None,
    options: Mapping[str, Any],
) -> Tokenizer:
    """Train a tokenizer; see `Tokenizer.train`.

    Raises:
        InputTypeError: `texts`, or an entry of it, isn't text.
        InputError: another argument can't be used, or there is no text.
    """
    one_of(TRAINERS).check("kind", kind)
    train, usual = TRAINERS[kind]
    known = list(inspect.signature(train).parameters)[3:]
    if unknown := [name for name in options if name not in known]:
        raise InputError(f"{unknown[0]} is no option of kind {kind!r}; it has {', '.join(known)}")
    tokens = _checked_tokens(usual if special_tokens is None else special_tokens, kind)
    check_count("vocabulary_size", vocabulary_size)
    least = len({*tokens.values()}) + (256 if kind == "bpe" else 1)
    if vocabulary_size < least:
        what = "256 bytes and" if kind == "bpe" else "a character and"
        raise InputError(
            f"vocabulary_size is {vocabulary_size}, with no room for {what} "
            f"{len({*tokens.values()})} special tokens; give at least {least}"
        )
    return train(_Checked(texts), vocabulary_size, tokens, **options)


def _checked_tokens(given: Mapping[str, str], kind: str) -> dict[str, str]:
    if not isinstance(given, Mapping):
        raise InputTypeError(
            f"special_tokens is {shown(given)}; give role to token, such as "
            '{"unk_token": "[UNK]"}'
        )
    for role, token in given.items():
        one_of(SPECIAL_TOKEN_NAMES).check("a role in special_tokens", role)
        check_text(token, f"special_tokens[{role!r}]")
        if not token.strip():
            raise InputError(
                f"special_tokens has {token!r} as {role}; give a token that isn't blank"
            )
    if kind != "bpe" and "unk_token" not in given:
        raise InputError(f"special_tokens has no unk_token, which kind {kind!r} needs; add one")
    return dict(given)


class _Checked:
    """Iterator over texts, each checked; it counts those that aren't blank.

    Args:
        texts: texts, or batches of them in lists.
    """

    def __init__(self, texts: Iterable[Any]):
        if isinstance(texts, str | bytes | Mapping) or not isinstance(texts, Iterable):
            raise InputTypeError(
                f"texts is {shown(texts)}; give an iterable of strings, such as a list, or "
                "inarch.data.TextLines(path) for the lines of a file"
            )
        self._texts = texts
        self.count = 0

    def __iter__(self) -> Iterator[str]:
        entries = (e if isinstance(e, list | tuple) else (e,) for e in self._texts)
        for index, text in enumerate(itertools.chain.from_iterable(entries)):
            check_text(text, f"text {index}")
            self.count += bool(text.strip())
            yield text


def _run(rust: Any, texts: Iterable[str], trainer: Any) -> Any:
    disable_parallelism_in_forks()
    try:
        rust.train_from_iterator(iter(texts), trainer)
    except Exception as error:
        if type(error) is not Exception:  # of the texts' iterator
            raise
        raise InputError(
            f"vocabulary_size={trainer.vocab_size} can't be used: the tokenizers library says "
            f"{str(error)!r}; give a larger one"
        ) from error
    if isinstance(texts, _Checked) and not texts.count:
        raise InputError("texts holds no text; give at least one that isn't blank")
    return rust


def _new(spec: Part) -> Any:
    from tokenizers import Tokenizer

    return Tokenizer.from_str(json.dumps(spec))


# --- WordPiece ---------------------------------------------------------------------------------


def _train_word_piece(
    texts: _Checked,
    vocabulary_size: int,
    special_tokens: Mapping[str, str],
    lowercase: bool = True,
    strip_accents: bool | None = None,
    split_on_cjk: bool = True,
    suffix_indicator: str = "##",
) -> Tokenizer:
    """Train WordPiece; the options are those of `WordPieceTokenizer`.

    The library numbers characters within words in an order that changes from run to run, and by
    these numbers it decides between pairs that are equally frequent. So words are counted first,
    and the characters numbered here.
    """
    from tokenizers.trainers import WordPieceTrainer

    from inarch.text.word_piece import WordPieceTokenizer

    check_text(suffix_indicator, "suffix_indicator")
    special = list(dict.fromkeys(special_tokens.values()))
    roles: dict[str, Any] = {**dict.fromkeys(WORD_PIECE_TOKENS), **special_tokens}
    options: dict[str, Any] = {
        "lowercase": lowercase,
        "strip_accents": strip_accents,
        "split_on_cjk": split_on_cjk,
        "suffix_indicator": suffix_indicator,
    }
    empty = WordPieceTokenizer(special, **options, **roles)
    words = _count_words(json.loads(empty._given_spec), texts)
    words, characters = _limit_characters(words, (vocabulary_size - len(special)) // 2)
    within = sorted({char for word in words for char in word[1:]})
    numbered = [*special, *characters, *(suffix_indicator + char for char in within)]
    trainer = WordPieceTrainer(
        vocab_size=vocabulary_size,
        special_tokens=numbered,
        continuing_subword_prefix=suffix_indicator,
        show_progress=False,
    )
    spec = word_piece_json(special, empty.config, suffix_indicator)
    whole_words = {**spec, "normalizer": None, "pre_tokenizer": {"type": "WhitespaceSplit"}}
    ids = _run(_new(whole_words), _repeated(words), trainer).get_vocab()
    return WordPieceTokenizer(sorted(ids, key=ids.__getitem__), **options, **roles)


def _count_words(spec: Part, texts: _Checked) -> dict[str, int]:
    """Return the words that a tokenizer splits texts into, and how often each is there."""
    from tokenizers.trainers import BpeTrainer

    pairs = tokenizer_json(
        byte_pair_json({}, [], {})["model"],
        normalizer=spec["normalizer"],
        pre_tokenizer=spec["pre_tokenizer"],
    )
    counter = BpeTrainer(vocab_size=0, show_progress=False)  # which learns nothing
    _run(_new(pairs), texts, counter)
    return json.loads(counter.__getstate__())["BpeTrainer"]["words"]


def _limit_characters(words: Mapping[str, int], most: int) -> tuple[Counter[str], list[str]]:
    """Return words of the most frequent characters alone, and these, at most so many, in order."""
    counts: Counter[str] = Counter()
    for word, count in words.items():
        for char in word:
            counts[char] += count
    kept = set(sorted(counts, key=lambda char: (-counts[char], char))[: max(most, 1)])
    if len(kept) == len(counts):
        return Counter(words), sorted(kept)
    limited: Counter[str] = Counter()
    for word, count in words.items():
        limited["".join(char for char in word if char in kept)] += count
    del limited[""]
    return limited, sorted(kept)


def _repeated(words: Mapping[str, int]) -> Iterator[str]:
    """Yield texts in which each word is as often as it was counted."""
    for word, count in words.items():
        whole, rest = divmod(count, REPEATS)
        yield from itertools.repeat(" ".join([word] * REPEATS), whole)
        yield " ".join([word] * rest)


# --- byte pairs and Unigram --------------------------------------------------------------------


def _train_byte_pairs(
    texts: _Checked,
    vocabulary_size: int,
    special_tokens: Mapping[str, str],
    add_prefix_space: bool = False,
) -> Tokenizer:
    """Train byte-level byte pair encoding; the option is that of `BytePairTokenizer`."""
    from tokenizers.pre_tokenizers import ByteLevel
    from tokenizers.trainers import BpeTrainer

    from inarch.text.byte_pair import BytePairTokenizer

    check_flag("add_prefix_space", add_prefix_space)
    trainer = BpeTrainer(
        vocab_size=vocabulary_size,
        special_tokens=list(dict.fromkeys(special_tokens.values())),
        initial_alphabet=ByteLevel.alphabet(),
        show_progress=False,
    )
    spec = byte_pair_json({}, [], {"add_prefix_space": add_prefix_space})
    model = json.loads(_run(_new(spec), texts, trainer).to_str())["model"]
    merges = [" ".join(pair) for pair in model["merges"]]
    return BytePairTokenizer(model["vocab"], merges, add_prefix_space, special_tokens)


def _train_unigram(
    texts: _Checked,
    vocabulary_size: int,
    special_tokens: Mapping[str, str],
    lowercase: bool = False,
) -> Tokenizer:
    """Train a Unigram model (Kudo, 2018, arXiv:1804.10959) on texts in NFKC, split at spaces.

    Args:
        lowercase: whether the text is lower-cased.
    """
    from tokenizers.trainers import UnigramTrainer

    from inarch.text.tokenizer import Tokenizer

    check_flag("lowercase", lowercase)
    special = list(dict.fromkeys(special_tokens.values()))
    trainer = UnigramTrainer(
        vocab_size=vocabulary_size,
        special_tokens=special,
        unk_token=special_tokens["unk_token"],
        show_progress=False,
    )
    forms: list[Part] = [{"type": "NFKC"}, replace(r"\s+", " ")]
    space = metaspace("always")
    parts: Part = {
        "normalizer": {
            "type": "Sequence",
            "normalizers": [*forms, *([{"type": "Lowercase"}] if lowercase else [])],
        },
        "pre_tokenizer": space,
        "decoder": space,
    }
    model: Part = {"type": "Unigram", "unk_id": None, "vocab": [], "byte_fallback": False}
    model = json.loads(_run(_new(tokenizer_json(model, **parts)), texts, trainer).to_str())["model"]
    ids = {entry[0]: index for index, entry in enumerate(model["vocab"])}
    ends = special_tokens.get("cls_token"), special_tokens.get("sep_token")
    spec = tokenizer_json(model, post_processor=template("xlm-roberta", *ends, ids), **parts)
    config = {"tokenizer_class": "PreTrainedTokenizerFast", **special_tokens}
    return Tokenizer(json.dumps(spec, ensure_ascii=False), config=config)


TRAINERS: Mapping[str, tuple[Callable[..., Any], Mapping[str, str]]] = {
    "wordpiece": (_train_word_piece, WORD_PIECE_TOKENS),
    "bpe": (_train_byte_pairs, ROBERTA_TOKENS),
    "unigram": (_train_unigram, ROBERTA_TOKENS),
}
