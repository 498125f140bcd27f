"""CRC-32C is that of its standard, however many bytes there are, and notices every change."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inarch.checkpoints.formats import crc32c as module
from inarch.checkpoints.formats.crc32c import crc32c, masked


def by_division(data):
    """Compute it by division, bit for bit."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


@pytest.mark.parametrize(
    ("data", "checksum"),
    [
        (b"123456789", 0xE3069283),
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
    ],
)
def test_the_checksum_is_that_of_its_standard(data, checksum):
    assert crc32c(data) == checksum  # RFC 3720, appendix B.4


@given(st.integers(0, 2500), st.integers(0, 2**32 - 1))
def test_bytes_of_any_number_have_the_checksum_of_long_division(size, seed):
    data = np.random.default_rng(seed).integers(0, 256, size).astype(np.uint8)
    assert crc32c(data) == crc32c(data.tobytes()) == by_division(data.tobytes())


@pytest.mark.parametrize("part", [4, 300, 4096, 1 << 20])
def test_the_parts_in_which_bytes_are_folded_change_nothing(part, monkeypatch):
    data = np.random.default_rng(0).integers(0, 256, 20_000).astype(np.uint8)
    expected = by_division(data.tobytes())
    monkeypatch.setattr(module, "PART", part)
    monkeypatch.setattr(module, "COARSEST", 4)
    assert crc32c(data) == expected


@given(st.integers(0, 299_999), st.integers(0, 7))
def test_a_flipped_bit_among_many_is_noticed(place, bit):
    data = np.zeros(300_000, np.uint8)
    before = crc32c(data)
    data[place] ^= 1 << bit
    assert crc32c(data) != before


def test_a_stored_checksum_is_not_the_bare_one():
    assert masked(crc32c(b"foo")) != crc32c(b"foo")
