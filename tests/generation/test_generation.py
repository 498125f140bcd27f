"""Decoding: laws that hold for every strategy, on a tiny model."""

import functools
import gc
import weakref

import keras
import numpy as np
import pytest
from keras import ops
from toy import END, POSITIONS, VOCABULARY, encoder_cache, part, toy

from inarch.errors import InputError
from inarch.generation import (
    AllowTokens,
    BeamSearch,
    Generator,
    Greedy,
    MinLength,
    Sample,
    SuppressTokens,
    SuppressTokensAtBegin,
    WhisperBeamSearch,
)
from inarch.generation.compiled import compile_function
from inarch.generation.program import CHUNK
from inarch.runtime.forward import compiles_per_shape

pytestmark = pytest.mark.turns(3)

STRATEGIES = [
    Greedy(),
    Sample(0.8, samples=3, seed=[5, 6, 7, 8]),
    BeamSearch(3),
    WhisperBeamSearch(3),
]
PROMPTS = [[7, 8, 9], [1], [4, 2, 11, 5, 6]]
# By themselves the first three share a program; the last has them padded further.
SHARING = [[7, 8, 9, 10, 2], [1, 4, 2, 6, 5, 9, 8], [4, 2, 11, 5, 6, 7], list(range(4, 14))]


@pytest.fixture(scope="module")
def decoder():
    """Return a decoder of one layer, compiled sooner, for tests whose subject isn't layers."""
    return toy(layers=1)


@pytest.fixture(scope="module")
def generator(decoder):
    return Generator(decoder, END)


@pytest.fixture(scope="module")
def cache(decoder):
    return encoder_cache(decoder, 3)


def array(x):
    return ops.convert_to_numpy(x)


def forward(decoder, token_ids, cache):
    """Logits after every token, without a cache that lasts."""
    # Nothing that comes later is seen, so one shape serves all.
    padded = np.array([token_ids + [0] * (decoder.max_length - len(token_ids))], "int32")
    return array(whole(decoder)(padded, cache))[: len(token_ids)]


@functools.cache
def whole(decoder):
    positions = np.arange(decoder.max_length, dtype="int32")[None]

    def run(token_ids, cache):
        caches = decoder.init_cache(1, decoder.max_length)
        context = {"cache_index": 0, "positions": positions, "cross_attention_cache": cache}
        hidden, _ = decoder.step(token_ids, caches, context)
        return decoder.logits(hidden[0])

    return compile_function(decoder, run)


def test_a_greedy_step_with_the_cache_is_the_forward_pass_without():
    decoder = toy(layers=2)
    cache = encoder_cache(decoder, 3)
    found = Generator(decoder, END).generate(
        PROMPTS, cross_attention_cache=cache, max_new_tokens=12
    )
    for row, (prompt, tokens) in enumerate(zip(PROMPTS, found.rows(), strict=True)):
        logits = forward(decoder, prompt + tokens, part(decoder, cache, slice(row, row + 1)))
        wanted = logits[len(prompt) - 1 :].argmax(-1).tolist()
        assert tokens == wanted[: len(tokens)]
        assert len(tokens) == 12 or wanted[len(tokens)] == END
        log_probs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        ended = wanted[: len(tokens) + (len(tokens) < 12)]
        total = sum(log_probs[len(prompt) - 1 + i, token] for i, token in enumerate(ended))
        assert found.log_probs[row] == pytest.approx(total, abs=1e-3)


@pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda s: type(s).__name__)
def test_a_row_is_decoded_in_a_batch_as_by_itself(generator, decoder, strategy):
    limits, cache = [9, 4, 12, 6], encoder_cache(decoder, 4)
    together = generator.generate(
        SHARING, cross_attention_cache=cache, strategy=strategy, max_new_tokens=limits
    )
    assert (together.lengths <= limits).all()
    for row in range(3):
        alone = strategy
        if isinstance(strategy, Sample):
            alone = Sample(0.8, samples=3, seed=[5 + row])
        found = generator.generate(
            [SHARING[row]],
            cross_attention_cache=part(decoder, cache, slice(row, row + 1)),
            strategy=alone,
            max_new_tokens=limits[row],
        )
        assert found.rows()[0] == together.rows()[row]
        assert found.log_probs[0] == pytest.approx(together.log_probs[row], abs=1e-3)


@pytest.mark.parametrize("strategy", [BeamSearch(1), WhisperBeamSearch(1), Sample(0.0)])
def test_one_beam_and_no_temperature_are_greedy(generator, cache, strategy):
    options = {
        "cross_attention_cache": cache,
        "max_new_tokens": 10,
        "logits_processors": [SuppressTokensAtBegin((END,))],
    }
    greedy = generator.generate(PROMPTS, **options)
    assert generator.generate(PROMPTS, strategy=strategy, **options).rows() == greedy.rows()


def test_samples_are_repeatable_and_differ_with_the_seed(generator, cache):
    def sample(seed):
        strategy = Sample(1.5, seed=seed)
        return generator.generate(
            PROMPTS, cross_attention_cache=cache, strategy=strategy, max_new_tokens=10
        ).rows()

    assert sample(1) == sample(1) != sample(2)


def test_a_decoder_without_an_encoder_generates_too():
    generator = Generator(toy(layers=1, cross_attention=False), END)
    rules = [SuppressTokens((END,))]
    found = generator.generate([[5], [6, 7]], max_new_tokens=5, logits_processors=rules)
    assert found.lengths.tolist() == [5, 5]


@pytest.mark.parametrize("rows", [1, 4])  # on a CPU torch lays out the kernels for four
def test_a_change_of_weights_is_seen(rows):
    decoder = toy(seed=3, layers=1)
    generator = Generator(decoder, END)
    prompts = [[5 + row] for row in range(rows)]
    options = {"max_new_tokens": 8, "logits_processors": [SuppressTokens((END,))]}
    options["cross_attention_cache"] = encoder_cache(decoder, rows)
    before = generator.generate(prompts, **options).rows()
    for variable in decoder.variables:
        variable.assign(array(variable.value)[::-1].copy())
    after = generator.generate(prompts, **options).rows()
    assert after != before
    assert after == Generator(decoder, END).generate(prompts, **options).rows()


def test_rules_hold(generator, cache):
    found = generator.generate(
        PROMPTS,
        cross_attention_cache=cache,
        max_new_tokens=6,
        logits_processors=[
            AllowTokens((4, 5, END)),
            SuppressTokensAtBegin((4,)),
            MinLength(3, END),
        ],
    )
    for row in found.rows():
        assert set(row) <= {4, 5}
        assert row[0] == 5
        assert len(row) >= 3


def test_watched_logits_are_those_after_the_prompts_token(generator, decoder, cache):
    others = part(decoder, cache, slice(0, 3, 2))
    found = generator.generate(
        PROMPTS[::2], cross_attention_cache=others, max_new_tokens=1, logits_at=-3
    )
    for row, prompt in enumerate(PROMPTS[::2]):
        one = part(decoder, cache, slice(2 * row, 2 * row + 1))
        wanted = forward(decoder, prompt, one)[len(prompt) - 3]
        np.testing.assert_allclose(found.prompt_logits[row], wanted, atol=1e-4)


def test_positions_end_generation(generator, decoder, cache):
    one = part(decoder, cache, slice(0, 1))
    prompt = [5] * (POSITIONS - 2)
    found = generator.generate(
        [prompt],
        cross_attention_cache=one,
        max_new_tokens=50,
        logits_processors=[SuppressTokens((END,))],
    )
    # The last token has no position and needs none.
    assert found.lengths.tolist() == [3]


def test_prompts_of_any_length_are_read_in_pieces():
    decoder = toy(layers=1, positions=3 * CHUNK)
    cache, generator = encoder_cache(decoder, 2), Generator(decoder, END)
    tokens = np.random.default_rng(0).integers(4, VOCABULARY, 3 * CHUNK).tolist()
    for lengths in [(2, 5), (CHUNK - 1, CHUNK + 1), (3, 2 * CHUNK), (2 * CHUNK, 2 * CHUNK + 9)]:
        prompts = [tokens[:length] for length in lengths]
        found = generator.generate(
            prompts,
            cross_attention_cache=cache,
            max_new_tokens=6,
            logits_at=-2,
            prompt_room=3 * CHUNK,
        )
        for row, prompt in enumerate(prompts):
            logits = forward(
                decoder, prompt + found.rows()[row], part(decoder, cache, slice(row, row + 1))
            )
            np.testing.assert_allclose(found.prompt_logits[row], logits[len(prompt) - 2], atol=1e-4)
            wanted = logits[len(prompt) - 1 :].argmax(-1).tolist()
            assert found.rows()[row] == wanted[: found.lengths[row]]


def test_calls_with_one_prompt_room_share_their_programs(decoder, cache, monkeypatch):
    options = {"cross_attention_cache": cache, "max_new_tokens": 5}
    alone = [Generator(decoder, END).generate([[5] * n] * 3, **options) for n in (1, 3, 7)]
    steps, step = [], decoder.step
    monkeypatch.setattr(decoder, "step", lambda *a, **k: steps.append(1) or step(*a, **k))
    generator, traced = Generator(decoder, END), 0
    for one, n in zip(alone, (1, 3, 7), strict=True):
        found = generator.generate([[5] * n] * 3, prompt_room=7, **options)
        assert found.rows() == one.rows()
        np.testing.assert_allclose(found.log_probs, one.log_probs, atol=1e-4)
        traced = traced or len(steps)
    if compiles_per_shape():
        assert len(steps) == traced


@pytest.mark.parametrize("strategy", [Greedy(), BeamSearch(3)], ids=lambda s: type(s).__name__)
def test_a_step_is_made_once_whatever_the_number_of_tokens(decoder, cache, monkeypatch, strategy):
    steps, step = [], decoder.step
    monkeypatch.setattr(decoder, "step", lambda *a: steps.append(1) or step(*a))
    generator, made = Generator(decoder, END), []
    options = {"cross_attention_cache": part(decoder, cache, slice(0, 1)), "strategy": strategy,
        "logits_processors": [SuppressTokens((END,))]}  # fmt: skip
    for number in (3, 17, 30):
        if strategy.width == 1:
            streamed = generator.stream(
                [[5]], max_new_tokens=number, new_token_room=30, step=4, **options
            )
            assert [*streamed][-1].lengths.tolist() == [number]
        found = generator.generate([[5]], max_new_tokens=number, **options)
        assert found.lengths.tolist() == [number]
        made.append(len(steps))
    # Python runs where a step is traced, and no more: two programs at most, with one prompt token.
    assert made == [made[0]] * 3
    assert made[0] <= 4


def test_logits_after_prompts_are_the_models(generator, decoder, cache):
    found = generator.logits(PROMPTS, cross_attention_cache=cache)
    for row, prompt in enumerate(PROMPTS):
        logits = forward(decoder, prompt, part(decoder, cache, slice(row, row + 1)))
        np.testing.assert_allclose(found[row], logits[-1], atol=1e-4)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"prompts": []}, "prompts is empty"),
        ({"prompts": [[]]}, "prompt 0 has 0 tokens"),
        ({"prompts": [[1] * (POSITIONS + 1)]}, "prompt 0 has 41 tokens"),
        ({"prompts": [[VOCABULARY]]}, "token id 24"),
        ({"max_new_tokens": 0}, "max_new_tokens=0"),
        ({"max_new_tokens": [3, 4]}, "max_new_tokens has shape"),
        ({"logits_at": 0}, "logits_at=0"),
        ({"logits_at": -3}, "logits_at=-3"),
        ({"logits_processors": [SuppressTokens((VOCABULARY,))]}, "token id 24 is outside"),
        ({"strategy": Sample([1.0, 2.0])}, "temperature has 2 entries for 1 rows"),
    ],
)
def test_what_cannot_be_generated_is_refused_by_name(generator, decoder, cache, options, words):
    one = part(decoder, cache, slice(0, 1))
    given = {"prompts": [[5, 6]], "max_new_tokens": 4, "cross_attention_cache": one} | options
    with pytest.raises(InputError, match=words.replace("[", r"\[")):
        generator.generate(given.pop("prompts"), **given)


@pytest.mark.parametrize(
    "make",
    [
        lambda: SuppressTokens((-1,)),
        lambda: Sample(-1.0),
        lambda: Sample(samples=0),
        lambda: BeamSearch(0),
        lambda: BeamSearch(early_stopping="soon"),
        lambda: WhisperBeamSearch(2, patience=0.1),
        lambda: Generator(toy(layers=1), VOCABULARY),
    ],
)
def test_impossible_settings_are_refused(make):
    with pytest.raises(InputError):
        make()


def test_a_generator_keeps_no_encoder_output_of_earlier_calls(decoder):
    generator, cache = Generator(decoder, END), encoder_cache(decoder, 2)
    kept = weakref.ref(keras.tree.flatten(cache)[0])
    generator.generate([[5], [6, 7]], cross_attention_cache=cache, max_new_tokens=4)
    del cache
    gc.collect()
    assert kept() is None
