"""Laws of `TextLines`: every line, in order, again and again, and never the whole file at once."""

import tracemalloc

import numpy as np
import pytest

from inarch.data import TextLines
from inarch.data.text_lines import LONGEST_LINE, shuffled
from inarch.errors import InputError, InputTypeError


def test_lines_of_files_come_in_order_without_blank_ones(tmp_path):
    (tmp_path / "a.txt").write_bytes("\ufeffone\r\n\n  two é\n \t\nthree".encode())
    (tmp_path / "b.txt").write_text("four\n")
    lines = TextLines([tmp_path / "a.txt", str(tmp_path / "b.txt")])
    assert list(lines) == list(lines) == ["one", "  two é", "three", "four"]
    assert list(TextLines(tmp_path / "b.txt")) == ["four"]


def test_texts_from_elsewhere_are_lines():
    assert list(TextLines(lambda: iter(["one", " ", "two"]))) == ["one", "two"]
    assert list(TextLines({"one": 1, "two": 2}.keys())) == ["one", "two"]


def test_a_file_is_never_in_memory_as_a_whole(tmp_path):
    path = tmp_path / "large.txt"
    with path.open("w") as file:
        for i in range(20_000):
            file.write(f"line {i} of a file that is larger than what it takes to read it\n")
        file.write("long " * 160_000)  # a line of 800 kB, which is read in parts
    tracemalloc.start()
    lengths = [len(line) for line in shuffled(TextLines(path), 3, np.random.default_rng(0))]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(lengths) == 20_000 + 8
    assert max(lengths) == LONGEST_LINE
    assert peak < path.stat().st_size / 2


def test_a_buffer_shuffles_and_loses_nothing():
    rng = np.random.default_rng(0)
    drawn = list(shuffled(range(1000), 50, rng))
    assert sorted(drawn) == list(range(1000))
    assert drawn != list(range(1000))
    assert max(i - item for i, item in enumerate(drawn)) > 100
    assert min(i - item for i, item in enumerate(drawn)) >= -50
    assert list(shuffled(range(5), 1, rng)) == [0, 1, 2, 3, 4]
    whole = [list(shuffled(range(3), 10, rng)) for _ in range(60)]
    assert len({*map(tuple, whole)}) == 6


@pytest.mark.parametrize(
    ("source", "options", "error", "names"),
    [
        ("absent.txt", {}, InputError, "'absent.txt' is no file"),
        (["absent.txt"], {}, InputError, "is no file"),
        (iter(["a"]), {}, InputError, "only once"),
        (3, {}, InputTypeError, "source is 3"),
        (list, {"pack": "yes"}, InputTypeError, "pack is 'yes'"),
        (list, {"shuffle_buffer": 0}, InputError, "shuffle_buffer is 0"),
    ],
)
def test_what_has_no_lines_is_named(source, options, error, names):
    with pytest.raises(error, match=names):
        TextLines(source, **options)


def test_a_file_that_is_no_text_is_named(tmp_path):
    path = tmp_path / "latin.txt"
    path.write_bytes("é".encode("latin-1"))
    with pytest.raises(InputError, match=r"latin.txt isn't UTF-8 text: byte 0xe9"):
        list(TextLines(path))
    with pytest.raises(InputTypeError, match="text 1 is 3"):
        list(TextLines(lambda: ["a", 3]))
