import pytest

from .tiny_whisper import shared_task


@pytest.fixture(scope="session")
def task():
    return shared_task()
