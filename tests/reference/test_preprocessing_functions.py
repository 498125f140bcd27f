"""Packers and masks within the pipelines that feed a model: `tf.data`, torch's loaders, grain."""

import numpy as np
import pytest

from inarch.data import MaskedLMMaskGenerator, MultiSegmentPacker, StartEndPacker

pytestmark = [pytest.mark.reference, pytest.mark.turns(3)]

PACKER = StartEndPacker(6, start_value=1, end_value=2)
MASKER = MaskedLMMaskGenerator(50, 1.0, 4, 3, (0, 1, 2), mask_token_rate=1.0, random_token_rate=0.0)
ROWS = [[5, 6, 7], [8, 9], [5, 6, 7], [8, 9]]
PACKED = [[1, 5, 6, 7, 2, 0], [1, 8, 9, 2, 0, 0]] * 2
MASKED = [[1, 4, 4, 4, 2, 0], [1, 4, 4, 2, 0, 0]] * 2


def test_they_run_within_tf_data():
    tf = pytest.importorskip("tensorflow")

    def prepared(ids):
        packed = tf.numpy_function(PACKER, [ids], tf.int32)
        packed.set_shape([None, 6])
        return packed, tf.numpy_function(lambda rows: MASKER(rows)["token_ids"], [packed], tf.int32)

    data = tf.data.Dataset.from_tensor_slices(tf.ragged.constant(ROWS))
    rows = list(data.map(lambda row: prepared(row[None])).as_numpy_iterator())
    assert rows[0][0].tolist() == PACKED[:1]
    assert rows[0][1].tolist() == MASKED[:1]
    assert PACKER(tf.ragged.constant(ROWS)).tolist() == PACKED
    words = MultiSegmentPacker(4, "[CLS]", "[SEP]")
    assert words(tf.constant(["a", "b"]))[0].tolist() == ["[CLS]", "a", "b", "[SEP]"]
    segments = tf.numpy_function(
        MultiSegmentPacker(6, 1, 2), [tf.constant(ROWS[0])], [tf.int32, tf.int32]
    )
    assert segments[0].numpy().tolist() == PACKED[0]


@pytest.mark.parametrize("workers", [0, 2])
def test_they_run_within_torchs_loader_and_each_worker_draws_anew(workers):
    torch = pytest.importorskip("torch")

    def collate(rows):
        return MASKER(PACKER(rows))

    loader = torch.utils.data.DataLoader(ROWS, 2, collate_fn=collate, num_workers=workers)
    assert np.concatenate([batch["token_ids"] for batch in loader]).tolist() == MASKED
    draws = torch.utils.data.DataLoader(
        [list(range(3, 43))] * 4, 1, num_workers=workers,
        collate_fn=MaskedLMMaskGenerator(50, 0.5, 4),
    )  # fmt: skip
    ids = [batch["token_ids"].tolist() for batch in draws]
    assert len({str(row) for row in ids}) == 4


def test_they_run_within_grain():
    grain = pytest.importorskip("grain")
    data = grain.MapDataset.source(ROWS).map(PACKER).seed(1)
    masked = data.random_map(lambda row, rng: MASKER(row, rng=rng)).batch(4)[0]
    assert masked["token_ids"].tolist() == MASKED
