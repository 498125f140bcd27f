"""A bulk job on Ray is whole although a worker is lost, and goes on where it was stopped."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

import inarch

from .test_examples import encoder

ROOT = Path(__file__).parents[2]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not importlib.util.find_spec("ray"), reason="Ray isn't installed: pip install 'inarch[ray]'"
    ),
]


def run(*command):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "RAY_USAGE_STATS_ENABLED": "0"}
    done = subprocess.run(
        [sys.executable, *map(str, command)], cwd=ROOT, env=environment, capture_output=True,
        text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stderr


def test_a_job_that_loses_a_worker_is_whole_and_resumes(tmp_path):
    texts = [f"the cat {'sat ' * (i % 5)}on mat {'abcdefghij'[i % 10]}" for i in range(200)]
    texts[7] = None
    (tmp_path / "texts").mkdir()
    for part in range(2):
        numbers = list(range(part, 200, 2))
        table = pa.table({"id": numbers, "text": [texts[i] for i in numbers]})
        parquet.write_table(table, tmp_path / "texts" / f"{part}.parquet")
    preset = encoder(tmp_path / "encoder")

    job = (tmp_path / "texts", tmp_path / "vectors", preset)
    run("-m", "tests.examples.lose_worker", *job)
    assert (tmp_path / "vectors.killed").exists()
    found = parquet.read_table(tmp_path / "vectors").sort_by("id").to_pydict()
    assert found["id"] == list(range(200))
    assert "missing value" in found["error"].pop(7)
    assert set(found["error"]) == {None}
    assert found["vector"].pop(7) is None
    expected = inarch.load(preset).embed([text for text in texts if text is not None])
    np.testing.assert_allclose(np.array(found["vector"]), expected, rtol=1e-4, atol=1e-5)

    # Rows that came later, and those that are written already.
    more = pa.table({"id": [200, 201], "text": ["a dog", "a road"]})
    parquet.write_table(more, tmp_path / "texts" / "2.parquet")
    run("-m", "tests.examples.lose_worker", *job)
    ids = parquet.read_table(tmp_path / "vectors", columns=["id"])["id"].to_pylist()
    assert sorted(ids) == list(range(202))
