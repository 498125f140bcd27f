"""`inarch transcribe`: speech in sound files as text, subtitles, a table or JSON."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from inarch import transcription_defaults as defaults
from inarch.backend import import_keras
from inarch.cli import output, sound_files
from inarch.cli import transcribe_options as o
from inarch.cli.options import IgnoreField, TokenizerFrom
from inarch.cli.whisper_spelling import clips_of, limit_threads, temperatures
from inarch.errors import InarchError, InputError

if TYPE_CHECKING:
    from inarch.speech import Segment, SubtitleLayout, Transcript

# Parameters of the command that go to the model as they are.
TO_MODEL = (
    "language", "best_of", "beam_size", "patience", "length_penalty", "suppress_tokens",
    "suppress_blank", "prefix", "hotwords", "max_tokens", "seed",
    "compression_ratio_threshold", "logprob_threshold", "no_speech_threshold", "initial_prompt",
    "carry_initial_prompt", "condition_on_previous_text", "skip_silence", "multilingual",
    "prepend_punctuations", "append_punctuations", "hallucination_silence_threshold",
)  # fmt: skip
# These, where they are given: without them the model's own configuration counts.
IF_GIVEN = ("repetition_penalty", "no_repeat_ngram_size", "max_initial_timestamp")
# Those that a model with a CTC head has, too.
OF_BOTH = (
    "files", "model", "batch_size", "threads", "format", "output_dir", "verbose", "word_timestamps",
    "tokenizer", "ignore_field", "highlight_words", "max_line_width", "max_line_count",
    "max_words_per_line",
)  # fmt: skip
TO_LAYOUT = ("max_line_width", "max_line_count", "max_words_per_line", "highlight_words")


def transcribe(
    files: o.Files,
    model: o.Model,
    language: o.Language = None,
    task: o.TaskName = None,
    batch_size: o.Batch = None,
    threads: o.Threads = 0,
    format: o.FormatName = o.Format.txt,
    output_dir: o.OutputDir = None,
    verbose: o.Verbose = None,
    temperature: o.Temperature = 0.0,
    temperature_increment_on_fallback: o.Increment = 0.2,
    best_of: o.BestOf = 5,
    beam_size: o.Beams = 5,
    patience: o.Patience = None,
    length_penalty: o.LengthPenalty = None,
    suppress_tokens: o.SuppressTokens = "-1",
    suppress_blank: o.SuppressBlank = True,
    without_timestamps: o.WithoutTimestamps = False,
    prefix: o.Prefix = None,
    hotwords: o.Hotwords = None,
    repetition_penalty: o.Penalty = None,
    no_repeat_ngram_size: o.Ngrams = None,
    max_tokens: o.MaxTokens = None,
    max_initial_timestamp: o.LatestStart = None,
    seed: o.Seed = 0,
    compression_ratio_threshold: o.CompressionThreshold = defaults.COMPRESSION_RATIO_THRESHOLD,
    logprob_threshold: o.LogprobThreshold = defaults.LOGPROB_THRESHOLD,
    no_speech_threshold: o.NoSpeechThreshold = defaults.NO_SPEECH_THRESHOLD,
    initial_prompt: o.Prompt = None,
    carry_initial_prompt: o.CarryPrompt = False,
    condition_on_previous_text: o.Condition = True,
    clip_timestamps: o.Clips = "0",
    skip_silence: o.SkipSilence = True,
    vad_filter: o.VadFilter = False,
    vad_model: o.VadModel = None,
    multilingual: o.Multilingual = False,
    word_timestamps: o.Words = False,
    prepend_punctuations: o.Prepended = defaults.PREPEND_PUNCTUATIONS,
    append_punctuations: o.Appended = defaults.APPEND_PUNCTUATIONS,
    hallucination_silence_threshold: o.SilenceThreshold = None,
    highlight_words: o.Highlight = False,
    max_line_width: o.LineWidth = None,
    max_line_count: o.LineCount = None,
    max_words_per_line: o.WordsPerLine = None,
    tokenizer: TokenizerFrom = None,
    ignore_field: IgnoreField = None,
) -> None:
    """Transcribe sound files, with the options and defaults of openai-whisper's command.

    Its spelling serves, too: --beam_size 5, --word_timestamps True. What differs: transcripts go
    to standard output, as txt, without --output-dir. Windows without any sound are passed over
    (--no-skip-silence decodes them), and no segment ends after the sound. --model is needed;
    --model_dir, --device and --fp16 aren't there: the model's folder, the backend and the
    model's dtype decide it. A model with a CTC head refuses the options of decoding.

    A file that can't be decoded is named, the others are transcribed, and the exit code is 1.
    """
    _run(locals())


def _run(given: Mapping[str, Any]) -> None:
    """Transcribe with the parameters of the command."""
    _check(given)
    files, folder = given["files"], given["output_dir"]
    places = list(zip(files, sound_files.output_stems(files), strict=True))
    there = [place for place in places if _report_error(sound_files.check_sound, place[0])]
    if folder is not None and there:
        suffixes = _suffixes(given["format"])
        names = [f"{stem}.{suffix}" for _, stem in there for suffix in suffixes]
        sound_files.make_folder(folder, names)
    if given["threads"]:
        limit_threads(given["threads"])
    import_keras()
    done = _Command(given).run(there) if there else set()
    missing = [file for file, stem in places if stem not in done]
    if missing and len(files) > 1:
        output.complain(f"{len(missing)} of {len(files)} not transcribed: {', '.join(missing)}")
    if missing:
        raise typer.Exit(1)


def _check(given: Mapping[str, Any]) -> None:
    """Refuse what doesn't go together."""
    if any(given[name] for name in TO_LAYOUT) and not given["word_timestamps"]:
        names = ", ".join(f"--{name.replace('_', '-')}" for name in TO_LAYOUT)
        raise InputError(f"{names} go with --word-timestamps")
    if given["max_line_count"] and not given["max_line_width"]:
        output.complain("warning: --max-line-count has no effect without --max-line-width")
    if given["max_words_per_line"] and given["max_line_width"]:
        output.complain("warning: --max-words-per-line has no effect with --max-line-width")
    files, format = given["files"], given["format"]
    sound_files.check_standard_input(files)
    if given["output_dir"] is None and format is o.Format.all:
        raise InputError("all formats don't fit on standard output; name a folder by --output-dir")
    if given["output_dir"] is None and len(files) > 1 and format is not o.Format.txt:
        raise InputError(
            f"{len(files)} files as {format.value} don't fit on standard output; name a folder "
            "with --output-dir"
        )


def _suffixes(format: o.Format) -> list[str]:
    """Return the formats to write for each sound."""
    every = [each.value for each in o.Format if each is not o.Format.all]
    return every if format is o.Format.all else [format.value]


def _options(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of `SpeechToText.predict`."""
    found = {name: given[name] for name in TO_MODEL}
    found |= {name: given[name] for name in IF_GIVEN if given[name] is not None}
    first, increment = given["temperature"], given["temperature_increment_on_fallback"]
    found |= {
        "task": given["task"] and given["task"].value,
        "timestamps": "word" if given["word_timestamps"] else "segment",
        "temperature": temperatures(first, increment),
        "clips": clips_of(given["clip_timestamps"]),
        "vad_filter": str(given["vad_model"]) if given["vad_model"] else given["vad_filter"],
    }
    if given["without_timestamps"]:
        found["without_timestamps"] = True
    if given["batch_size"]:
        found |= {"batched": True, "batch_size": given["batch_size"]}
    return found


def _ctc_options(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of `CTCSpeechToText.predict`; refuse those that only a Whisper has."""
    usual = {name: each.default for name, each in inspect.signature(transcribe).parameters.items()}
    for name, value in given.items():
        if name not in OF_BOTH and value != usual[name]:
            raise InputError(
                f"--{name.replace('_', '-')} is for a Whisper, and {given['model']} has a CTC "
                "head, which decodes the likeliest token of each frame; leave it out"
            )
    found = {"timestamps": "word" if given["word_timestamps"] else "segment"}
    return found | ({"batch_size": given["batch_size"]} if given["batch_size"] else {})


@dataclass
class _Command:
    """One run of the command over files that are there."""

    given: Mapping[str, Any]

    def run(self, places: Sequence[tuple[str, str]]) -> set[str]:
        """Transcribe files, each with the stem of what is written, and return the stems done."""
        from inarch.speech import SubtitleLayout
        from inarch.tasks.ctc_speech_to_text import CTCSpeechToText
        from inarch.tasks.speech_to_text import SpeechToText

        layout = SubtitleLayout(**{name: self.given[name] for name in TO_LAYOUT})
        model = SpeechToText.from_preset(
            self.given["model"],
            tokenizer=self.given["tokenizer"],
            ignore_fields=self.given["ignore_field"] or (),
        )
        is_ctc = isinstance(model, CTCSpeechToText)
        options = _ctc_options(self.given) if is_ctc else _options(self.given)
        folder, live = self.given["output_dir"], self._live()
        if live:
            options["on_segment"] = self._print
        bar = 1 if folder is not None and not live and sys.stdout.isatty() else 0
        done = set()
        for group in [places] if self.given["batch_size"] else [[place] for place in places]:
            sounds = list(_read(group))
            found = model.predict([sound for sound, _, _ in sounds], verbose=bar, **options)
            for transcript, (_, file, stem) in zip(found, sounds, strict=True):
                if _report_error(self._write, file, transcript, stem, layout):
                    done.add(stem)
        return done

    def _live(self) -> bool:
        verbose = self.given["verbose"]
        return self.given["output_dir"] is not None if verbose is None else verbose

    def _print(self, segment: Segment) -> None:
        """Print one segment at once: on standard error where transcripts go to standard output."""
        from inarch.speech.formats import timestamp

        start, end = (timestamp(t, False, ".") for t in (segment.start, segment.end))
        if segment.text.strip():
            line = f"[{start} --> {end}] {segment.text}"
            typer.echo(line, err=self.given["output_dir"] is None)

    def _write(self, file: str, transcript: Transcript, stem: str, layout: SubtitleLayout) -> None:
        from inarch.speech import render

        format, folder = self.given["format"].value, self.given["output_dir"]
        if folder is None:
            text = render(transcript, format, layout)
            typer.echo(text, nl=not text.endswith("\n"))
            return
        if stem != sound_files.own_stem(file):
            output.complain(f"{file} is written as {stem}, since another has its name")
        for suffix in _suffixes(self.given["format"]):
            output.write_text(render(transcript, suffix, layout), Path(folder) / f"{stem}.{suffix}")


def _read(places: Sequence[tuple[str, str]]) -> Iterator[tuple[Any, str, str]]:
    """Yield the samples of each file that can be read, with its name and stem."""
    for file, stem in places:
        sounds: list[Any] = []
        if _report_error(lambda file=file, to=sounds: to.append(sound_files.read_sound(file))):
            yield sounds[0], file, stem


def _report_error(work: Any, *arguments: Any) -> bool:
    """Run `work` on one file, print an error of ours, and return whether there was none."""
    try:
        work(*arguments)
    except InarchError as e:
        output.complain(e)
        return False
    return True
