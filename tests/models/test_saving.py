"""A save replaces a checkpoint, and enters a folder of other files only on request."""

import pytest

from inarch.errors import CheckpointFileError
from inarch.models.bert.backbone import BertBackbone
from inarch.models.saving import holds_author_format


@pytest.mark.parametrize(
    "names", [["run.pt"], ["run.pt", "config.json"], ["model.bin", "config.json"],
              ["bert_config.json", "config.json"]],
)  # fmt: skip
def test_a_folder_of_another_program_is_no_checkpoint_of_an_author(names, tmp_path):
    for name in names:
        (tmp_path / name).write_text('{"lr": 1}')
    assert not holds_author_format(tmp_path)
    with pytest.raises(CheckpointFileError, match="holds no checkpoint; choose another"):
        BertBackbone(20, 1, 2, 16, 24).save_to_preset(tmp_path)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == dict.fromkeys(
        names, '{"lr": 1}'
    )


def test_one_saves_beside_what_only_an_author_names_so(tmp_path):
    (tmp_path / "bert_config.json").write_text("{}")
    assert holds_author_format(tmp_path)
    BertBackbone(20, 1, 2, 16, 24).save_to_preset(tmp_path)
    assert (tmp_path / "bert_config.json").read_text() == "{}"
