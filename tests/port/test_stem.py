"""Models that read samples of sound: a stem of convolutions, and positions by a convolution."""

from types import SimpleNamespace

import numpy as np
import pytest

from inarch.checkpoints.formats.weights import TensorInfo
from inarch.layers.frames import frame_count
from inarch.port.config_parts import Parts
from inarch.port.draft import Draft
from inarch.port.find_graph import find_graph
from inarch.port.find_stem import with_stem
from inarch.port.folder import mounted, write_folder
from inarch.port.header import Header
from inarch.port.modules import group_modules
from inarch.port.new import draft_of
from inarch.port.patterns import collapse_names
from inarch.port.roles import recognize
from inarch.port.write_files import decisions_of, files_of

CONFIG = {
    "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 20,
    "hidden_act": "gelu", "layer_norm_eps": 1e-5, "conv_dim": [12, 10], "conv_kernel": [5, 3],
    "conv_stride": [3, 2], "conv_bias": False, "feat_extract_norm": "group",
    "feat_extract_activation": "gelu", "feat_proj_dropout": 0.0, "has_norm": True,
    "num_conv_pos_embeddings": 5, "num_conv_pos_embedding_groups": 4,
}  # fmt: skip
OUTSIDE = {
    "stem.convs.0.conv.weight": (12, 1, 5), "stem.convs.1.conv.weight": (10, 12, 3),
    "stem.convs.0.norm.weight": (12,), "stem.convs.0.norm.bias": (12,),
    "project.norm.weight": (10,), "project.norm.bias": (10,),
    "project.dense.weight": (16, 10), "project.dense.bias": (16,),
    "places.conv.parametrizations.weight.original0": (1, 1, 5),
    "places.conv.parametrizations.weight.original1": (16, 4, 5), "places.conv.bias": (16,),
    "first_norm.weight": (16,), "first_norm.bias": (16,),
}  # fmt: skip
LAYER = {
    **{f"attention.{n}_proj.weight": (16, 16) for n in ("q", "k", "v", "out")},
    **{f"attention.{n}_proj.bias": (16,) for n in ("q", "k", "v", "out")},
    "norm.weight": (16,), "norm.bias": (16,),
    "up_proj.weight": (20, 16), "up_proj.bias": (20,),
    "down_proj.weight": (16, 20), "down_proj.bias": (16,),
    "last_norm.weight": (16,), "last_norm.bias": (16,),
}  # fmt: skip
CALLS = [
    "stem.convs.{i}.conv", "stem.convs.{i}.norm", "project.norm", "project.dense", "places.conv",
    "first_norm", *(f"layers.{{i}}.attention.{n}_proj" for n in ("q", "k", "v", "out")),
    "layers.{i}.norm", "layers.{i}.up_proj", "layers.{i}.down_proj", "layers.{i}.last_norm",
]  # fmt: skip


def sound_graph(config=CONFIG, **more):
    shapes = {**OUTSIDE, **{f"layers.{i}.{n}": s for i in (0, 1) for n, s in LAYER.items()}, **more}
    tensors = {name: TensorInfo("F32", shape) for name, shape in shapes.items()}
    modules, others = group_modules(recognize(collapse_names(tensors, config), config))
    graph = find_graph(modules, config, False, CALLS, {}, others)
    parts = Parts(conditions={"project.norm.weight": {"has_norm": True}})
    return with_stem(graph, SimpleNamespace(defaults=config, parts=parts), modules, others)


def test_convolutions_of_samples_and_their_positions_are_bricks():
    graph = sound_graph()
    assert (graph.stem, graph.positions, graph.missing) == ("stem.convs.{i}", "convolution", ())
    found = {slot.module.name: slot.ours[0] for slot in graph.slots if "layers" not in
             slot.module.name}  # fmt: skip
    start = "places.conv"
    assert found == {
        "stem.convs.{i}.conv": "stem", "stem.convs.0.norm": "stem_norm",
        f"{start}.parametrizations.weight.original0": "position_embedding",
        f"{start}.parametrizations.weight.original1": "position_embedding",
        f"{start}.bias": "position_embedding", "project.norm": "projection_norm",
        "project.dense": "projection", "first_norm": "encoder_norm",
    }  # fmt: skip
    assert graph.slot("projection_norm").when == ("has_norm",)


@pytest.mark.parametrize(
    ("config", "more"),
    [
        (CONFIG, {"stem.gain": (7, 3)}),
        ({**CONFIG, "feat_extract_norm": "batch"}, {}),
        ({name: value for name, value in CONFIG.items() if name != "conv_stride"}, {}),
    ],
    ids=["a tensor without a place", "another norm", "a field that is absent"],
)
def test_what_the_brick_does_not_compute_stays_a_missing_layer(config, more):
    graph = sound_graph(config, **more)
    assert [one.part for one in graph.missing] == ["embeddings"]
    assert not graph.stem


@pytest.mark.parametrize("ordering", [False, True])
def test_a_drafted_model_of_sound_computes(ordering, tmp_path):
    graph = sound_graph().replace(ordering=ordering)
    draft = Draft("drafted", "here", graph, (), CONFIG, CONFIG, "", "HereModel")
    write_folder(tmp_path, "drafted", files_of(draft))
    with mounted(tmp_path, "drafted") as architecture:
        names = {name for entry in architecture.sources[0].weights for name in entry.theirs}
        model = architecture.backbone(**architecture.tiny)
        samples = np.sin(np.arange(2 * 40, dtype="float32")).reshape(2, 40)
        mask = np.ones((2, 40), "int32")
        mask[1, 20:] = 0
        found = model({"input_values": samples, "padding_mask": mask})
        frames = frame_count(40, (5, 3), (3, 2))
        assert tuple(found["sequence_output"].shape) == (2, frames, 16)
        counts = np.asarray(found["frame_mask"]).sum(axis=1)
        assert [*counts] == [frames, frame_count(20, (5, 3), (3, 2))]
    assert {"stem.convs.{i}.conv.weight", "places.conv.bias", "first_norm.weight"} <= names


@pytest.mark.slow
@pytest.mark.reference
def test_a_reference_settles_a_draft_of_sound(without):
    without("wav2vec2")
    made = draft_of("drafted", Header("here", {"model_type": "hubert"}, {}))
    settled = {one.subject for one in decisions_of(made) if one.kind == "SETTLED"}
    assert settled >= {
        "graph", "do_stable_layer_norm", "feat_extract_norm", "conv_bias", "feat_proj_layer_norm",
        "num_conv_pos_embeddings",
    }  # fmt: skip
