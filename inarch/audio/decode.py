"""FFmpeg, through PyAV: decoding, mixing to one channel, resampling."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np

from inarch.audio.pipes import HEAD, states_no_length
from inarch.audio.samples import SAMPLE_RATE, check_finite
from inarch.errors import AudioFileError, MissingExtraError
from inarch.user_warnings import warn

# A file is short if so much of the time that it states, and at least so many seconds, is missing.
SHORT, SHORT_SECONDS = 0.05, 0.5
# Samples that are given to the resampler at once.
PIECE = 1 << 16
# Frames of FLAC have checksums, which FFmpeg verifies with this option. The format states
# the number of its samples exactly.
CHECKED = {"flac": {"err_detect": "crccheck+explode"}}
# Samples per second. Beyond these a file is damaged, and resampling would take all memory.
LOWEST_RATE, HIGHEST_RATE = 1_000, 1_000_000
# Bytes per second below which no codec has speech; long sound of fewer is next to nothing.
SPARSE = 500
# Playlists name further files and addresses; through no protocol none can be opened.
OPTIONS = {"protocol_whitelist": "none"}


def decode(file: BinaryIO, name: str, max_seconds: float = 1800) -> np.ndarray:
    """Decode a file of any format that FFmpeg reads to float32 `[samples]` at 16 kHz.

    Args:
        file: the file.
        name: what messages call it.
        max_seconds: the longest sound that is taken from fewer than `SPARSE` bytes per second.

    Raises:
        AudioFileError: it is empty, of no known format, or holds no sound that can be decoded, or
            far more than its bytes can hold but silence.
        MissingExtraError: PyAV isn't installed.
    """
    av = _pyav()
    try:
        endless = states_no_length(_head(file))
        with av.open(file, metadata_errors="ignore", options=dict(OPTIONS)) as container:
            return _Decoding(container, name, max_seconds, endless).run()
    except AudioFileError:
        raise
    except (av.FFmpegError, OSError, EOFError) as e:
        raise AudioFileError(
            f"{name} can't be decoded: {getattr(e, 'strerror', None) or e}. Pass a file of sound "
            "that FFmpeg can read, whole and not a playlist"
        ) from e


def _head(file: BinaryIO) -> bytes:
    """Read the first bytes of a file without consuming them; return none where that can't be."""
    if getattr(file, "seekable", lambda: False)():
        start = file.tell()
        head = file.read(HEAD)
        file.seek(start)
        return head
    return file.peek(HEAD)[:HEAD] if hasattr(file, "peek") else b""


def resample(samples: np.ndarray, rate: int) -> np.ndarray:
    """Resample mono float32 samples from `rate` to 16 kHz."""
    av = _pyav()
    resampler = _Resampler("flt")
    pieces = []
    for start in range(0, len(samples), PIECE):
        piece = np.ascontiguousarray(samples[None, start : start + PIECE])
        frame = av.AudioFrame.from_ndarray(piece, format="flt", layout="mono")
        frame.sample_rate = rate
        pieces += resampler.push(frame)
    return np.concatenate([*pieces, *resampler.rest()])


def _pyav() -> Any:
    try:
        import av
    except ImportError as e:
        raise MissingExtraError(
            "PyAV, which decodes and resamples sound, is not installed; only arrays of samples at "
            "16 kHz can do without. Install it (pip install 'inarch[audio]')"
        ) from e
    return av


class _Resampler:
    """Mono at 16 kHz from frames, whose format may change on the way."""

    def __init__(self, sample_format: str):
        self._format = sample_format
        self._resampler: Any = None
        self._of: tuple[Any, ...] = ()

    def push(self, frame: Any) -> list[np.ndarray]:
        of = (frame.format.name, frame.layout.name, frame.sample_rate)
        pieces = []
        if of != self._of:
            pieces = self.rest()
            self._of = of
            self._resampler = _pyav().AudioResampler(self._format, "mono", SAMPLE_RATE)
        # Samples follow each other whatever the file's clock is, as in the reference.
        frame.pts = None
        return pieces + [made.to_ndarray()[0] for made in self._resampler.resample(frame)]

    def rest(self) -> list[np.ndarray]:
        """Return the samples that the resampler still holds."""
        made = [] if self._resampler is None else self._resampler.resample(None)
        self._resampler = None
        return [frame.to_ndarray()[0] for frame in made]


class _Decoding:
    """One pass through the best sound stream of an open file."""

    def __init__(self, container: Any, name: str, max_seconds: float, endless: bool = False):
        streams = container.streams
        if not streams.audio:
            types = sorted({stream.type for stream in streams})
            raise AudioFileError(
                f"{name} ({container.format.name}) has no stream of sound, only "
                f"{', '.join(types) or 'none at all'}. Pass a file with one"
            )
        self._container, self._name, self._endless = container, name, endless
        self._stream = streams.best("audio") or streams.audio[0]
        self._damaged = 0
        self._seconds = 0.0
        self._bytes = 0
        self._max_seconds = max_seconds
        codec = self._stream.codec_context
        if codec is None:
            raise AudioFileError(
                f"{name} ({container.format.name}) is of a codec that FFmpeg doesn't know, or "
                "damaged. Pass a file of another"
            )
        self._exact = codec.name in CHECKED
        if self._exact:
            codec.options = dict(CHECKED[codec.name])
        # Formats with a floating point can hold what isn't a number.
        self._may_be_nan = codec.name.startswith("pcm_f")

    def run(self) -> np.ndarray:
        resampler, found = _Resampler("s16"), bytearray()
        for frame in self._frames():
            self._check(frame)
            self._seconds += frame.samples / frame.sample_rate
            for piece in resampler.push(frame):
                found += piece.data
        for piece in resampler.rest():
            found += piece.data
        self._report_damage(bool(found))
        samples = np.frombuffer(found, np.int16).astype(np.float32)
        samples *= np.float32(1 / 32768)
        return samples

    def _frames(self) -> Iterator[Any]:
        for packet in self._packets():
            # FFmpeg calls the last packet corrupt where a file ends before its stated length.
            self._damaged += packet.is_corrupt and not self._endless
            self._bytes += packet.size
            try:
                frames = packet.decode()
            except _pyav().error.InvalidDataError:
                self._damaged += 1
                continue
            for frame in frames:
                if self._may_be_nan:
                    check_finite(frame.to_ndarray(), f"a frame of {self._name}")
                yield frame

    def _check(self, frame: Any) -> None:
        """Refuse what would take memory out of all proportion to the file."""
        if not LOWEST_RATE <= frame.sample_rate <= HIGHEST_RATE:
            raise AudioFileError(
                f"{self._name} has {frame.sample_rate:,} samples per second; it is damaged, or not "
                f"sound: from {LOWEST_RATE:,} to {HIGHEST_RATE:,} are read"
            )
        if self._seconds > self._max_seconds and self._bytes < SPARSE * self._seconds:
            raise AudioFileError(
                f"{self._name} has more than {self._max_seconds:,} s of sound in {self._bytes:,} "
                "bytes, which can be little but silence. To take it all the same, give its "
                "samples: load_audio(file, max_seconds=...)"
            )

    def _packets(self) -> Iterator[Any]:
        try:
            yield from self._container.demux(self._stream)
        except _pyav().error.InvalidDataError:
            self._damaged += 1

    @property
    def _stated(self) -> float:
        """Seconds that the file states; 0 where it doesn't."""
        stream = self._stream
        return float(stream.duration * stream.time_base) if stream.duration else 0.0

    def _report_damage(self, has_samples: bool) -> None:
        stated = self._stated
        missing = 0.0 if self._endless else stated - self._seconds
        short = missing > (1e-3 if self._exact else max(SHORT * stated, SHORT_SECONDS))
        if not has_samples and (self._damaged or short):
            raise AudioFileError(
                f"{self._name} is damaged: nothing of its sound can be decoded. Fetch it again"
            )
        if short or self._damaged:
            states = f"; it states {stated:.1f} s" if short else ""
            warn(
                f"{self._name} is damaged or truncated, and {self._seconds:.1f} s of it are taken"
                f"{states}"
            )
