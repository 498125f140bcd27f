"""Probes of one transcription in its own process: `python command_probes.py FUNCTION ARGUMENTS`.

Each library has all cores, and its import and loading count.
"""

from __future__ import annotations

import os
import time
from typing import Any

from probe import memory, report
from transcription_probes import published, ten_minutes

# Greedily, and with the beams of the commands' defaults. The speech repeats itself, so that
# decoding with fallback would take it for a fault of the model and try again and again.
SEARCHES: dict[str, dict[str, Any]] = {
    "greedy": {"temperature": 0.0},
    "beams": {"temperature": 0.0, "beam_size": 5},
}


def write_sound(path: str) -> dict[str, float]:
    """Write four minutes of speech as a WAV of 16 bits."""
    import wave

    import numpy as np

    from inarch.audio import SAMPLE_RATE

    samples = (ten_minutes()[: 240 * SAMPLE_RATE] * 32767).astype(np.int16)
    with wave.open(path, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes(samples.tobytes())
    return {}


def whole_process(text: str) -> dict[str, float]:
    """Return processor seconds and peak MiB since the process began, and a transcript's words."""
    return {"seconds": time.process_time(), "peak": memory("VmHWM"), "words": len(text.split())}


def once_inarch(path: str, search: str, cache: str, batch_size: str = "") -> dict[str, float]:
    """Run `inarch transcribe` with a folder of compiled programs, "" for an empty one."""
    import contextlib
    import io
    import tempfile

    empty = tempfile.TemporaryDirectory()
    os.environ["INARCH_CACHE"] = cache or empty.name
    from inarch.cli.app import app

    beams = SEARCHES[search].get("beam_size")
    options = ["--beam_size", str(beams), "--temperature_increment_on_fallback", "None"]
    options += ["--batch-size", batch_size] if batch_size else []
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        app(["transcribe", path, "--model", str(published()), *options], standalone_mode=False)
    return whole_process(output.getvalue())


def once_openai(copy: str, path: str, search: str) -> dict[str, float]:
    """Run openai-whisper on samples: to read a file it would start another program."""
    import wave

    import numpy as np
    import whisper

    model = whisper.load_model(copy, device="cpu")
    with wave.open(path) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), np.int16)
    audio = samples.astype(np.float32) / 32768
    found = model.transcribe(audio, fp16=False, **SEARCHES[search])
    return whole_process(found["text"])


def once_faster(path: str, search: str, batch_size: str = "") -> dict[str, float]:
    """Run faster-whisper in float32."""
    from faster_whisper import BatchedInferencePipeline, WhisperModel

    model: Any = WhisperModel(str(published()), device="cpu", compute_type="float32")
    options = {"beam_size": 1} | SEARCHES[search]
    if batch_size:
        model = BatchedInferencePipeline(model)
        options = options | {"batch_size": int(batch_size)}
    segments, _ = model.transcribe(path, **options)
    return whole_process("".join(segment.text for segment in segments))


if __name__ == "__main__":
    report(globals())
