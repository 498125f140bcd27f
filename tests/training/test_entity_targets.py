"""Targets of tokens: the first token of a word counts, and a span has exactly its own tokens."""

import pytest

from inarch.errors import InputError, InputTypeError
from inarch.metrics.tag_scheme import check_scheme, span_labels
from inarch.preprocessors.windows import windows
from inarch.training.entity_targets import (
    character_spans,
    first_tokens,
    span_classes,
    token_targets,
    word_labels,
    words_of,
)

from ..preprocessors.test_windows import TOKENIZERS, WORDS

BIO = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
BIOES = ["O", "B-PER", "I-PER", "E-PER", "S-PER"]


def cut(text, length=100, stride=None, tokenizer=WORDS):
    return windows(tokenizer.encode_batch([text]), length, stride)


def named(of_text, classes, labels=BIO):
    """Token, label and weight of each token of each window."""
    return [
        (labels[n] if w else "-") for window in of_text
        for n, w in zip(*token_targets(window, classes), strict=True)
    ]  # fmt: skip


# --- words -------------------------------------------------------------------------------------


def test_the_first_token_of_a_word_counts_and_no_other():
    words = words_of(["The", "cats", "ran", "!"], 0)
    assert words.text == "The cats ran !"
    of_text = cut(words.text)
    first = first_tokens(of_text, words)
    numbers = word_labels([["O", "B-PER", "I-PER", 0]], [words], BIO)[0]
    classes = {position: numbers[word] for position, word in first.items()}
    # [CLS] the cat ##s ran ! [SEP]
    assert named(of_text, classes) == ["-", "O", "B-PER", "-", "I-PER", "O", "-"]


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
@pytest.mark.parametrize("length", [5, 6, 9, 100])
def test_a_word_is_counted_at_the_same_token_in_all_windows(tokenizer, length):
    tokenizer = TOKENIZERS[tokenizer]
    words = words_of(["the", "ca\u0301ts", "\u732b\u732b", "\U0001f468\u200d\U0001f469", "ran."], 0)
    whole = first_tokens(cut(words.text, tokenizer=tokenizer), words)
    assert sorted(whole.values()) == [0, 1, 2, 3, 4]
    of_text = cut(words.text, length, 1, tokenizer)
    assert first_tokens(of_text, words) == whole
    counted = {
        p for window in of_text
        for p, weight in zip(window.positions, token_targets(window, whole)[1], strict=True)
        if weight
    }  # fmt: skip
    assert counted == set(whole)


def test_words_and_labels_that_do_not_fit_are_named():
    words = words_of(["the", "cat"], 0)
    for y, said in (
        ([["O"]], "text 0 has 2 words and 1 labels"),
        ([["O", "B-DOG"]], "label 'B-DOG' of word 1 of text 0 is none of 'O', 'B-PER'"),
        ([["O", 5]], "label 5 of word 1 of text 0 is none of"),
        ([["O", True]], "label True of word 1"),
        ([["O", "O"], ["O"]], "there are 1 texts and 2 lists of labels"),
        (None, "TokenClassifier needs labels: give y"),
    ):
        with pytest.raises(InputError, match=said):
            word_labels(y, [words], BIO)
    for y in ("OO", ["OO"], 3):
        with pytest.raises(InputTypeError):
            word_labels(y, [words], BIO)
    with pytest.raises(InputError, match="word 1 of text 3 is empty"):
        words_of(["a", " "], 3)
    with pytest.raises(InputTypeError, match="word 0 of text 3 is 5; give a string"):
        words_of([5], 3)


# --- spans -------------------------------------------------------------------------------------


def of_spans(text, spans, labels=BIO, length=100, tokenizer=WORDS, stride=None):
    of_text = cut(text, length, stride, tokenizer)
    (checked,) = character_spans([spans], [text], labels)
    return of_text, span_classes(of_text, text, checked, span_labels(labels), labels.index("O"))


def test_each_token_of_a_span_has_its_label_and_all_others_are_outside():
    text = "the cats ran on a road."
    found = named(*of_spans(text, [(18, 22, "LOC"), {"start": 4, "end": 12, "label": "PER"}]))
    assert found == [
        "-", "O", "B-PER", "I-PER", "I-PER", "O", "O", "B-LOC", "O", "-"
    ]  # fmt: skip


def test_of_bioes_the_last_token_ends_a_span_and_an_only_one_is_single():
    text = "cats ran bad"
    found = named(*of_spans(text, [(0, 8, "PER"), (9, 12, "PER")], BIOES), BIOES)
    assert found == ["-", "B-PER", "I-PER", "E-PER", "S-PER", "-"]


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
@pytest.mark.parametrize("length", [5, 7, 100])
def test_a_span_begins_once_however_many_tokens_its_characters_have(tokenizer, length):
    text = "the \U0001f468\u200d\U0001f469\u732b caf\u0065\u0301 ran"
    start = text.index("\U0001f468")
    end = text.index("caf")
    of_text, classes = of_spans(
        text, [(start, end - 1, "PER"), (end, end + 5, "LOC")], BIO, length,
        TOKENIZERS[tokenizer], 1,
    )  # fmt: skip
    labels = [BIO[classes[p]] for p in sorted(classes)]
    assert labels.count("B-PER") == labels.count("B-LOC") == 1
    assert labels.index("B-PER") < labels.index("B-LOC")
    assert labels[0] == labels[-1] == "O"
    # Nothing between the two spans is outside, and what is inside is of the right kind.
    assert "O" not in labels[labels.index("B-PER") : len(labels) - labels[::-1].index("I-LOC")
                             if "I-LOC" in labels else labels.index("B-LOC")]  # fmt: skip


def test_spans_that_cannot_be_labels_are_named():
    text = "the cats ran"
    for spans, said in (
        ([(4, 8, "PER"), (7, 12, "LOC")], r"spans \(4, 8\) 'PER' and \(7, 12\) 'LOC' of text 0 ov"),
        ([(4, 8, "PER"), (4, 8, "PER")], "overlap"),
        ([(5, 8, "PER")], r"span \(5, 8, 'PER'\), 'ats', which .* within the token 'cat' \(4, 7\)"),
        ([(0, 2, "PER")], r"within the token 'the' \(0, 3\)"),
        ([(3, 8, "PER")], "' cats', with white space at an end"),
        ([(4, 13, "PER")], "no part of its 12 characters"),
        ([(4, 4, "PER")], "no part of its 12 characters"),
        ([(-4, 2, "PER")], "no part of its 12 characters"),
        ([(4, 8, "B-PER")], "label 'B-PER'; the kinds of entities are 'PER', 'LOC'"),
    ):
        with pytest.raises(InputError, match=said):
            of_spans(text, spans)
    for span in ((4, 8), "4:8", (4.0, 8, "PER"), {"start": 4}, (True, 8, "PER")):
        with pytest.raises(InputTypeError, match=r"text 0 has the span .*give \(start, end, label"):
            of_spans(text, [span])
    with pytest.raises(InputError, match="of which the tokenizer leaves nothing"):
        of_spans("the \u00ad ran", [(4, 5, "PER")])


# --- schemes -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "labels",
    [BIO, BIOES, ["O", "PER"], ["NOUN", "VERB"], ["O", "B", "I"], ["O", "S-PER", "B-LOC", "E-LOC"]],
)
def test_labels_that_spell_entities_are_accepted(labels):
    check_scheme(labels)


def test_labels_that_clash_or_lack_a_beginning_are_refused():
    with pytest.raises(InputError, match="labels have 'I-PER' and no 'B-PER'"):
        check_scheme(["O", "I-PER", "B-LOC"])
    with pytest.raises(InputError, match="labels have 'I-per' and no 'B-per'"):
        check_scheme(["O", "B-PER", "I-per"])
    with pytest.raises(InputError, match="labels have 'PER' and 'B-PER', .* rename 'PER'"):
        check_scheme(["O", "PER", "B-PER", "I-PER"])


def test_spans_need_a_label_outside_and_every_label_of_a_kind():
    assert span_labels(["O", "PER", "B-LOC", "I-LOC"]) == {
        "PER": {"": 1}, "LOC": {"B": 2, "I": 3}
    }  # fmt: skip
    with pytest.raises(InputError, match="labels have no 'O'"):
        span_labels(["B-PER", "I-PER"])
    with pytest.raises(InputError, match="labels have no 'I-LOC', .* give 'B-LOC', 'I-LOC'"):
        span_labels([*BIO[:3], "B-LOC"])
    with pytest.raises(InputError, match="labels have no 'S-PER'"):
        span_labels(BIOES[:-1])
