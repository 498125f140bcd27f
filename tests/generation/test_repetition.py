"""Rules against repetition, held to what a plain loop over each row gives."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops
from toy import END, VOCABULARY, encoder_cache, toy

from inarch.errors import InputError
from inarch.generation import (
    GeneratedTokens,
    Generator,
    Greedy,
    NoRepeatNGram,
    RepetitionPenalty,
    SuppressTokens,
    WhisperBeamSearch,
)
from inarch.generation.program import Program

from ..compiled import compiled

pytestmark = pytest.mark.turns(3)

LENGTH = 12
ROWS = st.lists(
    st.lists(st.integers(0, 4), min_size=LENGTH, max_size=LENGTH), min_size=2, max_size=2
)


def apply(rule, rows, count, logits):
    arrays = logits, np.array(rows, "int32"), np.int32(count)
    return ops.convert_to_numpy(rule(*map(ops.convert_to_tensor, arrays)))


def on_arrays(rule):
    return lambda logits, rows, count: rule(logits, GeneratedTokens(rows, count))


NO_REPEAT = {size: compiled(on_arrays(NoRepeatNGram(size))) for size in range(1, 6)}


@settings(max_examples=25, deadline=None)
@given(rows=ROWS, count=st.integers(0, LENGTH), size=st.integers(1, 5))
def test_no_ngram_comes_twice_and_nothing_else_is_barred(rows, count, size):
    logits = np.zeros((2, 6), np.float32)
    found = apply(NO_REPEAT[size], rows, count, logits)
    for row, values in zip(rows, found, strict=True):
        generated = row[:count]
        grams = {tuple(generated[i : i + size]) for i in range(count - size + 1)}
        last = tuple(generated[count - size + 1 :]) if count >= size - 1 else None
        barred = [last is not None and (*last, token) in grams for token in range(6)]
        assert np.isneginf(values).tolist() == barred


@settings(max_examples=15, deadline=None)
@given(rows=ROWS, count=st.integers(0, LENGTH), penalty=st.floats(0.5, 3.0))
def test_each_token_that_came_is_penalized_once(rows, count, penalty):
    logits = np.linspace(-3, 3, 12).reshape(2, 6).astype(np.float32)
    found = apply(on_arrays(RepetitionPenalty(penalty)), rows, count, logits)
    expected = logits.copy()
    for row, values in zip(rows, expected, strict=True):
        for token in set(row[:count]):
            values[token] = (
                values[token] * penalty if values[token] < 0 else values[token] / penalty
            )
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.fixture(scope="module")
def generator():
    return Generator(toy(layers=1), END)


@pytest.mark.parametrize("strategy", [Greedy(), WhisperBeamSearch(2)])
def test_generated_rows_hold_no_ngram_twice(generator, strategy):
    found = generator.generate(
        [[5], [6, 7]], cross_attention_cache=encoder_cache(generator.decoder, 2), strategy=strategy,
        logits_processors=[NoRepeatNGram(2), SuppressTokens((END,))], max_new_tokens=20,
    )  # fmt: skip
    for row in found.rows():
        pairs = list(zip(row, row[1:], strict=False))
        assert len(row) == 20
        assert len(set(pairs)) == len(pairs)


def test_one_program_serves_all_penalties_and_lists_of_tokens(generator):
    def program(penalty, tokens):
        return Program(Greedy(), (RepetitionPenalty(penalty), SuppressTokens(tokens)), 64, END)

    assert program(1.5, (1, END)) == program(2.0, (2,))
    assert hash(program(1.5, (1, END))) == hash(program(2.0, (2,)))
    cache, found = encoder_cache(generator.decoder, 1), set()
    for penalty in (1.0, 1e6):
        for barred in (END, *range(6, VOCABULARY)):
            rules = [RepetitionPenalty(penalty), SuppressTokens((END, barred))]
            row, = generator.generate(
                [[5]], cross_attention_cache=cache, logits_processors=rules, max_new_tokens=6
            ).rows()  # fmt: skip
            assert barred not in row
            assert penalty == 1.0 or len(set(row)) > 1
            found.add(tuple(row))
    assert len(found) > 2


@pytest.mark.parametrize("make", [lambda: RepetitionPenalty(0.0), lambda: NoRepeatNGram(0)])
def test_impossible_settings_are_refused(make):
    with pytest.raises(InputError):
        make()
