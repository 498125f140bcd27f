"""Detection of speech by Silero's voice activity detector, or by level without it.

Silero's network (github.com/snakers4/silero-vad) is an ONNX file, of the package `silero_vad` or
of faster-whisper, and runs on onnxruntime. Spans are made of its probabilities as faster-whisper
makes them (faster_whisper/vad.py): they begin at `SPEECH` and end where the probability stays below
`SILENCE` for `MIN_SILENCE` seconds; each is given `MARGIN` seconds before and after.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any

import numpy as np

from inarch.audio.samples import SAMPLE_RATE, check_waveform
from inarch.audio.speech import Span, speech_spans
from inarch.errors import CheckpointFileError, MissingExtraError
from inarch.user_warnings import warn

SPEECH, SILENCE = 0.5, 0.35
MIN_SILENCE, MARGIN = 2.0, 0.4
# Samples that the network judges at once, and those before them that it is shown, too.
WINDOW, CONTEXT = 512, 64
# Windows of one call; a network of many windows takes them together.
BATCH = 4096
# Where packages keep it.
PLACES = {
    "silero_vad": "data/silero_vad*.onnx",
    "faster_whisper": "assets/silero_vad*.onnx",
}


def voice_spans(audio: Any, model: bool | str | os.PathLike[str] = True) -> list[Span]:
    """Return spans of sound in which someone speaks.

    Args:
        audio: float `[samples]` at 16 kHz, full scale at 1.
        model: the path of Silero's ONNX model; True looks for it in the packages `silero_vad` and
            `faster_whisper`, and without it or onnxruntime goes by level, with a warning; False
            goes by level.

    Returns:
        A list of `(start, end)` in samples, in order, inside the audio.

    Raises:
        InputTypeError, InputError: the audio isn't float `[samples]`, or not finite.
        CheckpointFileError: the path is no file of Silero's.
        MissingExtraError: a path is given and onnxruntime isn't installed.
    """
    samples = check_waveform(audio).astype(np.float32, copy=False)
    if isinstance(model, np.bool_):
        model = bool(model)
    path = find_silero() if model is True else Path(model) if model else None
    if path is None:
        if model is True:
            warn(
                "Silero's model isn't installed (pip install onnxruntime silero-vad), so speech "
                "is found by level"
            )
        return speech_spans(samples, min_silence=MIN_SILENCE, margin=MARGIN)
    if not len(samples):
        return []
    return spans_of(speech_probabilities(samples, path), len(samples))


def find_silero() -> Path | None:
    """Find Silero's newest ONNX model among the installed packages; None without onnxruntime."""
    if importlib.util.find_spec("onnxruntime") is None:
        return None
    for package, pattern in PLACES.items():
        spec = importlib.util.find_spec(package)
        for folder in (spec.submodule_search_locations or ()) if spec else ():
            # Names of other sampling rates and of half precision are longer.
            found = sorted(Path(folder).glob(pattern), key=lambda p: (len(p.name), p.name))
            if found:
                return found[0]
    return None


def speech_probabilities(samples: np.ndarray, path: Path) -> np.ndarray:
    """Return probabilities of speech, float32 `[windows]`, of 32 ms each; the last is padded.

    Args:
        samples: float32 `[samples]` at 16 kHz.
        path: Silero's ONNX model, as its package (v4 to v6) or faster-whisper has it.

    Raises:
        CheckpointFileError: it can't be read, or isn't Silero's.
        MissingExtraError: onnxruntime isn't installed.
    """
    session = _session(path)
    count = -(-len(samples) // WINDOW)
    padded = np.zeros(CONTEXT + count * WINDOW, np.float32)
    padded[CONTEXT : CONTEXT + len(samples)] = samples
    # Views of the samples: of an hour, copies would take half a gigabyte.
    windows = np.lib.stride_tricks.sliding_window_view(padded, CONTEXT + WINDOW)[::WINDOW]
    inputs = {entry.name for entry in session.get_inputs()}
    if inputs == {"input", "h", "c"}:
        return _in_batches(session, windows)
    if inputs == {"input", "state", "sr"}:
        return _one_by_one(session, windows)
    raise CheckpointFileError(
        f"{path} takes {', '.join(sorted(inputs))}, and Silero's model takes input, state and sr; "
        "give the ONNX file of the package silero_vad"
    )


def _in_batches(session: Any, windows: np.ndarray) -> np.ndarray:
    """Run faster-whisper's network, which goes from window to window itself."""
    h = c = np.zeros((1, 1, 128), np.float32)
    found = []
    for at in range(0, len(windows), BATCH):
        given = {"input": np.ascontiguousarray(windows[at : at + BATCH]), "h": h, "c": c}
        probabilities, h, c = session.run(None, given)
        found.append(probabilities.reshape(-1))
    return np.concatenate(found)


def _one_by_one(session: Any, windows: np.ndarray) -> np.ndarray:
    """Run Silero's own network, passing its state from window to window."""
    state, rate = np.zeros((2, 1, 128), np.float32), np.array(SAMPLE_RATE, np.int64)
    found = np.empty(len(windows), np.float32)
    for i, window in enumerate(windows):
        output, state = session.run(None, {"input": window[None], "state": state, "sr": rate})
        found[i] = output.reshape(-1)[0]
    return found


def _session(path: Path) -> Any:
    try:
        import onnxruntime
    except ImportError as e:
        raise MissingExtraError(
            "Silero's model runs on onnxruntime, which isn't installed: pip install onnxruntime"
        ) from e
    if not path.is_file():
        raise CheckpointFileError(f"{path} can't be read: there is no such file")
    options = onnxruntime.SessionOptions()
    options.inter_op_num_threads = options.intra_op_num_threads = 1
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(
            str(path), sess_options=options, providers=["CPUExecutionProvider"]
        )
    except Exception as e:  # onnxruntime's errors have no class in common but this
        raise CheckpointFileError(f"{path} can't be read as an ONNX model: {e}") from e


def spans_of(probabilities: np.ndarray, length: int) -> list[Span]:
    """Return the spans of speech in `length` samples, from the probabilities of their windows."""
    spans: list[list[int]] = []
    began = quiet = None
    for i, probability in enumerate(probabilities):
        at = i * WINDOW
        if probability >= SPEECH:
            began, quiet = at if began is None else began, None
        elif probability < SILENCE and began is not None:
            quiet = at if quiet is None else quiet
            if at - quiet >= MIN_SILENCE * SAMPLE_RATE:
                spans.append([began, quiet])
                began = quiet = None
    if began is not None:
        spans.append([began, length])
    margin = int(MARGIN * SAMPLE_RATE)
    for i, span in enumerate(spans):
        before = spans[i - 1][1] if i else 0
        span[0] = max(span[0] - margin, before)
        after = spans[i + 1][0] if i + 1 < len(spans) else length
        gap = after - span[1]
        # Neighbours share a gap that is too short for the margins of both.
        last = i + 1 == len(spans)
        span[1] = min(span[1] + (margin if last or gap >= 2 * margin else gap // 2), length)
    return [(start, end) for start, end in spans]
