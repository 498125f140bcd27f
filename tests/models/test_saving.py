"""A save replaces a checkpoint, and enters a folder of other files only on request."""

import keras
import pytest

from inarch.errors import CheckpointFileError
from inarch.models.arguments import MutableArgument
from inarch.models.backbone import Backbone
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


def test_a_constructor_that_leaves_out_a_mutable_argument_is_named():
    class Forgetful(BertBackbone):
        threshold = MutableArgument()

    with pytest.raises(AttributeError, match="constructor of Forgetful hasn't set threshold"):
        Forgetful(9, 1, 1, 4, 4)


class AllDefaults(Backbone):
    """A backbone that can be made without an argument."""

    def __init__(self, hidden_dim: int = 4, **kwargs):
        token_ids = keras.Input((None,), dtype="int32", name="token_ids")
        outputs = keras.layers.Embedding(5, hidden_dim, name="token_embedding")(token_ids)
        super().__init__(inputs={"token_ids": token_ids}, outputs=outputs, **kwargs)


def test_a_clone_is_of_its_class_where_every_argument_has_a_default():
    for model in (AllDefaults(), AllDefaults(6)):
        clone = keras.models.clone_model(model)
        assert type(clone) is AllDefaults
        assert clone.arguments == model.arguments
