"""Each command does what the library does, and prints it for readers and for programs."""

import json
import shutil

import numpy as np
import pytest

from inarch import __version__
from inarch.files import sha256
from inarch.models import registry
from inarch.tasks import MaskedLM, TextClassifier, TextEmbedder, TokenClassifier

pytestmark = pytest.mark.turns(2)

TEXTS = ["the cat sat on the mat .", "a dog ran !", ""]


def test_the_version_is_the_packages(run):
    assert run("--version").stdout == f"inarch {__version__}\n"


def test_help_names_every_command(run):
    text = run("--help").stdout
    for command in (
        "demo",
        "embed",
        "fill-mask",
        "classify",
        "tag",
        "info",
        "prove",
        "export",
        "presets",
    ):
        assert command in text


def test_embed_gives_the_embedders_vectors(run_json, checkpoints):
    rows = run_json("embed", checkpoints["embedder"], *TEXTS)
    expected = TextEmbedder.from_preset(checkpoints["embedder"]).embed(TEXTS)
    assert [row["text"] for row in rows] == TEXTS
    np.testing.assert_array_equal(np.array([r["vector"] for r in rows], np.float32), expected)


def test_embed_writes_vectors_of_the_length_and_precision_that_are_asked_for(
    run, run_json, checkpoints, tmp_path
):
    options = ("--truncate-dim", "8", "--precision", "ubinary")
    rows = run_json("embed", checkpoints["embedder"], *TEXTS, *options)
    embedder = TextEmbedder.from_preset(checkpoints["embedder"])
    expected = embedder.embed(TEXTS, truncate_dim=8, precision="ubinary")
    np.testing.assert_array_equal(np.array([row["vector"] for row in rows]), expected)
    path = tmp_path / "vectors.npy"
    run("embed", checkpoints["embedder"], *TEXTS, *options, "--output", path)
    written = np.load(path)
    assert written.dtype == np.uint8
    np.testing.assert_array_equal(written, expected)


def test_embed_shows_a_line_for_each_text(run, checkpoints):
    lines = run("embed", checkpoints["embedder"], *TEXTS[:2]).stdout.splitlines()
    assert len(lines) == 3
    assert lines[1].startswith(TEXTS[0])
    assert "16 numbers" in lines[1]


def test_embed_puts_the_prompt_first(run_json, checkpoints, tmp_path):
    folder = tmp_path / "prompted"
    model = TextEmbedder.from_preset(checkpoints["embedder"], prompts={"query": "the cat "})
    model.save_to_preset(folder)
    prompted = run_json("embed", folder, "sat", "--prompt", "query")
    written_out = run_json("embed", folder, "the cat sat")
    assert prompted[0]["vector"] == written_out[0]["vector"]
    assert prompted[0]["vector"] != run_json("embed", folder, "sat")[0]["vector"]


def test_fill_mask_gives_the_models_answers(run_json, checkpoints):
    text = "the [MASK] sat on the [MASK] ."
    rows = run_json("fill-mask", checkpoints["masked_lm"], text, "--top-k", 2)
    first, second = MaskedLM.from_preset(checkpoints["masked_lm"]).fill_mask([text], top_k=2)[0]
    assert [row["mask"] for row in rows] == [0, 0, 1, 1]
    assert [row["token"] for row in rows] == [a["token"] for a in (*first, *second)]
    assert [row["score"] for row in rows] == pytest.approx([a["score"] for a in (*first, *second)])


def test_fill_mask_shows_brackets_as_they_are(run, checkpoints):
    result = run("fill-mask", checkpoints["masked_lm"], "the [MASK] [bold]sat", "--top-k", 18)
    assert result.exit_code == 0
    assert "[MASK]" in result.stdout or "[UNK]" in result.stdout
    assert len(result.stdout.splitlines()) == 19


def test_classify_gives_the_classifiers_labels(run_json, checkpoints):
    rows = run_json("classify", checkpoints["classifier"], *TEXTS, "--top-k", 3)
    answers = TextClassifier.from_preset(checkpoints["classifier"]).classify(TEXTS, top_k=3)
    assert [row["label"] for row in rows] == [a["label"] for best in answers for a in best]
    assert sum(row["score"] for row in rows[:3]) == pytest.approx(1)


def test_classify_shows_the_label_first(run, checkpoints):
    result = run("classify", checkpoints["classifier"], "a dog ran")
    assert result.stdout.splitlines()[1].split()[0] in {"calm", "loud", "mixed"}


def test_tag_gives_the_taggers_entities_with_the_number_of_their_text(run_json, run, checkpoints):
    texts = ["the cats sat", "a dog ran"]
    rows = run_json("tag", checkpoints["tagger"], *texts, "--aggregation", "first", "--stride", 2)
    model = TokenClassifier.from_preset(checkpoints["tagger"])
    found = model.tag(texts, aggregation="first", stride=2)
    assert rows == [{"index": i, **e} for i, row in enumerate(found) for e in row] != []
    lines = run("tag", checkpoints["tagger"], *texts).stdout.splitlines()
    assert lines[0].split() == ["index", "label", "text", "start", "end", "score"]
    assert len(lines) == 1 + len([e for row in model.tag(texts) for e in row])


@pytest.mark.parametrize(
    ("name", "through", "heads"),
    [
        ("plain", "BertBackbone", {}),
        ("embedder", "TextEmbedder", {}),
        ("masked_lm", "MaskedLM", {"masked_lm": "MaskedLM"}),
        ("classifier", "TextClassifier", {"text_classifier": "TextClassifier"}),
    ],
)
def test_info_names_the_class_and_the_heads(run_json, checkpoints, name, through, heads):
    found = run_json("info", checkpoints[name])
    assert found["architecture"] == "bert"
    assert found["class"] == through
    assert found["heads"] == heads
    assert found["problem"] is None
    assert found["loaded"] == found["tensors"]
    assert set(found["dtypes"]) == {"F32"}
    assert found["tokenizer"]["vocabulary_size"] == 18
    assert found["bytes"] == (checkpoints[name] / "model.safetensors").stat().st_size


def test_info_counts_the_parameters_that_load(run_json, checkpoints):
    model = TextClassifier.from_preset(checkpoints["classifier"])
    assert run_json("info", checkpoints["classifier"])["parameters"] == model.count_params()


def test_info_names_what_keeps_a_checkpoint_from_loading(run_json, run, checkpoints, tmp_path):
    folder = tmp_path / "odd"
    shutil.copytree(checkpoints["plain"], folder)
    config = json.loads((folder / "config.json").read_text("utf-8"))
    (folder / "config.json").write_text(json.dumps({**config, "rope_theta": 500}), "utf-8")
    found = run_json("info", folder)
    assert "rope_theta=500" in found["problem"]
    assert "ignore_fields=['rope_theta'], or --ignore-field rope_theta" in found["problem"]
    assert found["tokenizer"] == "there"
    assert "rope_theta=500" in run("info", folder).stdout


def test_info_reads_as_names_and_values(run, checkpoints):
    lines = run("info", checkpoints["masked_lm"]).stdout.splitlines()
    facts = dict(line.split(None, 1) for line in lines)
    assert facts["architecture"] == "bert (BertForMaskedLM)"
    assert facts["unknown"] == "none"


@pytest.mark.parametrize("name", ["plain", "embedder", "masked_lm", "classifier"])
def test_prove_covers_every_tensor_of_a_checkpoint(run_json, run, checkpoints, name):
    found = run_json("info", checkpoints[name])
    proof = run_json("prove", checkpoints[name])
    assert proof["tensors"] + len(proof["tied"]) == found["tensors"]
    assert proof["elements"] == found["parameters"]
    assert proof["passthrough"] == {}
    assert run("prove", checkpoints[name]).stdout.startswith("proven: ")


@pytest.mark.parametrize("name", ["plain", "embedder", "masked_lm", "classifier"])
def test_export_writes_an_equal_checkpoint(run_json, checkpoints, tmp_path, name):
    done = run_json("export", checkpoints[name], tmp_path / "out")
    assert done["same"]
    assert len(done["equal"]) == done["tensors"] > 0
    for path in checkpoints[name].rglob("*"):
        if path.is_file():
            copy = tmp_path / "out" / path.relative_to(checkpoints[name])
            assert sha256(copy) == sha256(path), path.name


def test_export_of_weights_that_are_rounded_fails_and_names_them(run, checkpoints, tmp_path):
    from safetensors.numpy import load_file, save_file

    folder = tmp_path / "wide"
    shutil.copytree(checkpoints["plain"], folder)
    weights = load_file(folder / "model.safetensors")
    name = "pooler.dense.bias"
    weights[name] = weights[name].astype(np.float64) + 1e-12
    save_file(weights, folder / "model.safetensors")
    result = run("export", folder, tmp_path / "out")
    assert result.exit_code == 1
    warning, error = result.stderr.splitlines()
    assert warning.startswith("inarch: warning: ")
    assert f"different: {name}" in error


def test_presets_lists_every_built_in_name(run_json, run):
    names = set(registry.presets())
    assert {row["name"] for row in run_json("presets")} == names
    lines = run("presets").stdout.splitlines()
    assert {line.split()[0] for line in lines[1:]} == names
    assert all(registry.presets()[line.split()[0]].hub in line for line in lines[1:])


def variant(folder, target, **fields):
    """A copy of a checkpoint with fields of its config changed; `...` removes one."""
    shutil.copytree(folder, target)
    config = {**json.loads((target / "config.json").read_text("utf-8")), **fields}
    kept = {name: value for name, value in config.items() if value is not ...}
    (target / "config.json").write_text(json.dumps(kept), "utf-8")
    return target


def test_info_suggests_a_line_where_there_is_no_model_type(run, run_json, checkpoints, tmp_path):
    masked_lm = variant(checkpoints["masked_lm"], tmp_path / "masked_lm", model_type=...)
    found = run_json("info", masked_lm)
    assert (found["class"], found["add_line"]) == ("MaskedLM", '"model_type": "bert",')
    assert 'add "model_type": "bert",' in run("info", masked_lm).stdout
    bare = variant(checkpoints["plain"], tmp_path / "bare", model_type=..., architectures=...)
    found = run_json("info", bare)
    assert (found["class"], found["tensors"]) == (None, run_json("prove", masked_lm)["tensors"] - 5)
    assert 'Add the line "model_type": "bert",' in found["problem"]
    odd = {"model_type": ..., "architectures": ..., "num_hidden_groups": 1}
    found = run_json("info", variant(checkpoints["masked_lm"], tmp_path / "odd", **odd))
    assert (found["class"], found["add_line"]) == (None, '"model_type": "bert",')
    assert "num_hidden_groups=1" in found["problem"]


def test_info_lists_unread_fields_and_ignores_what_is_named(run, run_json, checkpoints, tmp_path):
    odd = {f"odd_{i}": i for i in range(9)}
    folder = variant(checkpoints["classifier"], tmp_path / "odd", rope_theta=5, **odd)
    assert run_json("info", folder)["class"] is None
    found = run_json("info", folder, "--ignore-field", "rope_theta")
    assert (found["class"], found["ignored_fields"]) == ("TextClassifier", ["rope_theta"])
    assert found["unread_fields"] == list(odd)
    text = run("info", folder, "--ignore-field", "rope_theta").stdout
    assert "odd_3 and 5 more" in text
    assert "calm, loud, mixed" in text
    assert len(text.splitlines()) < 24
    rows = run_json("classify", folder, "--ignore-field", "rope_theta", "a dog ran")
    assert rows == run_json("classify", checkpoints["classifier"], "a dog ran")


@pytest.mark.parametrize("named", [["BertForMultipleChoice"], ["OursForMultipleChoice"]])
def test_a_head_of_another_task_is_named(named, run, run_json, checkpoints, tmp_path):
    folder = variant(checkpoints["classifier"], tmp_path / "tagger", architectures=named)
    found = run_json("info", folder)
    assert (found["class"], found["heads"]) == (
        "BertBackbone", {"multiple_choice": "carried along"}
    )  # fmt: skip
    assert set(found["passthrough"].values()) == {"head multiple_choice"}
    assert "none here for this head" in run("info", folder).stdout
    result = run("classify", folder, "a dog ran")
    assert result.exit_code == 1
    assert f"multiple_choice head ({named[0]})" in result.stderr


def test_every_command_that_loads_a_checkpoint_ignores_fields(run, checkpoints, tmp_path):
    models = {"embed": "embedder", "fill-mask": "masked_lm", "prove": "plain", "export": "plain"}
    for command, name in models.items():
        folder = variant(checkpoints[name], tmp_path / command, rope_theta=5)
        rest = {"prove": [], "export": [tmp_path / "out"]}.get(command, ["a [MASK]"])
        assert run(command, folder, *rest).exit_code == 1
        assert run(command, folder, *rest, "--ignore-field", "rope_theta").exit_code == 0
    assert json.loads((tmp_path / "out/inarch.json").read_text())["ignore_fields"] == ["rope_theta"]


def test_info_names_a_damaged_file_that_would_say_what_a_folder_is_for(
    run_json, checkpoints, tmp_path
):
    shutil.copytree(checkpoints["plain"], tmp_path / "folder")
    (tmp_path / "folder" / "modules.json").write_text("{")
    found = run_json("info", tmp_path / "folder")
    assert found["class"] is None
    assert "modules.json" in found["problem"]
