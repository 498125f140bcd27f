"""Errors for want of memory are told from others, on every backend."""

import pytest

from inarch.runtime.memory import is_out_of_memory


@pytest.mark.parametrize(
    ("error", "is_for_memory"),
    [
        (MemoryError(), True),
        (RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), True),
        (ValueError("RESOURCE_EXHAUSTED: Out of memory allocating 8 bytes"), True),
        (ValueError("OOM when allocating tensor with shape[9,9]"), True),
        (ValueError("the memory of the model's cache has 3 axes"), False),
        (TypeError("unsupported operand"), False),
    ],
)
def test_an_error_for_want_of_memory_is_known_by_its_type_or_its_message(error, is_for_memory):
    assert is_out_of_memory(error) is is_for_memory
