"""Embed Parquet files by two workers of Ray, of which one is killed within the job.

Started by `test_ray.py` in a process of its own: `lose_worker.py SOURCE TARGET PRESET`.
"""

import os
import signal
import sys
from pathlib import Path

import ray

sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))
import embed_parquet_ray

source, target, preset = sys.argv[1:]


class Mortal(embed_parquet_ray.BatchPredictor):
    """A predictor whose process is killed at the second batch of the job's first worker."""

    batches = 0

    def __call__(self, batch):
        self.batches += 1
        if self.batches == 2:
            try:
                os.close(os.open(f"{target}.killed", os.O_CREAT | os.O_EXCL))
                os.kill(os.getpid(), signal.SIGKILL)
            except FileExistsError:  # one is enough
                pass
        return super().__call__(batch)


embed_parquet_ray.BatchPredictor = Mortal
ray.init(num_cpus=4, include_dashboard=False)
embed_parquet_ray.embed(source, target, preset, id_column="id", batch_size=20)
