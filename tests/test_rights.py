"""New files have the rights that any new file has there."""

import os

import pytest

from inarch.cli.output import write_text
from inarch.rights import new_file_mode, new_folder_mode

pytestmark = pytest.mark.skipif(os.name == "nt", reason="rights of POSIX")


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_rights_are_those_of_what_is_made_there_and_no_thread_sees_others(
    mask, tmp_path, monkeypatch
):
    before = os.umask(mask)
    try:
        monkeypatch.setattr(os, "umask", lambda mask: pytest.fail("it is the whole process's"))
        assert new_folder_mode(tmp_path) == 0o777 & ~mask
        assert new_file_mode(tmp_path) == 0o666 & ~mask
        assert not list(tmp_path.iterdir())
        write_text("x", tmp_path / "a.txt")
        assert (tmp_path / "a.txt").stat().st_mode & 0o777 == 0o666 & ~mask
    finally:
        monkeypatch.undo()
        os.umask(before)
