"""Laws of the packers: special values are kept, the rest is cut or padded to one length."""

import pickle

import numpy as np
import pytest

from inarch.data import MultiSegmentPacker, StartEndPacker
from inarch.data.packers import round_robin, waterfall
from inarch.errors import InarchError, InputError, InputTypeError

SHORT, LONG = [4, 5], [6, 7, 8, 9, 10, 11]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, [[4, 5, 0, 0, 0], [6, 7, 8, 9, 10]]),
        ({"start_value": 1}, [[1, 4, 5, 0, 0], [1, 6, 7, 8, 9]]),
        ({"end_value": 2}, [[4, 5, 2, 0, 0], [6, 7, 8, 9, 2]]),
        ({"start_value": 1, "end_value": 2}, [[1, 4, 5, 2, 0], [1, 6, 7, 8, 2]]),
        ({"start_value": [1, 3], "end_value": (2, 3)}, [[1, 3, 4, 2, 3], [1, 3, 6, 2, 3]]),
        ({"start_value": 1, "pad_value": 9}, [[1, 4, 5, 9, 9], [1, 6, 7, 8, 9]]),
    ],
)
def test_start_and_end_are_kept_and_the_row_is_cut(settings, expected):
    packer = StartEndPacker(5, **settings)
    packed = packer([SHORT, LONG])
    assert packed.dtype == np.int32
    assert packed.tolist() == expected
    assert packer(SHORT).tolist() == expected[0]  # one row in, one out
    assert packer(np.array([SHORT])).tolist() == expected[:1]


def test_tokens_are_packed_as_ids_are():
    rows = [["a", "good", "film"], ["bad"], []]
    packer = StartEndPacker(5, ["</s>", "<s>"], "</s>", "<pad>")
    assert packer(rows).tolist() == [
        ["</s>", "<s>", "a", "good", "</s>"],
        ["</s>", "<s>", "bad", "</s>", "<pad>"],
        ["</s>", "<s>", "</s>", "<pad>", "<pad>"],
    ]
    assert StartEndPacker(3)(["a"]).tolist() == ["a", "", ""]
    assert StartEndPacker(2)(np.array([b"a"], object)).tolist() == ["a", ""]


def test_a_call_may_have_another_length_and_leave_values_out():
    packer = StartEndPacker(4, 1, 2)
    assert packer([5, 6, 7]).tolist() == [1, 5, 6, 2]
    assert packer([5, 6, 7], add_start_value=False).tolist() == [5, 6, 7, 2]
    assert packer([5, 6, 7], add_end_value=False).tolist() == [1, 5, 6, 7]
    assert packer([5, 6, 7], sequence_length=2).tolist() == [1, 2]


def test_the_mask_is_true_where_a_row_is_not_padding():
    rows, mask = StartEndPacker(5, 1, 2, pad_value=1, return_padding_mask=True)([SHORT, LONG])
    assert rows.tolist() == [[1, 4, 5, 2, 1], [1, 6, 7, 8, 2]]
    assert mask.tolist() == [[True] * 4 + [False], [True] * 5]
    _, single = StartEndPacker(3, return_padding_mask=True)([5])
    assert single.tolist() == [True, False, False]


A, B = ["a", "b", "c"], ["x", "y", "z"]


@pytest.mark.parametrize(
    ("segments", "settings", "tokens", "ids"),
    [
        (A, {}, "[CLS] a b c [SEP] - -", "0 0 0 0 0 0 0"),
        ((A,), {"sequence_length": 4}, "[CLS] a b [SEP]", "0 0 0 0"),
        ((A, B), {}, "[CLS] a b [SEP] x y [SEP]", "0 0 0 0 1 1 1"),
        ((A, B), {"truncate": "waterfall"}, "[CLS] a b c [SEP] x [SEP]", "0 0 0 0 0 1 1"),
        ((A[:1], B), {}, "[CLS] a [SEP] x y z [SEP]", "0 0 0 1 1 1 1"),
        ((["a"], ["x"]), {}, "[CLS] a [SEP] x [SEP] - -", "0 0 0 1 1 0 0"),
        (
            (["a"], ["x"]), {"padding_side": "left"},
            "- - [CLS] a [SEP] x [SEP]", "0 0 0 0 0 1 1",
        ),
        (
            (A, B), {"sep_value": ["[SEP]", "[SEP]"], "sequence_length": 8},
            "[CLS] a b [SEP] [SEP] x y [SEP]", "0 0 0 0 0 1 1 1",
        ),
        ((A, B, A), {"sequence_length": 8}, "[CLS] a b [SEP] x [SEP] a [SEP]", "0 0 0 0 1 1 2 2"),
    ],
)  # fmt: skip
def test_segments_are_cut_to_fit_and_know_where_they_are(segments, settings, tokens, ids):
    made = {"sequence_length": 7, "pad_value": "-"} | settings
    packer = MultiSegmentPacker(start_value="[CLS]", end_value="[SEP]", **made)
    rows, segment_ids = packer(segments)
    assert rows.tolist() == tokens.split()
    assert segment_ids.tolist() == [int(i) for i in ids.split()]
    assert segment_ids.dtype == np.int32
    # A batch is packed row by row.
    given = segments if isinstance(segments, tuple) else (segments,)
    many, many_ids = packer(tuple([segment, segment] for segment in given))
    assert many.tolist() == [tokens.split()] * 2
    assert many_ids.tolist() == [segment_ids.tolist()] * 2


def test_a_batch_of_ids_is_packed_row_by_row():
    packer = MultiSegmentPacker(8, 101, 102)
    rows, ids = packer(([[1, 2, 3, 4], [1]], [[11, 12, 13, 14], [11, 12]]))
    assert rows.tolist() == [[101, 1, 2, 3, 102, 11, 12, 102], [101, 1, 102, 11, 12, 102, 0, 0]]
    assert ids.tolist() == [[0, 0, 0, 0, 0, 1, 1, 1], [0, 0, 0, 1, 1, 1, 0, 0]]
    assert rows.dtype == ids.dtype == np.int32
    bare, _ = packer(np.arange(3, 10), add_start_value=False, add_end_value=False)
    assert bare.tolist() == [3, 4, 5, 6, 7, 8, 9, 0]


def test_shares_are_those_of_one_token_at_a_time():
    random = np.random.default_rng(0)
    for _ in range(200):
        lengths, room = random.integers(0, 9, random.integers(1, 5)), int(random.integers(0, 30))
        kept, left = [0] * len(lengths), room
        while left and any(k < n for k, n in zip(kept, lengths, strict=True)):
            for i, length in enumerate(lengths):
                if left and kept[i] < length:
                    kept[i], left = kept[i] + 1, left - 1
        assert round_robin(lengths.tolist(), room) == kept
        first = waterfall(lengths.tolist(), room)
        assert sum(first) == min(room, sum(lengths))
        assert all(k == n for k, n in zip(first, lengths, strict=True) if sum(first) < room)


@pytest.mark.parametrize("packer", [StartEndPacker(6, 1, [2, 3]), MultiSegmentPacker(9, 1, 2, [3])])
def test_a_packer_is_its_settings_and_goes_to_another_process(packer):
    rows = [[5, 6], [7, 8, 9, 10, 11, 12, 13]]
    for again in (
        type(packer).from_config(packer.get_config()),
        pickle.loads(pickle.dumps(packer)),
    ):
        assert again == packer
        np.testing.assert_array_equal(again(rows), packer(rows))


@pytest.mark.parametrize(
    ("call", "error", "names"),
    [
        (lambda: StartEndPacker(5, start_value=1.0), InputTypeError, "start_value is 1.0"),
        (lambda: StartEndPacker(0), InputError, "sequence_length is 0"),
        (lambda: StartEndPacker(2, 1, [2, 3])([4]), InputError, "no room for the 3"),
        (lambda: StartEndPacker(5)([[1], 2]), InputTypeError, "mixes rows and single"),
        (lambda: StartEndPacker(5)([1.5]), InputTypeError, "holds 1.5"),
        (lambda: StartEndPacker(5)("text"), InputTypeError, "inputs is 'text'"),
        (lambda: MultiSegmentPacker(5, 1, 2, truncate="half"), InputError, "truncate is 'half'"),
        (lambda: MultiSegmentPacker(5, 1, 2)(()), InputError, "no segments"),
        (lambda: MultiSegmentPacker(5, 1, 2)(([1], [[2]])), InputError, "mixes single rows"),
        (lambda: MultiSegmentPacker(5, 1, 2)(([[1]], [[2], [3]])), InputError, r"\[1, 2\] rows"),
        (lambda: MultiSegmentPacker(2, 1, 2)(([1], [2])), InputError, "no room for the 3"),
    ],
)
def test_what_cannot_be_packed_is_named(call, error, names):
    with pytest.raises(error, match=names) as caught:
        call()
    assert isinstance(caught.value, InarchError)
