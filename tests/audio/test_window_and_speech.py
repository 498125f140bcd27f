import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inarch.audio import cut_window, merge_spans, pad_or_trim, speech_spans
from inarch.errors import InputError

RATE = 16_000


def loud(seconds, seed=0, scale=0.1):
    return np.random.default_rng(seed).normal(0, scale, int(seconds * RATE)).astype("f4")


def silence(seconds):
    return np.zeros(int(seconds * RATE), "f4")


# Parts of a recording: how loud and how long.
parts = st.lists(
    st.tuples(st.sampled_from([0.0, 0.001, 0.05, 0.3]), st.floats(0.01, 40)), max_size=5
)


def recording(parts):
    return np.concatenate([silence(0), *(loud(s, i, a) for i, (a, s) in enumerate(parts))])


@given(st.integers(0, 9), st.integers(0, 9))
def test_padding_and_trimming_give_the_length(size, length):
    array = np.arange(1, size + 1)
    ours = pad_or_trim(np.stack([array] * 2), length)
    assert ours.shape == (2, length)
    assert ours[0].tolist() == [*array.tolist(), *[0] * length][:length]
    np.testing.assert_array_equal(pad_or_trim(np.stack([array] * 2).T, length, axis=0), ours.T)


def test_a_window_ends_where_the_sound_does_and_the_rest_is_zeros():
    log_mel = np.arange(1, 21.0).reshape(2, 10)
    assert cut_window(log_mel, 3, length=4)[0].tolist() == [4, 5, 6, 7]
    assert cut_window(log_mel, 5, 7, length=4)[0].tolist() == [6, 7, 0, 0]
    assert cut_window(log_mel, 8, length=4)[0].tolist() == [9, 10, 0, 0]
    for start in (-1, 10):
        with pytest.raises(InputError, match=f"start={start}"):
            cut_window(log_mel, start)


@pytest.mark.parametrize("seconds", [0, 0.001, 1, 3600])
def test_silence_has_no_spans(seconds):
    assert speech_spans(silence(seconds)) == []


def test_a_steady_hiss_and_a_constant_have_no_spans():
    assert speech_spans(loud(20, scale=3e-4)) == []
    assert speech_spans(silence(20) + np.float32(0.3)) == []


@settings(max_examples=25, deadline=None)
@given(parts)
def test_spans_are_in_order_apart_inside_and_short(parts):
    audio = recording(parts)
    for spans in (speech_spans(audio), merge_spans(speech_spans(audio))):
        bounds = [0, *[bound for span in spans for bound in span], len(audio)]
        assert bounds == sorted(bounds)
        assert all(0 < end - start <= 30 * RATE for start, end in spans)


@settings(max_examples=10, deadline=None)
@given(st.floats(0.1, 100), st.sampled_from([0.003, 0.1, 0.9]))
def test_a_loud_signal_is_covered_whole(seconds, scale):
    audio = loud(seconds, scale=scale).clip(-1, 1)
    spans = speech_spans(audio)
    assert spans[0][0] == 0
    assert spans[-1][1] == len(audio)
    assert all(a[1] == b[0] for a, b in zip(spans, spans[1:]))


def test_speech_between_silences_is_found_with_a_margin():
    audio = np.concatenate([silence(2), loud(1), silence(2), loud(1, 1, 0.01), silence(2)])
    expected = [(1.8, 3.2), (4.8, 6.2)]
    np.testing.assert_allclose(np.array(speech_spans(audio)) / RATE, expected, atol=0.05)
    # Over a hiss as well, and where all is soft.
    hissing = audio + loud(8, 2, 3e-4)
    np.testing.assert_allclose(np.array(speech_spans(hissing)) / RATE, expected, atol=0.05)
    np.testing.assert_allclose(np.array(speech_spans(audio / 20)) / RATE, expected, atol=0.05)


def test_a_long_span_is_cut_where_it_is_quietest():
    audio = loud(50)
    audio[22 * RATE : int(22.1 * RATE)] *= 0.1
    (_, cut), _ = speech_spans(audio)
    assert 22 * RATE <= cut <= 22.1 * RATE


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 30)), max_size=20))
def test_merged_spans_hold_all_and_no_two_neighbours_fit(steps):
    spans, at = [], 0
    for gap, length in steps:
        spans.append(((at + gap) * RATE, (at + gap + length) * RATE))
        at += gap + length
    merged = merge_spans(spans)
    assert all(any(a <= start and end <= b for a, b in merged) for start, end in spans)
    assert all(b - a <= 30 * RATE for a, b in merged)
    ends = dict(spans)
    assert all(ends[b[0]] - a[0] > 30 * RATE for a, b in zip(merged, merged[1:]))


def test_durations_that_are_none_are_refused():
    with pytest.raises(InputError, match="min_speech=-1"):
        speech_spans(silence(1), min_speech=-1)
    with pytest.raises(InputError, match="longest=0"):
        speech_spans(silence(1), longest=0)
