"""Laws of `MaskedLMMaskGenerator`: what is hidden, how often, and what is told of it."""

import pickle

import numpy as np
import pytest

from inarch.data import MaskedLMMaskGenerator
from inarch.errors import InputError, InputTypeError

SIZE, MASK = 13, 1


def generator(rate=1.0, length=4, **settings):
    settings = {"mask_token_rate": 1.0, "random_token_rate": 0.0} | settings
    return MaskedLMMaskGenerator(SIZE, rate, MASK, length, **settings)


def test_rows_of_several_lengths_are_lists_and_the_results_are_padded():
    out = generator()([[5, 3, 2], [1, 2, 3, 4]])
    assert [row.tolist() for row in out["token_ids"]] == [[1, 1, 1], [1, 1, 1, 1]]
    assert out["mask_positions"].tolist() == [[0, 1, 2, 0], [0, 1, 2, 3]]
    assert out["mask_ids"].tolist() == [[5, 3, 2, 0], [1, 2, 3, 4]]
    assert out["mask_weights"].tolist() == [[1, 1, 1, 0], [1, 1, 1, 1]]
    assert {name: value.dtype.name for name, value in out.items() if name != "token_ids"} == {
        "mask_positions": "int32", "mask_ids": "int32", "mask_weights": "float32",
    }  # fmt: skip


@pytest.mark.parametrize("kind", [list, np.array])
def test_one_row_in_is_one_row_out(kind):
    out = generator()(kind([5, 3, 2, 4]))
    assert out["token_ids"].tolist() == [1, 1, 1, 1]
    assert out["mask_positions"].tolist() == [0, 1, 2, 3]
    assert out["mask_ids"].tolist() == [5, 3, 2, 4]
    several = generator()(kind([[5, 3, 2, 4], [1, 2, 3, 4]]))
    assert several["token_ids"].tolist() == [[1] * 4] * 2


def test_without_a_length_there_is_one_array_for_each_row():
    out = generator(length=None)([[5, 0, 2], [0, 0, 0]])
    assert [row.tolist() for row in out["mask_positions"]] == [[0, 2], []]
    assert [row.tolist() for row in out["mask_ids"]] == [[5, 2], []]


def test_what_cannot_be_selected_stays():
    out = generator(unselectable_token_ids=[7, 8])([[7, 8, 0]])
    assert out["token_ids"].tolist() == [[7, 8, MASK]]
    assert out["mask_weights"].sum() == 1
    assert generator(length=0)([[5, 6]])["mask_positions"].shape == (1, 0)


def test_shares_are_those_that_are_set():
    out = MaskedLMMaskGenerator(10_000, 0.3, MASK, mask_token_rate=0.6, random_token_rate=0.3)(
        np.full((200, 200), 5), rng=np.random.default_rng(0)
    )
    selected = np.concatenate([
        ids[places] for ids, places in zip(out["token_ids"], out["mask_positions"], strict=True)
    ])  # fmt: skip
    assert len(selected) / 40_000 == pytest.approx(0.3, abs=0.01)
    assert (selected == MASK).mean() == pytest.approx(0.6, abs=0.02)
    assert (selected == 5).mean() == pytest.approx(0.1, abs=0.02)
    others = selected[(selected != MASK) & (selected != 5)]
    assert others.min() < 500
    assert others.max() > 9_500


def test_a_limit_takes_back_at_random_what_is_above_it():
    rng = np.random.default_rng(0)
    out = generator(length=3)(np.full((500, 10), 5), rng=rng)
    assert (out["mask_weights"] == 1).all()
    counts = np.bincount(out["mask_positions"].ravel(), minlength=10)
    assert counts.min() > 110  # 150 each
    assert (np.diff(out["mask_positions"]) > 0).all()


WORDS = [None, 0, 0, 1, 2, 2, 2, 0, None]  # the last word is the first one of a second text


def test_words_are_hidden_whole_and_as_often_as_tokens():
    ids = np.tile([2, 5, 6, 7, 8, 9, 10, 11, 3], (4000, 1))
    out = generator(0.25, length=None, unselectable_token_ids=None)(
        ids, [WORDS] * len(ids), np.random.default_rng(0)
    )
    hidden = out["token_ids"] == MASK
    assert not hidden[:, [0, 8]].any()
    for word in ([1, 2], [3], [4, 5, 6], [7]):
        assert (hidden[:, word].all(1) == hidden[:, word].any(1)).all()
        assert hidden[:, word[0]].mean() == pytest.approx(0.25, abs=0.025)
    assert np.corrcoef(hidden[:, 1], hidden[:, 7])[0, 1] == pytest.approx(0, abs=0.06)


def test_a_limit_cuts_no_word():
    ids = np.tile([2, 5, 6, 7, 8, 9, 10, 11, 3], (200, 1))
    out = generator(1.0, length=3)(ids, [WORDS] * len(ids), np.random.default_rng(0))
    hidden = out["token_ids"] == MASK
    assert (hidden.sum(1) == 3).mean() > 0.6
    for word in ([1, 2], [4, 5, 6]):
        assert (hidden[:, word].all(1) == hidden[:, word].any(1)).all()
        assert hidden[:, word].any()


def test_the_pieces_of_a_word_are_replaced_each_on_its_own():
    masker = MaskedLMMaskGenerator(SIZE, 1.0, MASK, mask_token_rate=0.5, random_token_rate=0.0)
    out = masker(np.full((2000, 2), 5), np.zeros((2000, 2), int), np.random.default_rng(0))
    masked = out["token_ids"] == MASK
    assert masked.mean() == pytest.approx(0.5, abs=0.05)
    assert (masked[:, 0] != masked[:, 1]).mean() == pytest.approx(0.5, abs=0.05)


def test_the_draw_follows_the_generator_or_numpys_seed():
    rows = np.arange(1, 11)[None].repeat(20, 0)
    masker = MaskedLMMaskGenerator(SIZE, 0.5, MASK, 5)

    def drawn(**given):
        return masker(rows, **given)["token_ids"].tolist()

    assert drawn(rng=np.random.default_rng(3)) == drawn(rng=np.random.default_rng(3))
    np.random.seed(3)
    first, second = drawn(), drawn()
    assert first != second
    np.random.seed(3)
    assert drawn() == first


def test_settings_make_an_equal_one_here_and_in_another_process():
    masker = generator(0.5, unselectable_token_ids=[3, 4])
    assert type(masker).from_config(masker.get_config()) == masker
    assert pickle.loads(pickle.dumps(masker)) == masker
    assert masker.get_config()["unselectable_token_ids"] == [3, 4]


@pytest.mark.parametrize(
    ("call", "error", "names"),
    [
        (lambda: MaskedLMMaskGenerator(SIZE, 0.5, SIZE), InputError, "mask_token_id is 13"),
        (lambda: MaskedLMMaskGenerator(SIZE, 1.5, 1), InputError, "mask_selection_rate is 1.5"),
        (
            lambda: MaskedLMMaskGenerator(SIZE, 0.5, 1, mask_token_rate=0.95),
            InputError, "at most 1 together",
        ),
        (lambda: generator()(["a"]), InputTypeError, "give token ids"),
        (lambda: generator()([[1, 2]], [[0]]), InputError, r"rows of \[1\] and inputs of \[2\]"),
    ],
)  # fmt: skip
def test_what_cannot_be_masked_is_named(call, error, names):
    with pytest.raises(error, match=names):
        call()
