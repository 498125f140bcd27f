"""Windows put together, by a model whose output is the test's script."""

import itertools
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inarch.audio import WINDOW_FRAMES
from inarch.errors import InputError
from inarch.speech import FORMATS, Segment, SubtitleLayout, Transcript, Word, render
from inarch.speech.alignment import dynamic_time_warping, median_filter
from inarch.speech.batched import Chunk, split_into_chunks, transcribe_batch
from inarch.speech.options import DecodingOptions, DecodingResult, Settings, Thresholds
from inarch.speech.sequential import SequentialTranscription
from inarch.speech.windows import Recording, split_at_timestamps
from inarch.speech.words import WordTiming, merge_punctuations

pytestmark = pytest.mark.turns(3)

TIME = 1000


class Tokens:
    """Ids below 128 are characters."""

    timestamp_begin, end_of_text = TIME, 900

    class Encoded:
        def __init__(self, ids):
            self.ids = ids

    def encode(self, text):
        return self.Encoded([ord(c) for c in text])

    def decode(self, ids):
        return "".join(chr(i) for i in ids if i < 128)


class Scripted:
    """Model whose output is the lines of a script, one a window; `|4.2|` is a time."""

    tokenizer = Tokens()

    def __init__(self, *lines, logprob=-0.2, no_speech=0.0):
        self.lines, self.calls = itertools.cycle(lines), []
        self.logprob, self.no_speech, self.windows = logprob, no_speech, []

    def encode(self, features):
        self.windows.append(features)
        return features

    def select(self, encoded, rows):
        return encoded[list(rows)]

    def decode(self, encoded, options):
        self.calls.append(options)
        return [self.decode_line(next(self.lines), options.temperature) for _ in encoded]

    def decode_line(self, line, temperature):
        tokens = []
        for part in re.split(r"(\|[\d.]+\|)", line):
            stamp = part.startswith("|") and len(part) > 1
            tokens += [TIME + round(float(part[1:-1]) * 50)] if stamp else [ord(c) for c in part]
        text = self.tokenizer.decode(tokens).strip()
        return DecodingResult(tokens, text, self.logprob, self.no_speech, temperature)

    def align(self, encoded, tokens, frames, options):
        words = re.findall(r" ?[^ ]+", self.tokenizer.decode(tokens))
        return [
            WordTiming(w, [ord(c) for c in w], 0.5 * i, 0.5 * i + 0.4, 0.9)
            for i, w in enumerate(words)
        ]


def recording(seconds, audible=True):
    frames = round(100 * seconds)
    return Recording(np.ones((4, frames), np.float32), np.full(frames, audible))


def transcribe(model, seconds, **settings):
    run = SequentialTranscription(
        model, recording(seconds), DecodingOptions("en"), Settings(**settings), 20
    )
    return [segment for window in run.windows() for segment in window]


def times(segments):
    return [(round(s.start, 2), round(s.end, 2), s.text) for s in segments]


def test_the_next_window_begins_at_the_last_pair_of_times():
    model = Scripted("|0.0| one|4.0||4.0| two|9.0||9.0| unfinished", "|0.0| three|1.0|")
    found = transcribe(model, 20)
    assert times(found) == [(0, 4, " one"), (4, 9, " two"), (9, 10, " three")]
    assert [s.id for s in found] == [0, 1, 2]
    assert [s.seek for s in found] == [0, 0, 900]


def test_a_single_time_at_the_end_means_that_no_speech_follows():
    assert times(transcribe(Scripted("|0.0| one|4.0||5.0| two|9.0|"), 20)) == [
        (0, 4, " one"), (5, 9, " two")
    ]  # fmt: skip


def test_without_times_a_window_is_one_segment():
    assert times(transcribe(Scripted(" all"), 40)) == [(0, 30, " all"), (30, 40, " all")]


@given(st.lists(st.integers(0, 1500).map(lambda i: TIME + i) | st.integers(65, 90), max_size=30))
def test_finished_and_unfinished_parts_are_all_tokens_in_order(tokens):
    found = split_at_timestamps(tokens, TIME, WINDOW_FRAMES)
    assert [t for part in found.finished for t in part.tokens] + found.unfinished == tokens
    assert 0 <= found.seek_shift <= WINDOW_FRAMES


@given(st.lists(st.sampled_from(["|0.0||0.0|", "", "|3.0| a|2.0||2.0|", " b"]), min_size=1))
def test_every_window_takes_the_transcript_on(lines):
    model = Scripted(*lines)
    transcribe(model, 65)
    assert len(model.windows) <= 40


def test_each_window_has_the_text_before_it_as_its_prompt():
    model = Scripted("|0.0| ab|9.0|")
    transcribe(model, 70)
    prompts = [model.tokenizer.decode(o.prompt) for o in model.calls]
    assert prompts == ["", " ab", " ab ab"]


def test_after_a_high_temperature_the_prompt_is_empty():
    model = Scripted("|0.0| ab|9.0|", logprob=-3.0)
    transcribe(model, 70)
    assert [o.temperature for o in model.calls[:6]] == [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    assert all(o.prompt == () for o in model.calls)


def test_a_carried_prompt_is_in_the_prompt_of_every_window():
    model = Scripted("|0.0| ab|9.0|")
    transcribe(model, 70, initial_prompt="names", carry_initial_prompt=True)
    prompts = [model.tokenizer.decode(o.prompt) for o in model.calls]
    assert prompts == [" names", " names ab", " names ab ab"]


def test_a_window_that_the_model_takes_for_silence_has_no_segments():
    assert transcribe(Scripted(" you", logprob=-1.5, no_speech=0.9), 40) == []


def test_an_hour_of_silence_is_not_encoded_at_all():
    model = Scripted(" Thank you.")
    run = SequentialTranscription(
        model, recording(3600, False), DecodingOptions("en"), Settings(), 20
    )
    assert [s for window in run.windows() for s in window] == []
    assert model.windows == []


def test_clips_are_transcribed_alone_and_never_past_the_end():
    model = Scripted(" x")
    found = transcribe(model, 50, clips=((5.0, 10.0), (45.0, 100.0), (70.0, None)))
    assert times(found) == [(5, 10, " x"), (45, 50, " x")]


def test_words_are_within_their_segments_in_order():
    found = transcribe(Scripted("|0.0| one two|4.0||4.0| three four|9.0|"), 12, words=True)
    words = [w for s in found for w in s.words]
    assert [w.word for w in words] == [" one", " two", " three", " four"]
    assert all(a.end <= b.start for a, b in itertools.pairwise(words))
    assert all(s.start == s.words[0].start and s.end == s.words[-1].end for s in found)


def test_punctuation_keeps_every_token():
    texts = [" (", "ab", ")", ",", " -", " c", "."]
    words = [WordTiming(t, [i], 0, 1, 1) for i, t in enumerate(texts)]
    merge_punctuations(words, "\"'“¿([{-", "\"'.。,，!！?？:：”)]}、")
    assert [w.word for w in words if w.word] == [" (ab),", " - c."]
    assert [t for w in words for t in w.tokens] == list(range(7))


# --- batches -------------------------------------------------------------------------------------


def test_silence_makes_no_stretches():
    assert split_into_chunks(0, np.zeros(16000 * 60, np.float32), Settings()) == []


def test_stretches_cover_speech_and_are_at_most_a_window():
    random = np.random.default_rng(0)
    audio = (0.2 * random.normal(size=16000 * 100)).astype(np.float32)
    audio[16000 * 40 : 16000 * 50] = 0
    found = split_into_chunks(3, audio, Settings())
    assert all(s.recording == 3 and 0 < s.size <= WINDOW_FRAMES for s in found)
    covered = np.zeros(10_000, bool)
    for chunk in found:
        covered[chunk.start : chunk.start + chunk.size] = True
    assert covered[:3990].all()
    assert covered[5010:].all()
    assert not covered[4200:4800].all()


def test_batches_move_times_to_where_the_stretch_is_and_leave_nothing_out():
    random = np.random.default_rng(0)
    audio = np.zeros(16000 * 60, np.float32)
    audio[16000 * 40 : 16000 * 50] = 0.2 * random.normal(size=160000)
    (chunk,) = split_into_chunks(0, audio, Settings())
    model = Scripted("|0.0| one|4.0||4.0| two|9.0||9.0| cut off")
    options = DecodingOptions("en")
    (found,) = transcribe_batch(model, [chunk], [recording(60)], options, Settings())
    at = chunk.start / 100
    assert times(found.segments) == [
        (round(at, 2), round(at + 4, 2), " one"), (round(at + 4, 2), round(at + 9, 2), " two")
    ]  # fmt: skip
    # Speech after the last pair is decoded anew, from there.
    assert found.remainder == chunk.without_first(900)
    assert found.remainder.start + found.remainder.size == chunk.start + chunk.size


def test_rows_that_fail_are_decoded_again_by_themselves():
    model = Scripted("la " * 40, " fine", " fine", " better")
    batch = split_into_chunks(0, np.sin(np.arange(16000 * 70)).astype(np.float32), Settings())
    found = transcribe_batch(model, batch, [recording(70)], DecodingOptions("en"), Settings())
    assert [o.temperature for o in model.calls] == [0.0, 0.2]
    assert [s.text for part in found for s in part.segments] == [" better", " fine", " fine"]


def speech_chunk(seconds, *speech):
    spans = tuple((round(100 * a), round(100 * b)) for a, b in speech)
    return Chunk(0, 0, round(100 * seconds), spans)


def read(line, chunk, **options):
    options = DecodingOptions("en", **options)
    (found,) = transcribe_batch(Scripted(line), [chunk], [recording(30)], options, Settings())
    return found


@pytest.mark.parametrize("line", ["|0.0| one|4.0|", "|0.0| a|2.0||2.0| b|4.0|"])
def test_a_window_closed_before_its_speech_ends_goes_on_at_its_last_time(line):
    found = read(line, speech_chunk(30, (0, 4), (9, 20)))
    assert found.remainder == speech_chunk(30, (0, 4), (9, 20)).without_first(400)
    assert read(line, speech_chunk(30, (0, 4.5))).remainder is None
    assert found.segments


def test_an_unfinished_text_without_speech_after_it_is_kept():
    found = read("|0.0| one|4.0||4.0| two", speech_chunk(10, (0, 4)))
    assert [s.text for s in found.segments] == [" one", " two"]
    assert found.remainder is None


def test_without_times_a_text_too_short_for_its_speech_is_decoded_again_with_times():
    chunk = speech_chunk(30, (0, 25))
    found = read(" hm", chunk, timestamps=False)
    assert (found.segments, found.remainder.with_timestamps) == ([], True)
    model = Scripted("|0.0| all|25.0|")
    (again,) = transcribe_batch(
        model,
        [found.remainder],
        [recording(30)],
        DecodingOptions("en", timestamps=False),
        Settings(),
    )
    assert model.calls[0].timestamps
    assert times(again.segments) == [(0, 25, " all")]
    assert again.remainder is None
    assert read(" a text that is long enough", chunk, timestamps=False).remainder is None


@given(st.lists(st.sampled_from(["|0.0||0.0|", "", "|3.0| a|2.0||2.0|", " b"]), min_size=1))
def test_every_stretch_comes_to_an_end(lines):
    model, chunk = Scripted(*lines), speech_chunk(30, (0, 30))
    for _ in range(16):
        options = DecodingOptions("en")
        (found,) = transcribe_batch(model, [chunk], [recording(30)], options, Settings())
        if found.remainder is None:
            return
        assert found.remainder.start > chunk.start
        chunk = found.remainder
    raise AssertionError(f"still {chunk}")


# --- alignment -----------------------------------------------------------------------------------


@given(st.integers(1, 8), st.integers(1, 8), st.integers(0, 5))
def test_paths_go_from_corner_to_corner_by_single_steps_and_no_other_is_cheaper(n, m, seed):
    cost = np.random.default_rng(seed).normal(size=(n, m))  # no two ways are equal
    rows, columns = dynamic_time_warping(cost)
    assert (rows[0], columns[0], rows[-1], columns[-1]) == (0, 0, n - 1, m - 1)
    assert all(0 <= d <= 1 for d in np.diff(rows).tolist() + np.diff(columns).tolist())
    best = np.full((n + 1, m + 1), np.inf)
    best[0, 0] = 0
    for i, j in itertools.product(range(1, n + 1), range(1, m + 1)):
        around = best[i - 1, j - 1], best[i - 1, j], best[i, j - 1]
        best[i, j] = cost[i - 1, j - 1] + min(around)
    assert cost[rows, columns].sum() == pytest.approx(best[n, m], abs=1e-5)


def test_a_median_is_untouched_by_single_spikes():
    x = np.zeros((1, 20))
    x[0, 9] = 100
    assert not median_filter(x).any()


# --- options and formats -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [
        lambda: DecodingOptions(task="sing"),
        lambda: DecodingOptions(temperature=-1),
        lambda: DecodingOptions(beam_size=0),
        lambda: DecodingOptions(patience=2.0),
        lambda: DecodingOptions(length_penalty=2.0),
        lambda: Settings(temperatures=()),
        lambda: Settings(clips=((5, 3),)),
        lambda: Settings(hallucination_silence_threshold=1.0),
        lambda: SubtitleLayout(max_line_width=0),
        lambda: render(Transcript("", "en"), "doc"),
    ],
)
def test_what_makes_no_sense_is_refused(make):
    with pytest.raises(InputError):
        make()


def test_thresholds_of_none_refuse_nothing():
    off = Thresholds(None, None, None)
    result = DecodingResult([], "la" * 100, -9.0, 0.99, 0.0)
    assert not off.needs_fallback(result)
    assert not off.is_silent(result)


def segment(start, end, text, words=None):
    return Segment(0, 0, start, end, text, [], 0.0, -0.1, 1.0, 0.0, words)


def test_formats_have_the_same_content():
    segments = [segment(0.0, 1.5, " One."), segment(3661.25, 3662.0, " Two\t--> three.")]
    transcript = Transcript(" One. Two\t--> three.", "en", segments)
    found = {kind: render(transcript, kind) for kind in FORMATS}
    assert found["txt"] == "One.\nTwo\t--> three.\n"
    assert found["srt"] == (
        "1\n00:00:00,000 --> 00:00:01,500\nOne.\n\n"
        "2\n01:01:01,250 --> 01:01:02,000\nTwo\t-> three.\n\n"
    )
    assert found["vtt"].startswith("WEBVTT\n\n00:00.000 --> 00:01.500\nOne.\n\n01:01:01.250 -->")
    assert found["tsv"] == "start\tend\ttext\n0\t1500\tOne.\n3661250\t3662000\tTwo --> three.\n"
    assert '"language": "en"' in found["json"]
    assert all(render(Transcript("", "en"), kind) is not None for kind in FORMATS)


def test_lines_are_no_wider_than_requested():
    words = [Word(f" word{i}", i, i + 0.5, 1.0) for i in range(20)]
    transcript = Transcript("", "en", [segment(0, 20, "".join(w.word for w in words), words)])
    text = render(transcript, "srt", SubtitleLayout(max_line_width=14, max_line_count=2))
    lines = [line for line in text.splitlines() if line.startswith("word")]
    assert max(map(len, lines)) <= 14
    assert " ".join(lines).split() == [w.word.strip() for w in words]
