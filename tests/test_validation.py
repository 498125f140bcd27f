"""Checks of arguments: what each accepts, and the error that names the rest."""

import numpy as np
import pytest

from inarch.errors import InputError
from inarch.validation import check_count, check_rate


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
