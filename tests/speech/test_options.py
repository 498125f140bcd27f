"""Options of decoding, and the defaults that a checkpoint declares, on a tiny random Whisper."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inarch.audio import log_mel_spectrogram, voice
from inarch.errors import ConfigError, InarchError, InputError, InputTypeError
from inarch.generation import SuppressTokens, SuppressTokensAtBegin
from inarch.speech import Segment, Word
from inarch.speech.configs import (
    GENERATION_FIELDS,
    declared_generation,
    declared_prompt,
    declared_value,
)
from inarch.speech.logits_processors import build_logits_processors
from inarch.speech.options import Settings
from inarch.speech.resolve_options import resolve_options
from inarch.speech.timeline import Timeline, speech_in_clips
from inarch.tasks import SpeechToText

from .tiny_whisper import ENGLISH, make_task, make_tokenizer, noise

QUICK = {"temperature": 0.0, "max_tokens": 6, "language": "en", "no_speech_threshold": None}
SOUND = noise(2)


def resolve_call(model, generation=None, **options):
    """Return the decoding options and settings of a call."""
    named = {"language": None, "task": None, "timestamps": None, "temperature": 0.0}
    given = [options.pop(name, value) for name, value in named.items()]
    return resolve_options(model.preprocessor.tokenizer, generation or {}, *given, options)


def tokens(model, **options):
    """The tokens of one window without times."""
    listener = model._transcriber.runner
    encoded = listener.encode(model.preprocessor.recording(SOUND).window(0, 200)[None])
    given = {"language": "en", "without_timestamps": True, "max_tokens": 6} | options
    decoding, _ = resolve_call(model, **given)
    return list(listener.decode(encoded, decoding)[0].tokens)


@pytest.fixture(scope="module")
def plain(task):
    """The tokens of a window, some of which random weights repeat."""
    found = tokens(task)
    assert len(found) == 6
    return found


def test_suppressed_tokens_never_come_and_in_no_list_none_are(task, plain):
    barred = tokens(task, suppress_tokens=[plain[0]])
    assert plain[0] not in barred
    assert tokens(task, suppress_tokens=f"-1,{plain[0]}")
    names, own = task.preprocessor.tokenizer, [plain[0]]
    rules = {
        value: rule_tokens(task, suppress_tokens=value, generation={"suppress_tokens": own})
        for value in ("-1", "5", "-1,5", "", None)
    }
    control = {names.transcribe, names.translate, names.start_of_transcript,
               names.start_of_prev, names.start_of_lm, names.no_speech}  # fmt: skip
    assert rules["-1"] == {*own, *control}
    assert rules["5"] == {5, *control}
    assert rules["-1,5"] == {5, *own, *control}
    assert rules[""] == rules[None] == set()


def rule_tokens(task, generation, **options):
    decoding, _ = resolve_call(task, generation, language="en", **options)
    rules = build_logits_processors(decoding, task.preprocessor.tokenizer, generation, 2000)
    return {t for rule in rules if type(rule) is SuppressTokens for t in rule.token_ids}


def test_blanks_are_suppressed_at_first_unless_they_may_come(task):
    for flag in (True, False):
        decoding, _ = resolve_call(task, language="en", suppress_blank=flag)
        rules = build_logits_processors(decoding, task.preprocessor.tokenizer, {}, 2000)
        assert any(isinstance(rule, SuppressTokensAtBegin) for rule in rules) is flag


def test_no_ngram_comes_twice_in_a_window(task, plain):
    assert len(set(plain)) < len(plain)
    once = tokens(task, no_repeat_ngram_size=1)
    assert len(set(once)) == len(once)
    penalized = tokens(task, repetition_penalty=50.0)
    assert len(set(penalized)) > len(set(plain))


def test_a_prefix_is_the_text_decoded_so_far(task, plain):
    assert tokens(task, prefix=plain[:3], max_tokens=3) == plain[3:]


def test_a_prefix_as_text_is_encoded_with_a_space(task):
    decoding, _ = resolve_call(task, language="en", prefix=" Oh ", hotwords=None)
    assert decoding.prefix == tuple(task.preprocessor.tokenizer.encode(" Oh").ids)
    assert resolve_call(task, language="en", prefix="")[0].prefix == ()


def test_a_prefix_gives_way_from_its_start_to_the_most_tokens(task):
    listener, full = task._transcriber.runner, tuple(range(16))
    decoding, _ = resolve_call(task, language="en", prefix=full, max_tokens=6)
    assert listener._prefix(decoding, 3) == full[-14:]  # half of the 40 positions less 6
    assert listener._prefix(replace(decoding, max_tokens=None), 3) == full
    with pytest.raises(InputError, match="prefix has 18 tokens, and there is room for 17"):
        listener._prefix(replace(decoding, prefix=tuple(range(18)), max_tokens=None), 3)


def test_hotwords_come_before_earlier_text(task):
    listener = task._transcriber.runner
    names = task.preprocessor.tokenizer
    decoding, _ = resolve_call(task, language="en", hotwords="Elinor")
    hot = names.encode(" Elinor").ids
    assert listener.prompt_tokens(decoding) == [names.start_of_prev, *hot]
    prompt = listener.prompt_tokens(replace(decoding, prompt=tuple(range(19))))
    assert prompt == [names.start_of_prev, *hot, *range(19)]
    long = replace(decoding, hotwords=tuple(range(60)), prompt=tuple(range(19)))
    assert len(listener.prompt_tokens(long)) <= 30


def test_text_without_times_is_one_segment(task):
    (found,) = task.predict([SOUND], without_timestamps=True, **QUICK)
    begin = task.preprocessor.tokenizer.timestamp_begin
    assert all(token < begin for segment in found.segments for token in segment.tokens)
    (timed,) = task.predict([SOUND], batched=True, without_timestamps=False, **QUICK)
    assert [s.to_json() for s in timed.segments] == [
        s.to_json()
        for s in task.predict([SOUND], batched=True, timestamps="segment", **QUICK)[0].segments
    ]
    assert any(token >= begin for segment in timed.segments for token in segment.tokens)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"suppress_tokens": "1,x"}, InputError, "suppress_tokens is '1,x'; it must be a list"),
        ({"suppress_tokens": [-2]}, InputError, "suppress_tokens"),
        ({"suppress_tokens": [99999]}, InputError, "99999"),
        ({"suppress_tokens": 5}, InputTypeError, "suppress_tokens is 5"),
        ({"suppress_blank": "no"}, InputTypeError, "suppress_blank is 'no'"),
        ({"prefix": [0.5]}, InputError, "prefix"),
        ({"prefix": "a", "hotwords": "b"}, InputError, "prefix and hotwords"),
        ({"hotwords": 3}, InputTypeError, "hotwords is 3"),
        ({"repetition_penalty": 0}, InputError, "repetition_penalty is 0"),
        ({"no_repeat_ngram_size": -1}, InputError, "no_repeat_ngram_size is -1"),
        ({"without_timestamps": 1}, InputTypeError, "without_timestamps is 1"),
        ({"vad_filter": 3}, InputTypeError, "vad_filter is 3"),
        ({"vad_filter": "no.onnx"}, InarchError, "onnx"),
        ({"multilingual": True}, InputError, "give one of the two"),
        ({"multilingual": True, "language": None, "batched": True}, InputError, "batched=False"),
        (
            {"hallucination_silence_threshold": 1, "timestamps": "word", "batched": True},
            InputError,
            "hallucination_silence_threshold is 1, and batched=True",
        ),
    ],
)
def test_options_that_cannot_be_used_are_refused_by_name(task, options, error, message):
    with pytest.raises(error, match=message):
        task.predict([SOUND], **QUICK | options)


# --- what a checkpoint declares ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("generation", "expected"),
    [
        ({}, (None, "transcribe")),
        ({"language": "german"}, ("de", "transcribe")),
        ({"language": "<|zh|>", "task": "translate"}, ("zh", "translate")),
        ({"forced_decoder_ids": [[1, "zh"], [2, "translate"]]}, ("zh", "translate")),
        ({"forced_decoder_ids": [[1, None], [2, "translate"]]}, (None, "translate")),
        ({"forced_decoder_ids": [[1, "de"], [2, "transcribe"], [3, "times"]]},
         ("de", "transcribe")),
        ({"task": "translate", "forced_decoder_ids": [[1, "de"]]}, (None, "translate")),
    ],
)  # fmt: skip
def test_the_checkpoints_language_and_task_are_the_defaults(task, generation, expected):
    names = task.preprocessor.tokenizer
    ids = {"translate": names.translate, "transcribe": names.transcribe,
           "times": names.no_timestamps, None: None, **names.languages}  # fmt: skip
    if "forced_decoder_ids" in generation:
        forced = [[place, ids[name]] for place, name in generation["forced_decoder_ids"]]
        generation = generation | {"forced_decoder_ids": forced}
    decoding, _ = resolve_call(task, generation)
    assert (decoding.language, decoding.task) == expected
    decoding, _ = resolve_call(task, generation, language="en", task="transcribe")
    assert (decoding.language, decoding.task) == ("en", "transcribe")


def test_auto_detects_the_language_whatever_the_checkpoint_declares(task):
    for language in ("auto", "Auto"):
        for more in ({}, {"multilingual": True}):
            decoding, _ = resolve_call(task, {"language": "german"}, language=language, **more)
            assert decoding.language is None
    english = make_task(make_tokenizer(ENGLISH))
    assert resolve_call(english, language="auto")[0].language == "en"


def test_the_checkpoints_rules_against_repetition_are_the_defaults(task):
    declared = {"repetition_penalty": 1.5, "no_repeat_ngram_size": 3}
    decoding, _ = resolve_call(task, declared)
    assert (decoding.repetition_penalty, decoding.no_repeat_ngram_size) == (1.5, 3)
    decoding, _ = resolve_call(task, declared, repetition_penalty=1.0, no_repeat_ngram_size=0)
    assert (decoding.repetition_penalty, decoding.no_repeat_ngram_size) == (1.0, 0)
    decoding, _ = resolve_call(task, dict.fromkeys(declared))
    assert (decoding.repetition_penalty, decoding.no_repeat_ngram_size) == (1.0, 0)


HOSTILE = st.one_of(
    st.booleans(), st.text(max_size=3), st.integers(-9, -1), st.just(math.nan), st.just({}),
    st.lists(st.text(max_size=2), min_size=1, max_size=2), st.just([[1]]), st.just([[1, -2, 3]]),
)  # fmt: skip


@given(st.sampled_from(sorted(GENERATION_FIELDS)), HOSTILE)
def test_a_declared_value_is_of_its_kind_or_refused_with_file_field_and_value(name, value):
    generation = {name: value}
    if GENERATION_FIELDS[name].fits(value):
        assert declared_value(generation, name) is value
    else:
        with pytest.raises(ConfigError, match=f"^generation_config.json: '{name}' is .*must be"):
            declared_value(generation, name)


@pytest.mark.parametrize(
    "generation",
    [{"suppress_tokens": "x"}, {"begin_suppress_tokens": [0.5]}, {"alignment_heads": 3},
     {"alignment_heads": [[0, 9]]}, {"alignment_heads": [[True, 0]]}, {"language": "klingon"},
     {"max_initial_timestamp_index": "1"}, {"repetition_penalty": 0}, {"task": "sing"},
     {"no_repeat_ngram_size": 1.5}],
)  # fmt: skip
def test_hostile_declarations_end_in_an_error_that_names_them(task, generation):
    bad = SpeechToText(task.backbone, task.preprocessor, generation=generation)
    with pytest.raises(ConfigError, match=f"generation_config.json.*{next(iter(generation))}"):
        bad.predict([SOUND], temperature=0.0, max_tokens=2)


def test_no_limit_is_too_large(task):
    vast = SpeechToText(
        task.backbone, task.preprocessor, generation={"max_initial_timestamp_index": 10**30}
    )
    for more in ({}, {"max_initial_timestamp": 1e30}):
        (found,) = vast.predict([SOUND], **QUICK, **more)
        assert found.segments


def test_an_english_only_checkpoint_needs_no_language():
    english = make_tokenizer(ENGLISH)
    assert declared_prompt({"forced_decoder_ids": [[1, 262]]}, english) == (None, "transcribe")


@pytest.mark.parametrize(
    "generation",
    [{"language": 5}, {"task": ["translate"]}, {"forced_decoder_ids": [1, 2]},
     {"forced_decoder_ids": "x"}, {"forced_decoder_ids": [[1, "<|en|>"]]}],
)  # fmt: skip
def test_a_declaration_of_another_kind_is_refused_by_name(task, generation):
    with pytest.raises(InarchError, match=next(iter(generation))):
        declared_prompt(generation, task.preprocessor.tokenizer)


def test_config_json_counts_where_there_is_no_generation_config():
    config = {"suppress_tokens": [1], "forced_decoder_ids": None, "begin_suppress_tokens": [2]}
    found = declared_generation({}, config)
    assert found == {"suppress_tokens": [1], "begin_suppress_tokens": [2]}
    assert declared_generation({"task": "translate"}, config) == {"task": "translate"}
    with pytest.raises(ConfigError, match="config.json: 'suppress_tokens' is 'x'"):
        declared_generation({}, {"suppress_tokens": "x"})


def test_a_folder_is_transcribed_as_it_declares(task, tmp_path):
    task.save_to_preset(tmp_path / "m")
    config = json.loads((tmp_path / "m" / "config.json").read_text())
    names = task.preprocessor.tokenizer
    forced = [[1, names.languages["zh"]], [2, names.translate]]
    config |= {"forced_decoder_ids": forced, "suppress_tokens": [7]}
    (tmp_path / "m" / "config.json").write_text(json.dumps(config))
    generation = json.loads((tmp_path / "m" / "generation_config.json").read_text())
    quick = {"temperature": 0.0, "max_tokens": 4}
    (tmp_path / "m" / "generation_config.json").write_text(
        json.dumps(generation | {"language": "de"})
    )
    with_file = SpeechToText.from_preset(tmp_path / "m")
    assert with_file.predict([SOUND], **quick)[0].language == "de"
    (tmp_path / "m" / "generation_config.json").unlink()
    without = SpeechToText.from_preset(tmp_path / "m")
    assert without.generation == {"forced_decoder_ids": forced, "suppress_tokens": [7]}
    assert without.predict([SOUND], **quick)[0].language == "zh"
    without.save_to_preset(tmp_path / "again")
    again = SpeechToText.from_preset(tmp_path / "again")
    assert again.predict([SOUND], **quick)[0].language == "zh"


# --- silence, speech and languages ---------------------------------------------------------------


def test_silent_windows_are_decoded_where_they_are_not_skipped(task):
    silence = np.zeros(16000, np.float32)
    for batched in (False, True):
        (skipped,) = task.predict([silence], batched=batched, timestamps="segment", **QUICK)
        (transcript,) = task.predict(
            [silence], batched=batched, timestamps="segment", skip_silence=False, **QUICK
        )
        assert not skipped.segments
        assert transcript.segments


def test_nothing_ends_after_the_sound_and_each_segment_has_its_language(task):
    for timestamps in ("segment", "word"):
        (found,) = task.predict([noise(2.5)], timestamps=timestamps, **QUICK)
        assert found.segments
        for segment in found.segments:
            assert segment.language == "en"
            assert segment.end <= found.duration == 2.5
            assert all(word.end <= 2.5 for word in segment.words or ())
    assert "language" not in found.to_json()["segments"][0]
    found.segments[0].language = "de"
    assert found.to_json()["segments"][0]["language"] == "de"


def test_the_language_is_detected_for_each_window(task):
    listener = task._transcriber.runner
    options = {**QUICK, "language": None}
    sound = noise(6)
    (found,) = task.predict([sound], multilingual=True, **options)
    assert found.segments
    recording = task.preprocessor.recording(sound)
    for segment in found.segments:
        window = recording.window(segment.seek, min(3000, recording.frames - segment.seek))
        (chances,) = listener.detect_languages(listener.encode(window[None]))
        assert segment.language == next(iter(chances))


@pytest.mark.parametrize("batched", [False, True])
def test_detection_is_on_the_first_window_that_is_decoded(task, batched, monkeypatch):
    listener, sound = task._transcriber.runner, np.concatenate([np.zeros(30 * 16000), noise(2)])
    sound = sound.astype(np.float32)
    seen = []
    monkeypatch.setattr(
        listener, "encode", lambda x, encode=listener.encode: seen.append(x) or encode(x)
    )
    options = QUICK | {"language": "auto", "batched": batched, "clips": [(31, 31.5)]}
    detect = []
    for skip_silence in (False, True):
        task.predict([sound], skip_silence=skip_silence, **options)
        detect.append(seen[0][0])
        seen.clear()
    # As openai-whisper's: silence follows the sound, whose loudest feature sets its floor.
    whole = log_mel_spectrogram(sound, 4, padding=30 * 16000)
    np.testing.assert_array_equal(detect[0], whole[:, :3000])
    np.testing.assert_array_equal(detect[1], whole[:, 3000:6000])


def test_a_silent_recording_has_the_features_of_silence(task):
    silence = np.zeros(16050, np.float32)
    found = task.preprocessor.recording(silence)
    whole = log_mel_spectrogram(silence, 4, padding=30 * 16000)
    np.testing.assert_allclose(found.language_window(0), whole[:, :3000], atol=1e-6)
    np.testing.assert_allclose(found.mel, whole[:, :100], atol=1e-6)


def test_segments_are_reported_as_they_come(task):
    reported = []
    (found,) = task.predict([SOUND], on_segment=reported.append, **QUICK)
    assert reported == found.segments
    reported.clear()
    (found,) = task.predict([SOUND], batched=True, timestamps="segment", on_segment=reported.append,
                            **QUICK)  # fmt: skip
    assert reported == found.segments


def test_speech_alone_is_transcribed_and_put_back_in_time(task, monkeypatch):
    monkeypatch.setattr(voice, "find_silero", lambda: None)
    gap = np.zeros(10 * 16000, np.float32)
    sound = np.concatenate([gap, noise(2, 1), gap, noise(3, 2), gap])
    for options in ({}, {"timestamps": "word"}, {"batched": True, "timestamps": "segment"}):
        with pytest.warns(UserWarning, match="by level"):
            (found,) = task.predict([sound], vad_filter=True, **QUICK | options)
        assert found.duration == 35
        assert found.segments
        for segment in found.segments:
            assert 9 <= segment.start <= segment.end <= 26
    with pytest.warns(UserWarning, match="by level"):
        assert not task.predict([gap], vad_filter=True, **QUICK)[0].segments


def test_times_of_joined_spans_are_put_back():
    line = Timeline([(16000, 32000), (64000, 96000)])  # 1 to 2 s and 4 to 6 s
    audio = np.arange(100_000, dtype=np.float32)
    assert line.concatenate(audio).tolist() == [*range(16000, 32000), *range(64000, 96000)]

    def restore_times(start, end, words=None):
        segment = Segment(0, 0, start, end, " a", [1], 0.0, 0.0, 1.0, 0.0, words)
        return line.restore_times(segment)

    found = restore_times(0.0, 1.0)
    assert (found.start, found.end) == (1.0, 2.0)  # an end belongs to what ends there
    found = restore_times(1.0, 3.0)
    assert (found.start, found.end) == (4.0, 6.0)
    found = restore_times(0.5, 2.5, [Word(" a", 0.5, 0.9, 1.0), Word(" b", 0.9, 1.3, 1.0)])
    # A word over a seam belongs where its middle is.
    assert [(w.start, w.end) for w in found.words] == [(1.5, 1.9), (3.9, 4.3)]
    assert (found.start, found.end) == (1.5, 4.3)


@given(
    st.lists(st.tuples(st.integers(0, 90), st.integers(1, 20)), max_size=5),
    st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)).map(sorted), min_size=1, max_size=2),
)
def test_speech_in_clips_is_the_intersection(gaps, clips):
    spans, at = [], 0
    for gap, length in gaps:
        spans.append((at + 1600 * (gap + 1), at + 1600 * (gap + 1 + length)))
        at = spans[-1][1]
    settings = Settings(clips=tuple((float(a), float(b)) for a, b in clips))
    found = speech_in_clips(spans, settings)
    count = sum(
        max(0, min(end, 16000 * b) - max(start, 16000 * a))
        for a, b in clips
        for start, end in spans
    )
    assert sum(end - start for start, end in found) == count
    assert all(start < end for start, end in found)
