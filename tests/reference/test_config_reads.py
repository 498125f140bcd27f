"""The recorder of config reads, on transformers' own code."""

from pathlib import Path

import pytest

from inarch.verify import transformers_reference
from inarch.verify.config_reads import Recorder

pytestmark = [pytest.mark.reference, pytest.mark.turns(3)]


@pytest.fixture(scope="module")
def transformers():
    return transformers_reference.libraries()[1]


def deberta(transformers):
    return transformers.DebertaV2Config(
        vocab_size=7, hidden_size=4, num_hidden_layers=1, num_attention_heads=1,
        intermediate_size=4, max_position_embeddings=5,
    )  # fmt: skip


def test_reads_are_recorded_by_reader_and_absent_fields_have_their_defaults(transformers):
    config = deberta(transformers)
    recorder = Recorder(type(config), Path(transformers.__file__).parent)
    with recorder():
        transformers.DebertaV2Model(config)
        config.bos_token_id  # noqa: B018, read by no code of transformers
    assert {"hidden_size", "pos_att_type", "conv_kernel_size"} <= recorder.modeling
    assert "tie_word_embeddings" in recorder.elsewhere - recorder.modeling
    assert recorder.absent["conv_kernel_size"] == 0
    assert not {"bos_token_id", "to_dict", "attribute_map"} & (
        recorder.modeling | recorder.elsewhere
    )


def test_a_field_counts_under_the_name_that_is_stored(transformers):
    config = transformers.DistilBertConfig(vocab_size=7, dim=4, n_layers=1, n_heads=1, hidden_dim=4)
    recorder = Recorder(type(config), Path(transformers.__file__).parent)
    with recorder():
        transformers.DistilBertModel(config)
    assert "dim" in recorder.modeling
    assert "hidden_size" not in recorder.modeling


def test_nothing_is_recorded_afterwards(transformers):
    config = deberta(transformers)
    before = dict(vars(type(config)))
    recorder = Recorder(type(config), Path(transformers.__file__).parent)
    with pytest.raises(RuntimeError), recorder():
        raise RuntimeError
    assert dict(vars(type(config))) == before
