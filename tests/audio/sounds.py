"""Files of sound, made where they are needed."""

import io
import wave

import av
import numpy as np

# What else a format of FFmpeg is encoded with, where its name isn't enough.
SAMPLE_FORMAT = {"mp3": "s16p", "flac": "s16", "pcm_mulaw": "s16", "pcm_f32le": "flt"}


def tone(hertz=440.0, seconds=1.0, rate=16_000, scale=0.5):
    return (scale * np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate)).astype("f4")


def wav(samples, rate=16_000):
    """The bytes of a 16-bit WAV file of float samples, `[samples]` or `[samples, channels]`."""
    integers = np.round(np.clip(samples, -1, 1) * 32767).astype("<i2")
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1 if integers.ndim == 1 else integers.shape[1])
        out.setsampwidth(2)
        out.setframerate(rate)
        out.writeframes(integers.tobytes())
    return file.getvalue()


def encoded(samples, container, codec, rate=16_000):
    """The bytes of a file that FFmpeg encodes from mono samples."""
    file = io.BytesIO()
    kind = SAMPLE_FORMAT[codec]
    stored = samples if kind == "flt" else np.round(samples * 32767).astype("i2")
    with av.open(file, "w", format=container) as out:
        stream = out.add_stream(codec, rate=rate, layout="mono", format=kind)
        frame = av.AudioFrame.from_ndarray(stored[None], format=kind, layout="mono")
        frame.sample_rate = rate
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            out.mux(packet)
    return file.getvalue()


def silent_film():
    """The bytes of a film without sound."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as out:
        stream = out.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 16
        stream.pix_fmt = "yuv420p"
        frame = av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), "u1"), format="rgb24")
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            out.mux(packet)
    return file.getvalue()
