"""Set before Keras is imported: the backend, and what makes many tiny models quick."""

import os
import tempfile

os.environ.setdefault("KERAS_BACKEND", "jax")
# Most of the suite's time on JAX is compiling; the models are too small to gain from it.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
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
