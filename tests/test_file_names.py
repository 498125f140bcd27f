"""Every file that is read from a checkpoint's folder is fetched from a hub too."""

from fnmatch import fnmatchcase

import pytest

from inarch import file_names
from inarch.text.families import file_sets

PATTERNS = [*file_names.OTHER_PATTERNS, *(p for line in file_names.WEIGHT_PATTERNS for p in line)]
READ = [
    *(name for names in file_sets() for name in names),
    *file_names.WEIGHT_FILES, *file_names.SENTENCE_FILES, *file_names.SIDECAR_FILES,
    "1_Pooling/config.json", "model-00001-of-00002.safetensors",
]  # fmt: skip


@pytest.mark.parametrize("name", sorted(set(READ)))
def test_a_file_that_is_read_is_one_that_is_fetched(name):
    assert any(fnmatchcase(name, pattern) for pattern in PATTERNS)


def test_files_that_make_a_tokenizer_are_among_its_files():
    assert {name for names in file_sets() for name in names} <= set(file_names.TOKENIZER_FILES)
