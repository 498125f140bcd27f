"""Embed the texts of Parquet files on many machines, by Ray Data: a column of vectors is added.

    python examples/embed_parquet_ray.py texts/ vectors/ --preset FOLDER --workers 2 --id-column id

Each worker loads the model once. A worker that is lost is started again, and the rows that it had
are computed again. With `--id-column`, whose values are unique, a job that was stopped goes on
where it was: the same command leaves out the rows that are written already.
"""

import argparse

import ray
from ray.data.checkpoint import CheckpointConfig

from inarch import BatchPredictor, TextEmbedder


def embed(source, target, preset, workers=2, column="text", id_column=None, batch_size=1024):
    """Write the rows of Parquet files with a vector of each, as `target/*.parquet`."""
    if not ray.is_initialized():
        ray.init()
    if workers >= (cpus := ray.cluster_resources().get("CPU", 0)):
        raise SystemExit(f"{workers} workers leave none of {cpus:.0f} CPUs to read and write files")
    if id_column:
        ray.data.DataContext.get_current().checkpoint_config = CheckpointConfig(
            id_column, f"{target}.checkpoint", delete_checkpoint_on_success=False
        )
    ray.data.read_parquet(source).map_batches(
        BatchPredictor,
        fn_constructor_kwargs={
            "preset": preset,
            "column": column,
            "output_column": "vector",
            "error_column": "error",
            "task": TextEmbedder,
        },
        batch_format="pyarrow",
        batch_size=batch_size,
        compute=ray.data.ActorPoolStrategy(size=workers),
    ).write_parquet(target, mode="append")


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("source")
    parser.add_argument("target")
    parser.add_argument("--preset", default="all_minilm_l6_v2_en")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--column", default="text")
    parser.add_argument("--id-column", help="a column of unique values, to resume by")
    parser.add_argument("--batch-size", type=int, default=1024)
    embed(**vars(parser.parse_args()))


if __name__ == "__main__":
    main()
