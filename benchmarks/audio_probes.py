"""Probes of the log-mel spectrogram: `python audio_probes.py FUNCTION ARGUMENTS`."""

from __future__ import annotations

from probe import median_seconds, report


def log_mel(seconds: str, threads: str) -> dict[str, float]:
    """Time the log-mel spectrogram in NumPy and by openai-whisper on torch, in turns."""
    import os

    # Read when NumPy's library of matrix products is loaded.
    os.environ["OPENBLAS_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = threads
    import numpy as np
    import torch
    from whisper.audio import log_mel_spectrogram as openai_log_mel

    from inarch.audio import log_mel_spectrogram

    torch.set_num_threads(int(threads))
    audio = np.random.default_rng(0).normal(0, 0.1, int(seconds) * 16_000).astype("float32")
    sound = torch.from_numpy(audio)
    return median_seconds(
        {"ours": lambda: log_mel_spectrogram(audio), "theirs": lambda: openai_log_mel(sound)}
    )


if __name__ == "__main__":
    report(globals())
