"""Damaged and hostile files of every format end in our errors, in bounded time and memory."""

import pytest

from inarch.audio import load_audio
from inarch.errors import InarchError
from inarch.models.loading import Checkpoint
from inarch.text import Tokenizer

from . import campaign, seeds
from .driver import Driver


@pytest.fixture(scope="module")
def every():
    return seeds.every()


@pytest.fixture(scope="module")
def driver(every):
    made = Driver()
    for reader, files in every.values():
        made.problem(reader, files, watched=False)
    yield made
    made.close()


def test_every_seed_ends_well_or_in_an_error_of_ours(every, driver):
    found = {name: driver.problem(*seed) for name, seed in every.items()}
    assert {name: problem for name, problem in found.items() if problem} == {}


def test_the_driver_finds_what_it_looks_for(driver, monkeypatch):
    from . import driver as driver_module

    def opens(folder):
        open("/etc/hostname").close()

    def fails(folder):
        raise KeyError("x")

    def refuses(folder):
        raise driver_module.InarchError("fine")

    for reader, message in ((opens, "opens /etc/hostname"), (fails, "KeyError"), (refuses, None)):
        monkeypatch.setitem(driver_module.READERS, "reader", reader)
        problem = driver.problem("reader", {})
        assert message is problem is None or message in problem


@pytest.mark.reference
def test_a_minute_of_mutated_files_finds_nothing():
    problems = [(n, name, p) for _, n, name, p in campaign.run(10**6, seconds=60) if p]
    assert problems == []


READS = {"tokenizer": Tokenizer.from_folder, "audio": load_audio, "checkpoint": Checkpoint}


@pytest.mark.parametrize("name", ["x" * 300, "a/" * 3000, "a\0b", "\ud800", "\x1b[2J", ""])
@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_a_name_that_nothing_can_have_is_refused(read, name, monkeypatch):
    monkeypatch.setattr(
        "inarch.checkpoints.io.hub._fetch", lambda *_: pytest.fail("requests from the hub")
    )
    with pytest.raises(InarchError) as error:
        read(name)
    assert len(str(error.value).encode()) < 2048
