"""Packed batches hold each sequence once, in order, in rows of the shapes that are compiled."""

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from inarch.data import PackedBatch, pack_together, packed_batches

LENGTHS = st.lists(st.integers(0, 60), max_size=60)


@given(
    LENGTHS, st.integers(1, 300), st.sampled_from([None, 60, 64, 100]), st.booleans(), st.booleans()
)
@example([], 64, None, False, False)
@example([60, 1], 1, 60, False, True)
@example([0, 1], 1, None, False, False)
def test_every_token_is_at_its_place_once(lengths, tokens, limit, exact, tight):
    seen = []
    for batch in packed_batches(lengths, tokens, limit, exact, tight):
        assert batch.length <= (limit or 128)
        assert batch.rows == 1 or batch.rows * batch.length <= tokens
        if not isinstance(batch, PackedBatch):
            assert all(lengths[i] <= batch.length for i in batch.indices)
            assert len(batch.indices) <= batch.rows
            seen += [*batch.indices]
            continue
        arrays = []
        for part in batch.parts:
            mask = np.zeros((part.rows, part.length), np.int32)
            for row, index in enumerate(part.indices):
                mask[row, : lengths[index]] = 1
            seen += [*part.indices]
            token_ids = mask * (1 + np.arange(mask.size).reshape(mask.shape))
            arrays.append({"token_ids": token_ids, "padding_mask": mask})
        rows = batch.pack(arrays)
        assert rows["token_ids"].shape == (batch.rows, batch.length)
        for part, array in zip(batch.parts, arrays, strict=True):
            places = part.token_places()
            assert places.shape == (part.rows, part.length)
            assert part.rows == 1 or places.size <= 2 * rows["token_ids"].size
            # None is another sequence's, also beyond the end.
            own = rows["padding_mask"].ravel()[places[: len(part.indices)]]
            has_tokens = np.array([lengths[i] > 0 for i in part.indices])
            assert (own == part.sequence_ids[:, None])[has_tokens].all()
            is_token = array["padding_mask"] > 0
            np.testing.assert_array_equal(
                rows["token_ids"].ravel()[places][is_token], array["token_ids"][is_token]
            )
        # A row's sequences are numbered, one after another, and what is left is padding; one
        # without tokens has a place of padding among them.
        gaps = 0
        for row in rows["padding_mask"]:
            assert (np.diff(row[row > 0]) >= 0).all()
            gaps += np.count_nonzero(np.trim_zeros(row, "b") == 0)
        assert gaps <= sum(lengths[i] == 0 for part in batch.parts for i in part.indices)
    assert sorted(seen) == [*range(len(lengths))]


@given(LENGTHS.filter(len), st.sampled_from([None, 60, 200]), st.booleans())
def test_sequences_that_are_packed_together_are_one_part_in_order(lengths, limit, exact):
    batch = pack_together(lengths, limit, exact)
    (part,) = batch.parts
    assert batch.length <= (limit or 128)
    assert exact or batch.rows in (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
    mask = (np.arange(part.length) < np.array(lengths)[:, None]).astype(np.int32)
    weights = mask * np.random.default_rng(0).random(mask.shape, np.float32)
    rows = batch.pack([{"padding_mask": mask, "weights": weights}])
    assert rows["weights"].shape == (batch.rows, batch.length)
    assert np.count_nonzero(rows["padding_mask"]) == sum(lengths)
    flat, ids = rows["weights"].ravel(), rows["padding_mask"].ravel()
    names = {}
    for i, size in enumerate(lengths):
        place = slice(part.places[i], part.places[i] + size)
        np.testing.assert_array_equal(flat[place], weights[i, :size])
        names[i] = {(part.places[i] // batch.length, number) for number in ids[place]}
    # No two have one number in one row.
    assert sum(map(len, names.values())) == len(set().union(*names.values()))


def test_packing_together_leaves_few_rows():
    random = np.random.default_rng(0)
    lengths = random.lognormal(np.log(24), 1.06, 16).clip(4, 500).astype(int).tolist()
    for exact in (True, False):
        batch = pack_together(lengths, 512, exact)
        assert batch.rows * batch.length < 0.6 * 16 * max(lengths)


def test_rows_of_a_mix_have_hardly_any_padding():
    random = np.random.default_rng(0)
    lengths = np.clip(random.lognormal(np.log(24), 1.06, 400).astype(int), 4, 512)
    batches = [*packed_batches(lengths, 2048, 512)]
    assert lengths.sum() > 0.95 * sum(batch.rows * batch.length for batch in batches)
    assert len({(batch.rows, batch.length) for batch in batches}) < 10
    parts = [(batch, part) for batch in batches for part in batch.parts]
    assert len({(b.rows * b.length, part.rows, part.length) for b, part in parts}) < 20


def test_sequences_that_fill_rows_by_themselves_are_taken_out_of_none():
    assert not any(isinstance(batch, PackedBatch) for batch in packed_batches([64] * 9, 128, 64))
    (batch,) = packed_batches([10], 2048, 64)
    assert (batch.rows, batch.length) == (1, 16)


def test_a_token_that_is_not_attended_to_keeps_its_sign():
    (batch,) = packed_batches([3, 2], 16, 16)
    ids = np.array([[5, 6, 7], [8, 9, 0]], np.int32)
    mask = np.array([[1, 1, -1], [1, -1, 0]], np.int32)
    parts = [{"token_ids": ids, "padding_mask": mask}]
    row = batch.pack(parts)["padding_mask"][0]
    np.testing.assert_array_equal(row[:6], [1, 1, -1, 2, -2, 0])
