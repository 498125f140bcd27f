"""Windows put together, words timed and subtitles written as openai-whisper does."""

import importlib
import io
import itertools

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch: make test-all")
whisper = pytest.importorskip("whisper", reason="needs openai-whisper: make test-all")

from inarch.speech.alignment import (  # noqa: E402
    alignment_matrix,
    dynamic_time_warping,
    median_filter,
    word_timings,
)
from inarch.speech.formats import render  # noqa: E402
from inarch.speech.options import DecodingOptions, DecodingResult, Settings  # noqa: E402
from inarch.speech.sequential import SequentialTranscription  # noqa: E402
from inarch.speech.subtitles import SubtitleLayout  # noqa: E402
from inarch.speech.transcript import Segment, Transcript, Word  # noqa: E402
from inarch.speech.windows import Recording  # noqa: E402
from inarch.speech.words import WordTiming  # noqa: E402

pytestmark = [pytest.mark.reference, pytest.mark.turns(3)]

# The names of modules are hidden behind functions of the same name.
timing = importlib.import_module("whisper.timing")
transcribing = importlib.import_module("whisper.transcribe")

REFERENCE = whisper.tokenizer.get_tokenizer(False)
TIME, END = REFERENCE.timestamp_begin, REFERENCE.eot
SENTENCES = [
    " The cat sat on the mat.", " No!", " She said \"never\" (twice).", " la la la" * 20, " ",
    "...", " Mr. Jennings, who was there", " ¿Qué? 你好。",
]  # fmt: skip


class Tokens:
    """Our tokenizer's names for the reference's, so that only the rules differ."""

    timestamp_begin, end_of_text = TIME, END

    class Ids(list):
        ids = property(lambda self: self)

    def encode(self, text):
        return self.Ids(REFERENCE.encode(text))

    def decode(self, ids):
        return REFERENCE.decode(list(ids))


def drawn_tokens(random, window):
    """Return tokens as a model may give for a window: text with times in pairs, alone, or none."""
    kind = random.choice(["pairs", "pairs", "pairs", "one", "none", "empty", "first"])
    text = lambda: REFERENCE.encode(SENTENCES[random.integers(len(SENTENCES))])  # noqa: E731
    if kind == "empty":
        return []
    if kind == "none":
        return text()
    if kind == "first":
        return [TIME, *text()]
    if kind == "one":
        return [TIME, *text(), TIME + int(random.integers(0, window))]
    count = int(random.integers(1, 5))
    times = np.sort(random.choice(np.arange(1, window), 2 * count, replace=False)).tolist()
    times[0] = times[0] if random.random() < 0.5 else 0
    tokens = []
    for start, end in zip(times[::2], times[1::2], strict=True):
        if random.random() < 0.2:
            start = previous if tokens else start  # noqa: F821
        tokens += [TIME + start, *text(), TIME + end]
        previous = end  # noqa: F841
    ending = random.random()
    if ending < 0.3:
        tokens += [TIME + times[-1]]
    elif ending < 0.6:
        tokens += [TIME + times[-1], *text()]
    return tokens


def drawn_words(tokens, calls):
    """Times of the words of some tokens, multiples of 20 ms, some of them odd."""
    random = np.random.default_rng([len(tokens), calls])
    words, parts = REFERENCE.split_to_word_tokens([*tokens, END])
    if len(words) <= 1:
        return []
    steps = random.choice(
        [0, 1, 5, 10, 15, 20, 200], len(words), p=[0.1, 0.1, 0.2, 0.3, 0.2, 0.08, 0.02]
    )
    times = np.minimum(np.cumsum(steps), 1500) / 50
    return [
        (word, list(part), float(times[i]), float(times[i + 1]), float(random.random() ** 0.5))
        for i, (word, part) in enumerate(zip(words[:-1], parts[:-1], strict=True))
    ]


class Script:
    """The same answers for both sides, and a record of the requests."""

    def __init__(self, seed):
        self.seed, self.calls, self.alignments, self.requests = seed, 0, 0, []

    def answer(self, temperature, prompt, beams):
        self.calls += 1
        if self.calls > 300:
            raise RuntimeError("this script leads nowhere")
        self.requests.append((temperature, list(prompt)[-223:], beams))
        random = np.random.default_rng([self.seed, self.calls])
        tokens = drawn_tokens(random, 1500 if random.random() < 0.9 else 300)
        text = REFERENCE.decode([t for t in tokens if t < END]).strip()
        logprob = float(random.choice([-0.3, -0.9, -1.4]))
        return tokens, text, logprob, float(random.choice([0.01, 0.5, 0.9], p=[0.6, 0.2, 0.2]))

    def words(self, tokens):
        self.alignments += 1
        return drawn_words(tokens, self.alignments + 100 * self.seed)


class Theirs:
    """A model as openai-whisper's `transcribe` sees it."""

    dims = whisper.model.ModelDimensions(80, 1500, 384, 6, 4, 51864, 448, 384, 6, 4)
    device, is_multilingual, num_languages = torch.device("cpu"), False, 99

    def __init__(self, script):
        self.script = script

    def decode(self, segment, options):
        found = self.script.answer(options.temperature, options.prompt or [], options.beam_size)
        tokens, text, logprob, no_speech = found
        return whisper.DecodingResult(
            audio_features=None, language="en", tokens=tokens, text=text, avg_logprob=logprob,
            no_speech_prob=no_speech, temperature=options.temperature,
            compression_ratio=whisper.utils.compression_ratio(text),
        )  # fmt: skip


class Ours:
    """The same model as our windows see it."""

    tokenizer = Tokens()

    def __init__(self, script):
        self.script = script

    def encode(self, features):
        assert features.shape == (1, 80, 3000)
        return features

    def select(self, encoded, rows):
        return encoded[list(rows)]

    def decode(self, encoded, options):
        found = self.script.answer(options.temperature, options.prompt, options.beam_size)
        return [DecodingResult(*found, options.temperature)]

    def align(self, encoded, tokens, frames, options):
        return [WordTiming(*word) for word in self.script.words(tokens)]


@pytest.fixture
def reference(monkeypatch):
    """`reference(script, frames, **options)`: the segments of openai-whisper."""

    def run(script, frames, **options):
        mel = torch.zeros(80, frames + 3000)
        monkeypatch.setattr(transcribing, "log_mel_spectrogram", lambda *_, **__: mel)

        def find_alignment(model, tokenizer, tokens, mel, num_frames):
            return [timing.WordTiming(*w) for w in (script.words(tokens) if tokens else [])]

        monkeypatch.setattr(timing, "find_alignment", find_alignment)
        found = transcribing.transcribe(Theirs(script), None, fp16=False, **options)
        for segment in found["segments"]:
            # What ends after the sound ends with it here.
            for part in (segment, *segment.get("words", ())):
                part |= {n: min(part[n], frames / 100) for n in ("start", "end")}
            if not options.get("word_timestamps"):
                segment.pop("words", None)  # an empty segment has them even so
        return found

    return run


def ours(script, frames, beam_size=None, **settings):
    recording = Recording(np.zeros((80, frames), np.float32), np.ones(frames, bool))
    options = DecodingOptions(language="en", beam_size=beam_size)
    run = SequentialTranscription(Ours(script), recording, options, Settings(**settings), 223)
    return [s.to_json() for s in itertools.chain.from_iterable(run.windows())]


VARIANTS = {
    "plain": ({}, {}),
    "unconditioned": ({"condition_on_previous_text": False},) * 2,
    "beams": ({"beam_size": 5},) * 2,
    "one temperature": ({"temperature": 0.4}, {"temperatures": (0.4,)}),
    "prompt": ({"initial_prompt": "Names: Elinor, Marianne."},) * 2,
    "carried prompt": ({"initial_prompt": " Elinor ", "carry_initial_prompt": True},) * 2,
    "long carried prompt": (
        {"initial_prompt": "Elinor said so. " * 30, "carry_initial_prompt": True},
    ) * 2,
    "clips": (
        {"clip_timestamps": [3.21, 40.0, 41, 44.5, 90]},
        {"clips": ((3.21, 40.0), (41, 44.5), (90, None))}
    ),
    "words": ({"word_timestamps": True}, {"words": True}),
    "hallucinations": (
        {"word_timestamps": True, "hallucination_silence_threshold": 0.5},
        {"words": True, "hallucination_silence_threshold": 0.5},
    ),
    "hallucinations, 2 s": (
        {"word_timestamps": True, "hallucination_silence_threshold": 2.0},
        {"words": True, "hallucination_silence_threshold": 2.0},
    ),
}  # fmt: skip


@pytest.mark.parametrize("variant", VARIANTS)
def test_segments_are_those_of_the_reference(variant, reference):
    theirs, mine = VARIANTS[variant]
    compared = 0
    for seed in range(30):
        # Clips past the end the reference goes on to transcribe, from there backwards.
        frames = int(np.random.default_rng(seed).integers(9000 if "clips" in mine else 1, 20_000))
        expected, found = Script(seed), Script(seed)
        try:
            segments = reference(expected, frames, **theirs)["segments"]
        except RuntimeError:
            continue  # the reference never ends
        assert ours(found, frames, **mine) == segments, f"seed {seed}"
        assert found.requests == expected.requests, f"seed {seed}"
        compared += len(segments)
    assert compared > 100


def test_the_shortest_recordings_are_as_the_references(reference):
    for frames in (0, 1, 2, 3, 2999, 3000, 3001):
        assert ours(Script(7), frames) == reference(Script(7), frames)["segments"]


# --- words ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (5, 40), (40, 5), (60, 700)])
def test_paths_are_those_of_the_reference_ties_included(shape):
    random = np.random.default_rng(0)
    for cost in (random.normal(size=shape), random.integers(0, 3, shape), np.zeros(shape)):
        rows, columns = dynamic_time_warping(cost)
        expected = timing.dtw_cpu(cost.astype(np.float64))
        np.testing.assert_array_equal([rows, columns], expected)


@pytest.mark.parametrize("length", [1, 3, 4, 7, 50])
def test_medians_are_those_of_the_reference(length):
    x = np.random.default_rng(length).normal(size=(2, 3, length)).astype(np.float32)
    np.testing.assert_array_equal(median_filter(x), timing.median_filter(torch.tensor(x), 7))


class Attention(torch.nn.Module):
    def __init__(self, scores):
        super().__init__()
        self.scores = scores

    def forward(self, x):
        return x, self.scores[None]


class Aligned:
    """A model whose attention scores are given."""

    def __init__(self, scores, logits):
        self.dims = whisper.model.ModelDimensions(80, 1500, 8, 2, 2, 51864, 448, 8, 2, 2)
        self.device, self.logits = torch.device("cpu"), logits
        blocks = [torch.nn.Module() for _ in scores]
        for block, layer in zip(blocks, scores, strict=True):
            block.cross_attn = Attention(layer)
        self.decoder = torch.nn.Module()
        self.decoder.blocks = torch.nn.ModuleList(blocks)
        self.alignment_heads = torch.tensor([[True, False], [True, True]]).to_sparse()

    def __call__(self, mel, tokens):
        for block in self.decoder.blocks:
            block.cross_attn(mel)
        return self.logits[None]


@pytest.mark.parametrize("seed", range(12))
def test_words_are_timed_as_the_reference_times_them(seed):
    random = np.random.default_rng(seed)
    text = REFERENCE.encode("".join(random.choice(SENTENCES, 3)))
    frames = int(random.integers(300, 3000))
    length = len(text) + 3
    scores = torch.tensor(3 * random.normal(size=(2, 2, length, 1500)), dtype=torch.float32)
    logits = torch.tensor(random.normal(size=(length, 51864)), dtype=torch.float32)
    model = Aligned(scores, logits)
    expected = timing.find_alignment(model, REFERENCE, text, torch.zeros(80, 3000), frames)

    heads = scores[torch.tensor([0, 1, 1]), torch.tensor([0, 0, 1])]
    start = len(REFERENCE.sot_sequence)
    matrix = alignment_matrix(heads.softmax(-1).numpy(), frames)[start:-1]
    chances = logits[start:, :END].softmax(-1)[np.arange(len(text)), text].tolist()
    words = REFERENCE.split_to_word_tokens([*text, END])
    found = word_timings(matrix, *words, chances)
    assert [vars(w) for w in found] == [vars(w) for w in expected]


# --- formats -------------------------------------------------------------------------------------


def drawn_transcript(seed, words):
    random = np.random.default_rng(seed)
    segments, at = [], 3599.0 if seed % 2 else 0.0
    for i in range(12):
        text = str(random.choice(SENTENCES[:4])) if i else " One --> two"
        parts = [f" {w}" for w in text.split()]
        times = at + np.cumsum(random.choice([0.12, 0.3, 0.5, 4.0], len(parts) + 1)).round(2)
        timed = [
            Word(p, float(a), float(b), 0.5)
            for p, a, b in zip(parts, times, times[1:], strict=False)
        ]
        segments.append(
            Segment(i, 0, float(times[0]), float(times[-1]), text, [1], 0.0, -0.1, 1.0, 0.1,
                    timed if words else None)
        )  # fmt: skip
        at = float(times[-1]) + float(random.choice([0.0, 0.4, 5.0]))
    return Transcript("".join(s.text for s in segments), "en", segments)


LAYOUTS = [
    {}, {"highlight_words": True}, {"max_line_width": 20}, {"max_line_count": 1},
    {"max_line_width": 16, "max_line_count": 2}, {"max_words_per_line": 3},
    {"max_line_width": 24, "max_line_count": 1, "highlight_words": True},
]  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("kind", ["txt", "srt", "vtt", "tsv", "json"])
@pytest.mark.parametrize("words", [False, True])
def test_files_are_those_of_the_reference(kind, words, layout):
    for seed in range(4):
        transcript = drawn_transcript(seed, words)
        if words:
            for segment in transcript.segments[:1]:  # the reference leaves arrows in words
                segment.words = segment.words[:1] + segment.words[2:]
        file = io.StringIO()
        whisper.utils.get_writer(kind, ".").write_result(transcript.to_json(), file, layout)
        expected = file.getvalue()
        found = render(transcript, kind, SubtitleLayout(**layout))
        assert found == (expected if kind != "json" else found)
        if kind == "json":
            import json

            assert json.loads(found) == json.loads(expected)


@pytest.mark.parametrize("words", [False, True])
def test_subtitles_are_read_by_others(words, tmp_path):
    pysrt, webvtt = pytest.importorskip("pysrt"), pytest.importorskip("webvtt")
    transcript = drawn_transcript(1, words)
    srt, vtt = render(transcript, "srt"), render(transcript, "vtt")
    (tmp_path / "a.vtt").write_text(vtt, "utf-8")
    spoken = [s for s in transcript.segments if s.text.strip()]
    texts = [s.text.strip().replace("-->", "->") for s in spoken]
    read = pysrt.from_string(srt, error_handling=pysrt.ERROR_RAISE)
    assert [item.text for item in read] == texts
    assert [item.start.ordinal for item in read] == [round(1000 * s.start) for s in spoken]
    captions = webvtt.read(tmp_path / "a.vtt")
    assert [caption.text for caption in captions] == texts
    assert [c.end_in_seconds for c in captions] == [int(s.end) for s in spoken]
