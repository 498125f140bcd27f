"""Threads share a task."""

from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np

from inarch.tasks import TextEmbedder

from .conftest import make_backbone

REQUESTS = [["the cat sat", "a dog ran"], ["bad"], ["the film was not very good!", "mat", ""]] * 8


def test_threads_get_the_answers_that_each_request_has_alone(preprocessor):
    task = TextEmbedder(make_backbone(), preprocessor)
    alone = [task.embed(texts) for texts in REQUESTS]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(task.embed, REQUESTS))
    # Torch may get fewer threads of the machine where several calls want them, and its sums another
    # last bit; values are of order one.
    rounding = 5e-7 if keras.backend.backend() == "torch" else 0
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=rounding)
