"""Models that read samples of sound: convolutions, positions by one, and heads; XLNet's head."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from keras.ops import convert_to_numpy as to_numpy

from inarch.checkpoints.formats.weights import TensorInfo
from inarch.layers.frames import frame_count
from inarch.port.config_parts import Parts
from inarch.port.draft import Draft
from inarch.port.find_graph import find_graph
from inarch.port.find_heads import draft_heads
from inarch.port.find_sound_heads import sound_heads
from inarch.port.find_stem import with_stem
from inarch.port.folder import mounted, write_folder
from inarch.port.header import Header
from inarch.port.heads import HeadClass
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
    "num_conv_pos_embeddings": 5, "num_conv_pos_embedding_groups": 4, "vocab_size": 29,
    "project_size": 7, "last_dropout": 0.25, "use_sum": False,
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


FRAMES = {"lm_head.weight": (29, 16), "lm_head.bias": (29,)}
ROWS = {
    "project.weight": (7, 16), "project.bias": (7,), "classify.weight": (5, 7),
    "classify.bias": (5,),
}  # fmt: skip


def sound_classes(frames=FRAMES, rows=ROWS):
    def infos(shapes):
        return {name: TensorInfo("F32", shape) for name, shape in shapes.items()}

    summed = HeadClass("HereForSequenceClassification", infos({**rows, "shares": (3,)}))
    return [
        HeadClass("HereForCTC", infos(frames), fields=["vocab_size", "last_dropout"]),
        HeadClass(
            "HereForSequenceClassification", infos(rows), fields=["project_size", "use_sum"],
            switched={"use_sum": summed},
        ),
    ]  # fmt: skip


def heads_of(classes):
    evidence = SimpleNamespace(kind="encoder", prefix="here.", config=CONFIG, defaults=CONFIG)
    return sound_heads(classes, evidence)


def test_heads_of_frames_and_of_rows_are_found_by_their_tensors():
    (ctc, classifier), lines = heads_of(sound_classes())
    assert lines == []
    assert (ctc.name, ctc.dense) == ("ctc", (("lm_head", "logits", True),))
    assert (ctc.sizes, ctc.dropout) == (
        (("vocab_size", "vocabulary_size"),), ("last_dropout", 0.25, ""),
    )  # fmt: skip
    assert classifier.name == "audio_classifier"
    assert [name for *name, _ in classifier.dense] == [
        ["project", "projector"], ["classify", "logits"],
    ]  # fmt: skip
    assert classifier.sizes == (("project_size", "projection_dim"),)
    assert classifier.layer_sum == ("use_sum", "shares")
    assert classifier.without("use_sum", is_on=False).layer_sum == ()


@pytest.mark.parametrize(
    ("classes", "subject"),
    [
        (sound_classes(frames={**FRAMES, "norm.weight": (16,)}), "HereForCTC"),
        (sound_classes(frames={"lm_head.weight": (29, 16)}), "HereForCTC"),
        (sound_classes(rows={**ROWS, "project.weight": (6, 16)}), "HereForSequenceClassification"),
    ],
    ids=["a norm besides", "no bias", "widths that do not follow"],
)
def test_heads_of_sound_that_no_brick_is_are_left_out(classes, subject):
    heads, lines = heads_of(classes)
    assert [(line.kind, line.subject) for line in lines] == [("DECIDE", subject)]
    assert len(heads) == 1


def test_a_head_that_predicts_in_any_order_keeps_its_table_and_bias():
    tensors = {"any_loss.weight": TensorInfo("F32", (29, 16)),
        "any_loss.bias": TensorInfo("F32", (29,))}  # fmt: skip
    cls = HeadClass(
        "HereLMHeadModel", tensors, {"any_loss.weight": "here.words.weight"},
        inputs=["input_ids", "perm_mask"],
    )  # fmt: skip
    ((head,), _) = draft_heads([cls], "here.", CONFIG, "encoder")
    assert (head.name, head.table, head.bias, head.ties) == (
        "permuted_lm", "any_loss.weight", ("any_loss.bias",), True,
    )  # fmt: skip
    assert draft_heads([replace(cls, inputs=["input_ids"])], "here.", CONFIG, "encoder")[0] == []


@pytest.mark.parametrize("ordering", [False, True])
def test_a_drafted_model_of_sound_computes(ordering, tmp_path):
    graph = sound_graph().replace(ordering=ordering)
    heads, _ = heads_of(sound_classes())
    draft = Draft("drafted", "here", graph, tuple(heads), CONFIG, CONFIG, "here.", "HereModel")
    write_folder(tmp_path, "drafted", files_of(draft))
    with mounted(tmp_path, "drafted") as architecture:
        names = {name for entry in architecture.sources[0].weights for name in entry.theirs}
        model = architecture.backbone(**architecture.tiny, layer_outputs=True)
        samples = np.sin(np.arange(2 * 40, dtype="float32")).reshape(2, 40)
        mask = np.ones((2, 40), "int32")
        mask[1, 20:] = 0
        found = model({"input_values": samples, "padding_mask": mask})
        frames = frame_count(40, (5, 3), (3, 2))
        assert tuple(found["sequence_output"].shape) == (2, frames, 16)
        counts = to_numpy(found["frame_mask"]).sum(axis=1)
        assert [*counts] == [frames, frame_count(20, (5, 3), (3, 2))]
        assert tuple(model.ctc(found).shape) == (2, frames, 29)
        assert tuple(model.audio_classifier(found, 5).shape) == (2, 5)
        first, last = found["layer_outputs"][:, 0], found["layer_outputs"][:, -1]
        assert tuple(found["layer_outputs"].shape) == (2, 3, frames, 16)
        assert not np.allclose(to_numpy(first), to_numpy(last))
        own = architecture.sources[0].heads["audio_classifier"]
        assert ("shares",) in {entry.theirs for entry in own.weights}
    assert {"stem.convs.{i}.conv.weight", "places.conv.bias", "first_norm.weight"} <= names


@pytest.mark.slow
@pytest.mark.reference
def test_a_reference_settles_a_draft_of_sound(without):
    without("wav2vec2")
    made = draft_of("drafted", Header("here", {"model_type": "hubert"}, {}))
    settled = {one.subject for one in decisions_of(made) if one.kind == "SETTLED"}
    assert settled >= {
        "graph", "do_stable_layer_norm", "feat_extract_norm", "conv_bias", "feat_proj_layer_norm",
        "num_conv_pos_embeddings", "ctc", "audio_classifier", "use_weighted_layer_sum",
    }  # fmt: skip
