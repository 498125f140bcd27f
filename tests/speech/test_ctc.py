"""Chunks of long sounds, and transcripts of the likeliest tokens of frames."""

import numpy as np
import pytest

from inarch.errors import InputError
from inarch.speech.ctc import Chunk, Frames, hop_of, split_sound, transcript_of
from inarch.text import CTCTokenizer

TOKENIZER = CTCTokenizer({"<pad>": 0, "|": 1, "A": 2, "B": 3, "<unk>": 4})
HOP, SECOND = 320, 16_000


def frames(ids, probability=0.5):
    return Frames(np.array(ids), np.full(len(ids), np.log(probability)))


def transcript(ids, timestamps=None, tokenizer=TOKENIZER, samples=None):
    samples = len(ids) * HOP if samples is None else samples
    return transcript_of(frames(ids), tokenizer, HOP, samples, timestamps)


def test_a_sound_no_longer_than_a_chunk_is_one():
    assert split_sound(30 * SECOND, HOP, 30, 5) == [Chunk(0, 30 * SECOND, 0, None)]
    assert split_sound(0, HOP, 30, 5) == [Chunk(0, 0, 0, None)]


@pytest.mark.parametrize("seconds", [31, 40, 50, 50.01, 95.3])
def test_chunks_give_every_frame_once(seconds):
    length = round(seconds * SECOND)
    chunks = split_sound(length, HOP, 30, 5)
    found = []
    for chunk in chunks:
        # A frame of 25 ms every 20 ms.
        count = (chunk.end - chunk.start - 400) // HOP + 1
        found += [chunk.start // HOP + i for i in range(count)][chunk.first : chunk.last]
    assert found == [*range((length - 400) // HOP + 1)]
    assert all(chunk.end - chunk.start <= 30 * SECOND for chunk in chunks)


def test_a_stride_that_leaves_nothing_of_a_chunk_is_refused():
    with pytest.raises(InputError, match="chunk_seconds=10"):
        split_sound(SECOND, HOP, 10, 5)


def test_frames_have_the_likeliest_token_and_its_probability():
    logits = np.log(np.array([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6]])) + 5
    found = Frames.of_logits(logits.astype("float32"))
    assert found.ids.tolist() == [0, 2]
    np.testing.assert_allclose(np.exp(found.log_probabilities), [0.7, 0.6], rtol=1e-5)


def test_frames_of_chunks_are_joined_without_what_others_have():
    parts = [frames([2, 2, 3]), frames([0, 0, 1, 2])]
    joined = Frames.joined(parts, [Chunk(0, 9, 0, 2), Chunk(3, 12, 1, None)])
    assert joined.ids.tolist() == [2, 2, 0, 1, 2]


def test_words_have_times_and_the_mean_probability_of_their_tokens():
    found = transcript([0, 2, 2, 0, 3, 1, 1, 2, 0], "word")
    (segment,) = found.segments
    assert found.text == "AB A"
    assert segment.text == " AB A"
    assert [w.word for w in segment.words] == [" AB", " A"]
    assert [(w.start, w.end) for w in segment.words] == [(0.02, 0.1), (0.14, 0.16)]
    assert segment.words[0].probability == pytest.approx(0.5)
    assert segment.tokens == [2, 3, 1, 2]
    assert segment.avg_logprob == pytest.approx(np.log(0.5))


def test_characters_have_times_of_their_own():
    (segment,) = transcript([2, 0, 2, 1, 3], "char").segments
    assert [(w.word, w.start, w.end) for w in segment.words] == [
        ("A", 0.0, 0.02), ("A", 0.04, 0.06), (" ", 0.06, 0.08), ("B", 0.08, 0.1),
    ]  # fmt: skip


def test_a_pause_begins_a_segment():
    pause, short = [1] + [0] * 26, [1] + [0] * 20
    found = transcript([2, *short, 3, *pause, 2, 3])
    assert [segment.text for segment in found.segments] == [" A B", " AB"]
    assert [segment.id for segment in found.segments] == [0, 1]
    assert all(segment.words is None for segment in found.segments)


def test_no_time_is_after_the_sound():
    found = transcript([2, 2, 2], samples=2 * HOP)
    assert found.duration == pytest.approx(0.04)
    assert found.segments[0].end == found.duration


def test_lower_case_is_that_of_segments_and_words_too():
    tokenizer = CTCTokenizer(TOKENIZER.vocabulary, {"do_lower_case": True})
    found = transcript([2, 1, 3], "word", tokenizer)
    assert found.text == "a b"
    assert found.segments[0].text == " a b"
    assert [w.word for w in found.segments[0].words] == [" a", " b"]


@pytest.mark.parametrize("ids", [[], [0, 0, 0]])
def test_silence_has_no_segments(ids):
    found = transcript(ids, "word")
    assert (found.text, found.segments) == ("", [])


def test_the_hop_is_the_product_of_the_strides():
    assert hop_of((5, 2, 2, 2, 2, 2, 2)) == HOP
