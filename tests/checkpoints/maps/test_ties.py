"""Ties of output and input embeddings, where a config doesn't say whether they are one."""

import pytest

from inarch.checkpoints.maps.source import Source
from inarch.errors import ConfigError


@pytest.mark.parametrize("default", [True, False])
def test_a_format_has_a_default_of_its_own(default):
    source = Source(
        model_type="toy", architecture="Toy", prefix="", config=[], weights=[],
        tie_word_embeddings=default,
    )  # fmt: skip
    assert source.ties_embeddings({}) is default
    for stated in (True, False):
        assert source.ties_embeddings({"tie_word_embeddings": stated}) is stated
    with pytest.raises(ConfigError, match="must be true or false"):
        source.ties_embeddings({"tie_word_embeddings": None})
