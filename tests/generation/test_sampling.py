"""Processors of sampling, and generation that goes on step by step."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops
from toy import END, VOCABULARY, toy

from inarch.errors import InputError
from inarch.generation import (
    BeamSearch,
    GeneratedTokens,
    Generator,
    Greedy,
    MinLength,
    MinP,
    NoRepeatNGram,
    RepetitionPenalty,
    Sample,
    SuppressTokens,
    Temperature,
    TopK,
    TopP,
)

pytestmark = pytest.mark.turns(3)

LOGITS = st.lists(st.integers(-99, 99), min_size=7, max_size=7, unique=True).map(
    lambda row: np.array([row], np.float32) / 16
)
PROMPTS = [[5, 6, 7], [9]]


def apply(processor, logits, generated=GeneratedTokens(np.zeros((1, 1), "int32"), 0)):
    return ops.convert_to_numpy(processor(ops.convert_to_tensor(logits), generated))


def probabilities(logits):
    powers = np.exp(logits.astype("float64") - logits.max())
    return powers / powers.sum()


@settings(max_examples=20, deadline=None)
@given(logits=LOGITS, k=st.integers(1, 9))
def test_the_k_likeliest_are_left_as_they_are(logits, k):
    found = apply(TopK(k), logits)
    left = np.isfinite(found)
    assert left.sum() == min(k, 7)
    assert set(np.flatnonzero(left)) == set(np.argsort(-logits[0])[:k].tolist())
    np.testing.assert_array_equal(found[left], logits[left])


@settings(max_examples=30, deadline=None)
@given(logits=LOGITS, p=st.sampled_from([0.0, 0.1, 0.5, 0.9, 0.99]))
def test_the_fewest_are_left_whose_sum_reaches_p(logits, p):
    found = np.isfinite(apply(TopP(p), logits))[0]
    falling = np.sort(probabilities(logits)[0])[::-1]
    number = found.sum()
    assert found[np.argsort(-logits[0])[:number]].all()
    assert falling[:number].sum() >= p - 1e-6
    assert number == 1 or falling[: number - 1].sum() < p + 1e-6


@settings(max_examples=20, deadline=None)
@given(logits=LOGITS, share=st.sampled_from([0.0, 0.03, 0.3, 1.0]))
def test_tokens_below_a_share_of_the_likeliest_are_forbidden(logits, share):
    found, wanted = np.isfinite(apply(MinP(share), logits)), probabilities(logits)
    near = np.abs(wanted - share * wanted.max()) < 1e-6
    np.testing.assert_array_equal((found | near), (wanted >= share * wanted.max()) | near)


def test_tokens_that_are_forbidden_already_stay_so():
    logits = np.array([[0.5, -np.inf, 1.0, -np.inf]], np.float32)
    for processor in (Temperature(0.5), TopK(3), TopP(1.0), MinP(0.0)):
        assert np.isfinite(apply(processor, logits)).tolist() == [[True, False, True, False]]


def test_a_prompt_counts_where_it_is_to_and_its_padding_never():
    logits = np.full((2, 6), 2.0, np.float32)
    tokens, prompt = np.zeros((2, 3), "int32"), np.array([[1, 4, 1, 4], [3, 3, 3, 5]], "int32")
    given = (tokens, 0, prompt, np.array([[0], [3]], "int32"))
    generated = GeneratedTokens(*map(ops.convert_to_tensor, given))
    penalized = apply(RepetitionPenalty(2.0, include_prompt=True), logits, generated)
    assert (penalized == 1.0).nonzero()[1].tolist() == [1, 4, 5]
    forbidden = np.isneginf(apply(NoRepeatNGram(2, include_prompt=True), logits, generated))
    assert forbidden.nonzero()[1].tolist() == [1]
    assert (apply(RepetitionPenalty(2.0), logits, generated) == logits).all()
    assert (apply(NoRepeatNGram(2), logits, generated) == logits).all()


@pytest.mark.parametrize(
    "make",
    [lambda: Temperature(0.0), lambda: TopK(0), lambda: TopP(1.5), lambda: MinP(-0.1),
     lambda: BeamSearch(2, num_return_sequences=3)],
)  # fmt: skip
def test_impossible_settings_are_refused(make):
    with pytest.raises(InputError):
        make()


# --- step by step -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def generator():
    return Generator(toy(layers=1, cross_attention=False), END)


@pytest.mark.parametrize("strategy", [Greedy(), Sample(1.5, seed=3)])
def test_steps_are_prefixes_of_what_is_generated_at_once(generator, strategy):
    options = {"strategy": strategy, "max_new_tokens": [9, 6]}
    options["logits_processors"] = [MinLength(3, END)]
    wanted = generator.generate(PROMPTS, **options)
    for step in (1, 4, 100):
        parts = list(generator.stream(PROMPTS, step=step, **options))
        for i, part in enumerate(parts[:-1], 1):
            rows = zip(part.rows(), wanted.rows(), strict=True)
            assert all(row == whole[: i * step] for row, whole in rows)
        assert parts[-1].rows() == wanted.rows()
        np.testing.assert_allclose(parts[-1].log_probs, wanted.log_probs, rtol=1e-5)


def test_one_program_serves_all_prompts_lengths_and_numbers_that_have_room(generator):
    for prompts, limit, penalty, heat, rest in (
        ([[5]], 4, 1.2, 0.8, 0.9), ([list(range(4, 20))], 12, 1.9, 1.3, 0.5),
    ):  # fmt: skip
        rules = [RepetitionPenalty(penalty, True), Temperature(heat), TopP(rest), MinP(0.1)]
        list(generator.stream(
            prompts, strategy=Sample(seed=limit), logits_processors=rules, max_new_tokens=limit,
            prompt_room=16, new_token_room=16,
        ))  # fmt: skip
    programs = [p for p in generator._steps if len(p.processors) == 4]
    assert len(programs) == 1


def test_any_of_several_tokens_ends_a_row_and_without_one_no_token_does(generator):
    rules = [SuppressTokens(())]
    (free,) = list(
        generator.stream(PROMPTS, max_new_tokens=8, end_ids=(), step=9, logits_processors=rules)
    )
    assert free.lengths.tolist() == [8, 8]
    ends = {free.rows()[0][3], free.rows()[1][5]}
    (found,) = list(
        generator.stream(
            PROMPTS, max_new_tokens=8, end_ids=sorted(ends), step=9, logits_processors=rules
        )
    )
    for row, whole in zip(found.rows(), free.rows(), strict=True):
        assert row == whole[: min(i for i, token in enumerate(whole) if token in ends)]


def test_the_best_beams_are_returned_in_order(generator):
    one = generator.generate(PROMPTS, strategy=BeamSearch(3), max_new_tokens=5)
    several = generator.generate(
        PROMPTS, strategy=BeamSearch(3, num_return_sequences=2), max_new_tokens=5
    )
    assert several.rows()[::2] == one.rows()
    assert all(a != b for a, b in zip(several.rows()[::2], several.rows()[1::2], strict=True))
    assert len(several.log_probs) == 4


def test_what_cannot_go_step_by_step_is_refused(generator):
    with pytest.raises(InputError, match="decodes 3 sequences"):
        next(generator.stream(PROMPTS, strategy=BeamSearch(3), max_new_tokens=3))
    with pytest.raises(InputError, match=f"token id {VOCABULARY}"):
        next(generator.stream(PROMPTS, max_new_tokens=3, end_ids=[VOCABULARY]))
