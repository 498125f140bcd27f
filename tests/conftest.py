"""Settings before Keras is imported: the backend, and the options that make tiny models quick."""

import gc
import importlib.util
import mmap
import os
import tempfile
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("KERAS_BACKEND", "jax")
# Most of the suite's time on JAX is compiling; the models are too small to gain from it.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
FULL_STRENGTH = os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] == "0"
# Python frames of the operations that are compiled take 8 % of the time, and nobody reads them.
os.environ.setdefault("JAX_TRACEBACK_IN_LOCATIONS_LIMIT", "0")
# XLA's older way to a fused kernel takes a third of the time to compile, in one thread.
QUICK = ("xla_cpu_use_fusion_emitters=false", "xla_cpu_parallel_codegen_split_count=1")


def known_to_xla(flags: tuple[str, ...]) -> bool:
    """Return whether the installed XLA has all flags; one that it hasn't ends the process."""
    spec = importlib.util.find_spec("jaxlib")
    folders = (spec.submodule_search_locations if spec else None) or ()
    libraries = [path for folder in folders for path in Path(folder).glob("*.so")]
    if not libraries:
        return False
    with (
        max(libraries, key=lambda path: path.stat().st_size).open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as library,
    ):
        return all(library.find(flag.partition("=")[0].encode()) >= 0 for flag in flags)


if not FULL_STRENGTH and "XLA_FLAGS" not in os.environ and known_to_xla(QUICK):
    os.environ["XLA_FLAGS"] = " ".join(f"--{flag}" for flag in QUICK)
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# The tests run in several processes; threads of each would wait for one another.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# What one process of a run has compiled, the others read: workers, commands, the guide's own suite.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    COMPILED = tempfile.TemporaryDirectory(prefix="inarch-compiled-")
    os.environ["JAX_COMPILATION_CACHE_DIR"] = COMPILED.name
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"

# Where cases take turns, each backend has its own part.
BACKENDS = ("jax", "torch", "tensorflow")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run every n-th case of tests marked `turns(n)`, and leave the rest to `make test-exhaustive`.

    A case has the sum of the numbers of its test in the file and of its values in their lists, so
    that of two parametrisations every value has its turn. With 3 or fewer turns the backends have
    all cases between them.
    """
    turn = BACKENDS.index(os.environ["KERAS_BACKEND"])
    numbers: dict[Any, dict[str, int]] = {}
    for item in items:
        mark = item.get_closest_marker("turns")
        if mark is None:
            continue
        name = item.nodeid.partition("[")[0]
        tests = numbers.setdefault(item.path, {})
        number = tests.setdefault(name, len(tests))
        for axis, value in enumerate(item.callspec._idlist if hasattr(item, "callspec") else ()):
            values = numbers.setdefault((name, axis), {})
            number += values.setdefault(value, len(values))
        if (number - turn) % mark.args[0]:
            item.add_marker("exhaustive")


def pytest_collection_finish() -> None:
    """Keep the garbage collector from all that was imported, which nothing will free.

    It looks less often, too: programs that are traced are many objects and hardly any garbage.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
