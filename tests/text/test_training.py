"""Laws of `Tokenizer.train`: what is learned, what is kept, and what is refused beforehand."""

import unicodedata

import pytest

from inarch.errors import InputError, InputTypeError
from inarch.text import BytePairTokenizer, Tokenizer, WordPieceTokenizer

TEXTS = [
    "The film was good, the actors were better!",
    "An unbelievable story; runners running, a runner runs.",
    "Ein schöner Film: Café, naïve Größe.",
    "映画は良かった 🙂 👩‍👩‍👧",
] * 4
KINDS = {"wordpiece": 120, "bpe": 300, "unigram": 110}
CLASSES = {"wordpiece": WordPieceTokenizer, "bpe": BytePairTokenizer, "unigram": Tokenizer}


@pytest.fixture(scope="module", params=KINDS)
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def trained(kind):
    return Tokenizer.train(TEXTS, kind, KINDS[kind])


def test_the_vocabulary_is_learned_within_its_size(kind, trained):
    tokens = trained.get_vocabulary()
    assert type(trained) is CLASSES[kind]
    assert trained.vocabulary_size <= KINDS[kind]
    if kind != "unigram":  # which keeps no more pieces than the texts have a use for
        assert trained.vocabulary_size == KINDS[kind]
    assert len({*tokens} - {""}) == len(tokens)
    ids = trained.encode("the unbelievable film", add_special_tokens=False).ids
    assert len(ids) < len("the unbelievable film")
    assert trained.unk_token_id not in ids


def test_special_tokens_are_the_first_ids_and_wrap_a_text(kind, trained):
    first = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    if kind != "wordpiece":
        first = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    assert trained.get_vocabulary()[:5] == first
    tokens = trained.encode("a film", "a story").tokens
    ends = ("[CLS]", "[SEP]") if kind == "wordpiece" else ("<s>", "</s>")
    assert (tokens[0], tokens[-1]) == ends
    assert trained.encode("a film [MASK] <mask>").ids.count(trained.mask_token_id) == 0
    spelled = trained.encode(trained.mask_token, allow_special=(trained.mask_token,))
    assert trained.mask_token_id in spelled.ids


def test_texts_come_back(kind, trained):
    for text in TEXTS[:4]:
        back = trained.decode(trained.encode(text).ids)
        if kind == "bpe":
            assert back == text
        elif kind == "unigram":
            assert back == unicodedata.normalize("NFKC", text)
        else:  # lower-cased, without accents, spaced as its decoder does it
            plain = unicodedata.normalize("NFD", text.lower())
            plain = "".join(c for c in plain if unicodedata.category(c) not in ("Mn", "Cf"))
            assert back.replace(" ", "") == plain.replace(" ", "")


def test_what_is_saved_is_loaded_with_equal_ids(kind, trained, tmp_path):
    trained.save(tmp_path)
    for again in (
        Tokenizer.from_folder(tmp_path),
        Tokenizer.from_preset(tmp_path),
        type(trained).from_config(trained.get_config()),
    ):
        assert again.encode_batch([*TEXTS, ("a film", "!")]) == trained.encode_batch(
            [*TEXTS, ("a film", "!")]
        )
        assert again.special_tokens == trained.special_tokens


@pytest.mark.parametrize("kind", ["wordpiece", "bpe"])
def test_equal_texts_give_an_equal_tokenizer_from_any_iterable(kind):
    trained = Tokenizer.train(TEXTS, kind, KINDS[kind])
    for texts in (iter(TEXTS), (t for t in TEXTS), [TEXTS[:3], TEXTS[3:]], TEXTS[::-1]):
        assert Tokenizer.train(texts, kind, KINDS[kind]).files == trained.files


def test_pieces_are_learned_by_frequency():
    tokenizer = Tokenizer.train(["aab aab aab cd cd"], "wordpiece", 15)
    tokens = tokenizer.get_vocabulary()
    assert tokens[5:] == ["a", "b", "c", "d", "##a", "##b", "##d", "aa", "aab", "cd"]
    # With no room for all characters the rarest are left out.
    few = Tokenizer.train(["aab aab aab cd"], "wordpiece", 10).get_vocabulary()
    assert few[5:] == ["a", "b", "##a", "##b", "aa"]


def test_options_are_those_of_the_class():
    cased = Tokenizer.train(["Good Films"] * 3, "wordpiece", 60, lowercase=False)
    assert "Films" in cased.get_vocabulary()
    assert "films" in Tokenizer.train(["Good Films"] * 3, "wordpiece", 60).get_vocabulary()
    other = Tokenizer.train(["good films"], "wordpiece", 60, suffix_indicator="@@")
    assert "@@m" in other.get_vocabulary()
    spaced = Tokenizer.train(["good good"], "bpe", 300, add_prefix_space=True)
    assert spaced.encode("good").ids[1:-1] == spaced.encode(" good").ids[1:-1]
    lower = Tokenizer.train(["Good Films"] * 3, "unigram", 60, lowercase=True)
    assert lower.decode(lower.encode("GOOD").ids) == "good"


def test_special_tokens_may_be_ones_own():
    plain = Tokenizer.train(TEXTS, "bpe", 300, special_tokens={"eos_token": "<|endoftext|>"})
    assert plain.special_tokens == {"eos_token": "<|endoftext|>"}
    assert "<|endoftext|>" not in plain.encode("a film").tokens
    deberta = {
        "unk_token": "[UNK]",
        "cls_token": "[CLS]",
        "sep_token": "[SEP]",
        "pad_token": "[PAD]",
    }
    unigram = Tokenizer.train(TEXTS, "unigram", 110, special_tokens=deberta)
    assert unigram.encode("a").tokens[0] == "[CLS]"
    bare = Tokenizer.train(TEXTS, "wordpiece", 110, special_tokens={"unk_token": "?"})
    assert bare.special_tokens == {"unk_token": "?"}
    assert "[CLS]" not in bare.get_vocabulary()


@pytest.mark.parametrize(
    ("arguments", "error", "names"),
    [
        ({"texts": "one text"}, InputTypeError, "texts is 'one text'"),
        ({"texts": ["a", 3]}, InputTypeError, "text 1 is of type int"),
        ({"texts": ["a", "\ud800"]}, InputError, "text 1 has a lone surrogate"),
        ({"texts": []}, InputError, "texts holds no text"),
        ({"texts": ["", " "]}, InputError, "texts holds no text"),
        ({"kind": "words"}, InputError, "kind is 'words'"),
        ({"vocabulary_size": 5}, InputError, "no room for a character and 5 special tokens"),
        ({"kind": "bpe", "vocabulary_size": 260}, InputError, "256 bytes and 5 special tokens"),
        ({"kind": "unigram", "vocabulary_size": 20}, InputError, "vocabulary_size=20"),
        ({"kind": "bpe", "lowercase": True}, InputError, "lowercase is no option of kind 'bpe'"),
        ({"special_tokens": {"cls_token": "[CLS]"}}, InputError, "no unk_token"),
        ({"special_tokens": {"unknown": "[UNK]"}}, InputError, "a role in special_tokens"),
        ({"special_tokens": ["[UNK]"]}, InputTypeError, "give role to token"),
        ({"kind": "bpe", "add_prefix_space": "yes"}, InputTypeError, "add_prefix_space is 'yes'"),
    ],
)
def test_what_cannot_be_trained_is_named(arguments, error, names):
    with pytest.raises(error, match=names):
        Tokenizer.train(**{"texts": TEXTS, "vocabulary_size": 300} | arguments)


def test_an_error_of_the_texts_is_not_hidden():
    def broken():
        yield "a text"
        raise KeyError("a column")

    with pytest.raises(KeyError, match="a column"):
        Tokenizer.train(broken(), "bpe", 300)
