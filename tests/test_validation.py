"""Checks of arguments: what each accepts, and the error that names the rest."""

import numpy as np
import pytest

from inarch.errors import InputError
from inarch.validation import check_count, check_rate, listed


@pytest.mark.parametrize("value", [0, 1, 0.5, np.float32(0.25)])
def test_a_rate_is_a_number_from_0_to_1(value):
    check_rate("dropout", value)


@pytest.mark.parametrize("value", [True, False, -0.1, 1.5, float("nan"), "0.5", None])
def test_anything_else_is_no_rate(value):
    with pytest.raises(InputError, match="dropout is"):
        check_rate("dropout", value)


@pytest.mark.parametrize("value", [True, 0, 1.0, "3", None])
def test_a_bool_or_a_fraction_is_no_count(value):
    with pytest.raises(InputError, match="batch_size is"):
        check_count("batch_size", value)


def test_names_of_files_are_listed_in_one_short_line_whatever_they_are():
    text = listed(["a.weight", "x" * 10_000, "b\n\x1b[31m", "c"], 3)
    assert text.startswith("a.weight, xxx")
    assert "10,000 characters" in text
    assert len(text) < 600
    assert text.endswith("b\\n\\x1b[31m and 1 more")
