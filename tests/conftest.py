"""Set before Keras is imported: the backend, and what makes many tiny models quick."""

import os

os.environ.setdefault("KERAS_BACKEND", "jax")
# Most of the suite's time on JAX is compiling; the models are too small to gain from it.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# The tests run in several processes; threads of each would wait for one another.
os.environ.setdefault("OMP_NUM_THREADS", "1")
