"""DeBERTa against transformers: buckets, long sequences, and files as they are published."""

import json

import keras
import numpy as np
import pytest

from inarch.errors import WeightMapError
from inarch.layers.buckets import distance_rows
from inarch.models.backbone import Backbone
from inarch.tasks import MaskedLM

from .conftest import noise_ratio, tensors, torch

pytestmark = [pytest.mark.reference, pytest.mark.turns(3)]


@pytest.mark.parametrize("bucket_size", [4, 5, 8, 18, 32, 50, 256, 320])
@pytest.mark.parametrize("longest", [7, 13, 16, 24, 46, 127, 128, 512, 514])
def test_every_distance_has_the_references_row(bucket_size, longest):
    from transformers.models.deberta_v2.modeling_deberta_v2 import make_log_bucket_position

    if longest - 1 <= bucket_size // 2:
        pytest.skip("no logarithmic buckets")
    rows = distance_rows(bucket_size, longest)
    farthest = len(rows) // 2
    distances = torch.arange(-farthest, farthest + 1)
    theirs = make_log_bucket_position(distances, bucket_size, longest).to(torch.long) + bucket_size
    np.testing.assert_array_equal(rows, theirs.clamp(0, 2 * bucket_size - 1).numpy())
    far = torch.tensor([-10 * farthest, 10 * farthest])
    beyond = make_log_bucket_position(far, bucket_size, longest)
    ends = (beyond + bucket_size).clamp(0, 2 * bucket_size - 1).numpy()
    np.testing.assert_array_equal(rows[[0, -1]], ends)


@pytest.mark.parametrize(
    "changes",
    [{}, {"position_buckets": 64}, {"position_buckets": 512}, {"position_buckets": -1},
     {"share_att_key": False, "conv_kernel_size": 3}],
)  # fmt: skip
@pytest.mark.parametrize("length", [129, 300])
def test_long_sequences_are_the_references(changes, length, write):
    """Most of the table is reached, or little of it."""
    changes = {"position_buckets": 32, "max_position_embeddings": 256} | changes
    written = write("DebertaV2Model", **changes)
    random = np.random.default_rng(0)
    mask = np.ones((2, length), "int32")
    mask[0, : length // 3] = 0  # padding in front
    mask[1, -5:] = 0
    inputs = {
        "token_ids": random.integers(1, 61, mask.shape).astype("int32") * mask,
        "padding_mask": mask,
    }
    single, double = (
        written.outputs(inputs, "last_hidden_state", double) for double in (False, True)
    )
    outputs = Backbone.from_preset(written.folder)(inputs)["sequence_output"]
    ours = keras.ops.convert_to_numpy(outputs).astype("float64")
    real = mask.astype(bool)
    assert noise_ratio(ours[real], single[real], double[real]) <= 4


@pytest.fixture
def published(write):
    """A folder as the hub has it: a torch file with what pretraining left, and an old config."""
    written = write("DebertaV2Model")
    state = {f"deberta.{name}": t for name, t in written.model.state_dict().items()}
    state["deberta.embeddings.position_embeddings.weight"] = torch.randn(32, 24)
    for head, width in {"lm_predictions.lm_head": 24, "mask_predictions": 24}.items():
        state[f"{head}.dense.weight"] = torch.randn(width, width)
        for name in ("dense.bias", "LayerNorm.weight", "LayerNorm.bias"):
            state[f"{head}.{name}"] = torch.randn(width)
    state["lm_predictions.lm_head.bias"] = torch.randn(61)
    state["mask_predictions.classifier.weight"] = torch.randn(1, 24)
    state["mask_predictions.classifier.bias"] = torch.randn(1)
    torch.save(state, written.folder / "pytorch_model.bin")
    (written.folder / "model.safetensors").unlink()
    path = written.folder / "config.json"
    config = json.loads(path.read_text())
    for late in ("legacy", "architectures", "pooler_hidden_size"):
        config.pop(late, None)
    path.write_text(json.dumps(config))
    return written.folder, state


def test_a_published_file_loads_and_nothing_of_it_is_lost(published, tmp_path):
    folder, state = published
    Backbone.from_preset(folder).save_to_preset(tmp_path / "out")
    stored = {n: raw for n, (_, _, raw) in tensors(tmp_path / "out").items()}
    assert stored == {name: tensor.numpy().tobytes() for name, tensor in state.items()}


def test_its_masked_lm_head_is_read_where_the_config_declares_it_and_only_there(
    published, tmp_path
):
    folder, state = published
    with pytest.warns(UserWarning, match="masked_lm_head/transform/kernel"):
        assert MaskedLM.from_preset(folder, preprocessor=None).fresh_weights
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"legacy": False}))
    model = MaskedLM.from_preset(folder, preprocessor=None)
    assert model.fresh_weights == ()
    bias = model.get_layer("masked_lm_head").output_bias
    np.testing.assert_array_equal(
        keras.ops.convert_to_numpy(bias), state["lm_predictions.lm_head.bias"]
    )
    model.save_to_preset(tmp_path / "out")
    assert tensors(tmp_path / "out").keys() == state.keys()


def test_a_layer_too_many_is_refused_and_named(write):
    folder = write("DebertaV2Model").folder
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"num_hidden_layers": 1}))
    with pytest.raises(WeightMapError, match=r"unknown in the file: encoder\.layer\.1\."):
        Backbone.from_preset(folder)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"conv_kernel_size": 4}, "kernel_size=4"),
        ({"conv_kernel_size": 3, "conv_groups": 5}, "groups=5"),
        ({"position_buckets": 2}, "bucket_size=2"),
        ({"position_buckets": 18, "max_relative_positions": 10}, "bucket_size=18"),
        ({"num_attention_heads": 5}, "num_heads=5"),
    ],
)
def test_sizes_that_make_no_model_are_refused_by_name(changes, match, write):
    folder = write("DebertaV2Model").folder
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(ValueError, match=match):
        Backbone.from_preset(folder)
