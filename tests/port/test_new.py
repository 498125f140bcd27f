"""A draft from a checkpoint's header computes what it can, and says what it guessed."""

import ast
import json
import sys
import tomllib
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from typer.testing import CliRunner

from inarch import workflows
from inarch.checkpoints.formats.weights import TensorInfo
from inarch.checkpoints.maps.config import probability
from inarch.cli.app import app
from inarch.errors import CheckpointFileError, ConfigError, InarchError, InputError
from inarch.models import registry
from inarch.models.loading import Checkpoint
from inarch.port import new, reference, settle
from inarch.port.header import Header
from inarch.port.heads import HeadDraft
from inarch.port.in_files import in_file_names, strange_tensors
from inarch.port.laws import MAX_FUNCTION
from inarch.port.make_draft import make_draft
from inarch.port.new import check_name, draft_of
from inarch.port.saved_names import parts_of
from inarch.port.tiny_model import tiny_fields
from inarch.port.write_checkpoint import imports
from inarch.port.write_files import decisions_of, files_of
from inarch.port.write_head_map import head_lines
from inarch.port.write_table import tokenizer_line
from inarch.verify.compare import verify
from inarch.verify.golden import Golden
from inarch.workflows.verification import build

ROOT = Path(__file__).parents[2]
TINY = ROOT / "docs" / "contribute" / "tiny"


def golden(name):
    return Golden.read(ROOT / "tests" / "golden" / f"{name}.safetensors")


def known(name):
    """Return the drafted architecture as a new process would find it."""
    registry.architectures.cache_clear()
    return registry.architectures()[name]


def verified(found, heads, tmp_path):
    """Return the reports of heads of a golden file, each loaded and proven."""
    folder = tmp_path / "golden"
    folder.mkdir()
    found.unpack(folder)
    reports = {}
    for head in heads:
        with Checkpoint(folder) as checkpoint:
            model = build(checkpoint, head or None)
            reports[head] = verify(model, found.runs[head])
    return reports


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_distil_bert_is_drafted_without_an_edit(without, tmp_path):
    models = without("distil_bert")
    made = new("distil_bert", TINY)
    assert made.folder == models / "distil_bert"
    architecture = known("distil_bert")
    assert architecture.model_types == ("distilbert",)
    proof = workflows.prove(TINY)
    assert (proof.tensors, proof.variables) == (41, 41)
    reports = verified(golden("distil_bert"), ("", "masked_lm"), tmp_path)
    assert all(report.passed for report in reports.values())
    measured = {m.layer for report in reports.values() for m in report.measures}
    assert measured >= {"embeddings_norm", "layer_1/feed_forward/up", "masked_lm_head/transform"}


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_mistral_is_drafted_from_names_and_shapes_without_an_edit(without, tmp_path, monkeypatch):
    monkeypatch.setattr(reference, "has_reference", lambda: False)
    found = golden("mistral")
    source = tmp_path / "source"
    source.mkdir()
    weights = {n: value for n, value in found.weights.items() if not n.startswith("score")}
    replace(found, weights=weights).unpack(source)
    config = {**found.defaults, **json.loads(found.config_text)}
    config |= {"architectures": ["MistralForCausalLM"]}
    (source / "config.json").write_text(json.dumps(config))
    without("llama")
    made = new("mistral", source)
    known("mistral")
    reports = verified(found, ("", "causal_lm"), tmp_path)
    assert all(report.passed for report in reports.values())
    subjects = [one.subject for one in made.decisions if one.kind == "GUESS"]
    assert {"order of the norms", "positions", "feed_forward"} <= {*subjects}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", ["deberta_v3", "deberta"])
def test_disentangled_attention_is_drafted_from_names_and_shapes(
    name, without, tmp_path, monkeypatch
):
    """The way of a fused tensor alone is one that names can't show."""
    monkeypatch.setattr(reference, "has_reference", lambda: False)
    found = golden(name)
    config = {**found.defaults, **json.loads(found.config_text)}
    weights = {n: v for n, v in found.weights.items() if n.startswith("deberta.")}
    found = replace(found, config_text=json.dumps(config), weights=weights)
    source = tmp_path / "source"
    source.mkdir()
    found.unpack(source)
    models = without(name)
    made = new(name, source)
    path = models / name / "checkpoint.py"
    by_head = "(h=num_heads (q + k + v)) i -> i (h q), i (h k), i (h v)"
    path.write_text(path.read_text().replace("(o + o + o) i -> i o, i o, i o", by_head))
    known(name)
    (report,) = verified(found, ("",), tmp_path).values()
    # The name of the output is one that nothing but the reference's code has.
    assert {finding.layer for finding in report.findings} <= {""}
    measured = {m.layer: m.ratio for m in report.measures if m.layer}
    assert measured.keys() >= {"layer_0/attention/query", "relative_embedding", "layer_1"}
    assert max(measured.values()) < 8
    assert made.draft.graph.positions == "disentangled"


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_an_encoder_with_a_decoder_is_drafted_from_names_and_shapes(without, tmp_path, monkeypatch):
    monkeypatch.setattr(reference, "has_reference", lambda: False)
    found = golden("bart")
    source = tmp_path / "source"
    source.mkdir()
    weights = {n: v for n, v in found.weights.items() if not n.startswith("classification_head")}
    replace(found, weights=weights).unpack(source)
    config = {**found.defaults, **json.loads(found.config_text)}
    config |= {"architectures": ["BartForConditionalGeneration"]}
    (source / "config.json").write_text(json.dumps(config))
    models = without("bart")
    made = new("bart", source)
    # What names can't show, and a person who reads the reference's code does.
    path = models / "bart" / "backbone.py"
    path.write_text(path.read_text().replace("epsilon=1e-12", "epsilon=1e-5"))
    known("bart")
    reports = verified(found, ("", "seq2seq_lm"), tmp_path)
    assert all(report.passed for report in reports.values())
    guesses = {one.subject for one in made.decisions if one.kind == "GUESS"}
    assert {"epsilon of norms", "attention", "shared", "order of the norms"} <= guesses


def test_a_stack_is_known_by_its_name_and_a_sublayer_by_its_number():
    layer = {"layer.0.SelfAttention.q.weight": (12, 12), "layer.0.layer_norm.weight": (12,)}
    more = {"layer.1.EncDecAttention.q.weight": (12, 12), "layer.1.layer_norm.weight": (12,)}
    last = {"DenseReluDense.wi.weight": (20, 12), "layer_norm.weight": (12,)}
    shapes = {"shared.weight": (29, 12), "encoder.final_layer_norm.weight": (12,)}
    bias = "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
    for side, inner, place in (("encoder", layer, 1), ("decoder", layer | more, 2)):
        inner = inner | {f"layer.{place}.{name}": shape for name, shape in last.items()}
        shapes |= {f"{side}.block.{i}.{n}": shape for i in (0, 1) for n, shape in inner.items()}
    tensors = {n: TensorInfo("F32", shape) for n, shape in {**shapes, bias: (8, 3)}.items()}
    draft = make_draft("new", Header("here", CONFIG, tensors), None)
    text = files_of(draft)["checkpoint.py"]
    assert '"encoder_relative_bias"),' in text
    assert 'norm("layer.0.layer_norm", "attention_norm", bias=False),' in text
    assert 'norm("layer.1.layer_norm", "cross_attention_norm", bias=False),' in text
    assert 'norm("layer.2.layer_norm", "feed_forward_norm", bias=False),' in text
    assert 'dense("layer.1.EncDecAttention.q", "cross_attention/query", bias=False),' in text
    assert "norms" in lines(draft, "GUESS")


# --- what isn't known is said --------------------------------------------------------------------

CONFIG = {
    "model_type": "novel", "hidden_size": 12, "intermediate_size": 20, "vocab_size": 29,
    "num_attention_heads": 3, "num_hidden_layers": 2, "max_position_embeddings": 14,
}  # fmt: skip
LAYER = {
    "attention.query.weight": (12, 12), "attention.key.weight": (12, 12),
    "attention.value.weight": (12, 12), "attention.output.weight": (12, 12),
    "attention_norm.weight": (12,), "ffn_norm.weight": (12,), "mlp.up.weight": (20, 12),
    "mlp.down.weight": (12, 20),
}  # fmt: skip


def header(config=CONFIG, layer=LAYER, **others):
    """Return the header of an encoder of two layers."""
    shapes = {"embed_tokens.weight": (29, 12), "embed_positions.weight": (14, 12), **others}
    shapes |= {f"layers.{i}.{name}": shape for i in (0, 1) for name, shape in layer.items()}
    return Header("here", config, {n: TensorInfo("F32", s) for n, s in shapes.items()})


def lines(draft, kind):
    return {one.subject: one.text for one in decisions_of(draft) if one.kind == kind}


def test_nothing_that_only_names_show_is_presented_as_known():
    draft = make_draft("new", header({**CONFIG, "clip": 3, "layer_norm_eps": 1e-9}), None)
    guesses = lines(draft, "GUESS")
    assert {"order of the norms", "activation", "attention", "layer_norm_eps"} <= guesses.keys()
    assert "only 3 is accepted" in lines(draft, "DECIDE")["clip"]
    files = files_of(draft)
    assert "# GUESS order of the norms: 'post'" in files["backbone.py"]
    assert "# DECIDE clip" in files["checkpoint.py"]
    assert 'must_be("clip", 3),  # DECIDE' in files["checkpoint.py"]
    assert 'field("hidden_size", "hidden_dim"),' in files["checkpoint.py"]  # without a default
    assert "names and shapes alone" in files["backbone.py"]


@pytest.mark.parametrize("name", ["gpt2", "llama", "mpnet", "bart", "t5", "mt5", "marian"])
def test_files_import_what_they_use_in_lines_and_functions_that_are_not_long(name):
    found = golden(name)
    tensors = {n: TensorInfo("F32", value.shape) for n, value in found.weights.items()}
    config = {**found.defaults, **json.loads(found.config_text)}
    draft = make_draft("drafted", Header("here", config, tensors), None)
    for file, text in files_of(draft).items():
        assert max(map(len, text.splitlines())) <= 100
        nodes = list(ast.walk(ast.parse(text))) if file.endswith(".py") else []
        functions = [n for n in nodes if isinstance(n, ast.FunctionDef)]
        assert all(n.end_lineno - n.lineno < MAX_FUNCTION for n in functions), file
        names = [
            a.asname or a.name for n in nodes if isinstance(n, ast.ImportFrom) for a in n.names
        ]
        used = {n.id for n in nodes if isinstance(n, ast.Name)}
        assert {*names} <= used, file


def test_rows_before_the_first_position_are_listed_as_unreached():
    table = {"embed_positions.weight": (16, 12)}
    text = files_of(make_draft("new", header(**table), None))["presets.toml"]
    (rows,) = tomllib.loads(text)["unreached"]
    assert (rows["layer"], rows["rows"]) == ("embeddings/position_embedding", [0, 1])
    assert "unreached" not in files_of(make_draft("new", header(), None))["presets.toml"]


def test_a_tensor_that_no_brick_has_is_named_and_left_out():
    layer = {**LAYER, "mixer.A_log": (12, 4), "attention.latent.kv_a_proj.weight": (6, 12)}
    draft = make_draft("new", header(layer=layer), None)
    found = lines(draft, "DECIDE")["attention"]
    assert "layers.{i}.mixer.A_log [12, 4]" in found
    assert "layers.{i}.attention.latent.kv_a_proj.weight [6, 12]" in found
    text = files_of(draft)["checkpoint.py"]
    assert 'A_log"' not in text
    assert '"attention/query"' not in text  # of layers that are recurrent in part
    assert 'dense("mlp.up", "feed_forward/up", bias=False)' in text


@pytest.mark.parametrize(
    "name", ['a"]); import os; os.x("b.weight', "a.{i}.b.weight", "a\nb", "../x", "x" * 10_000]
)
def test_names_that_could_be_code_or_paths_are_in_no_file(name):
    draft = make_draft("new", header({**CONFIG, name: 1}, **{name: (12, 12)}), None)
    for file, text in files_of(draft).items():
        if file.endswith(".py"):
            tree = ast.parse(text)
            strings = {n.value for n in ast.walk(tree) if isinstance(n, ast.Constant)}
            assert name not in strings
            assert not any(isinstance(n, ast.Import) and n.names[0].name == "os" for n in
                           ast.walk(tree))  # fmt: skip
    assert any("no map can have" in text for text in lines(draft, "DECIDE").values())


@pytest.mark.parametrize(
    "value", ['x"), __import__("os").x("', float("nan"), float("inf"), [1] * 1000, {"a": [1]}, "\n"]
)
def test_values_that_cannot_be_written_are_in_no_file(value):
    draft = make_draft("new", header({**CONFIG, "odd": value}), None)
    for file, text in files_of(draft).items():
        if file.endswith(".py"):
            calls = [n.func for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Call)]
            assert "__import__" not in {getattr(one, "id", "") for one in calls}
    assert "odd" in lines(draft, "DECIDE")


DECODER = {
    **CONFIG, "architectures": ["NewForCausalLM"], "num_key_value_heads": 3, "head_dim": 4,
    "rope_theta": 1e4, "rope_parameters": {"rope_theta": 1e4, "rope_type": "default"},
    "rms_norm_eps": 1e-6, "hidden_act": "silu", "pad_token_id": 0, "attention_dropout": 0.0,
    "sliding_window": 4, "rotary_dim": 2, "type_vocab_size": 2, "layer_types": ["full", "full"],
}  # fmt: skip
ODD = (
    None, "x", 'a"b\n', [], {}, {"x": 1}, -1, 0, True, 2**70, float("inf"), float("nan"), [1, 2],
    {"rope_theta": "x"}, {"rope_theta": [1], "rope_type": 3},
)  # fmt: skip


@pytest.mark.parametrize("field", DECODER)
def test_odd_values_of_a_field_are_refused_or_give_files_that_can_be_read(field):
    for value in ODD:
        given = header({**DECODER, field: value}, **{"lm_head.weight": (29, 12)})
        try:
            draft = make_draft("new", given, None)
        except InarchError:
            continue
        decisions_of(draft)
        for file, text in files_of(draft).items():
            if file.endswith(".py"):
                ast.parse(text)


@pytest.mark.parametrize("shape", [(), (0,), (12,), (0, 0), (3, 3, 3), (1, 2, 3, 4, 5)])
def test_odd_shapes_are_refused_or_give_files_that_can_be_read(shape):
    tensors = {"model." + name: info for name, info in header().tensors.items()}
    tensors["lm_head.weight"] = TensorInfo("F32", (29, 12))
    for name in tensors:
        given = Header("here", DECODER, {**tensors, name: TensorInfo("F32", shape)})
        try:
            texts = files_of(make_draft("new", given, None))
        except InarchError:
            continue
        ast.parse(texts["backbone.py"])
        ast.parse(texts["checkpoint.py"])


@pytest.mark.parametrize(
    ("config", "error", "text"),
    [
        ({}, ConfigError, "model_type=None"),
        ({**CONFIG, "model_type": 'x"'}, ConfigError, "model_type"),
    ],
)
def test_what_is_not_drafted_is_refused_with_a_way_on(config, error, text):
    with pytest.raises(error, match=text):
        make_draft("new", header(config), None)


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("model.gguf", "GGUF: take the model that it was quantized from"),
        ("model.onnx", "ONNX: take the model that it was exported from"),
        ("model.keras", "Keras: open it with keras.saving"),
        ("adapter_model.bin", "an adapter alone: merge it into its model by peft"),
    ],
)
@pytest.mark.parametrize("inside", [False, True])
def test_a_file_of_another_kind_is_named_with_the_way_on(file, text, inside, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    (tmp_path / file).write_bytes(b"GGUF")
    with pytest.raises(CheckpointFileError) as error:
        new("mine", tmp_path if inside else tmp_path / file, to=tmp_path / "place")
    assert text.partition(":")[0] in str(error.value)
    assert text.partition(": ")[2] in str(error.value)


@pytest.mark.parametrize("method", ["gptq", "awq", "bitsandbytes"])
def test_a_quantized_checkpoint_is_named_with_the_way_on(method, tmp_path):
    config = {**CONFIG, "quantization_config": {"quant_method": method}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    source = tmp_path / "header.json"
    source.write_text(json.dumps({"a.weight": {"dtype": "F32", "shape": [1]}}))
    with pytest.raises(ConfigError, match=f"{method}.*Inspect the one that it was made from"):
        new("mine", source, to=tmp_path / "place")


def test_code_of_the_repository_is_not_run_and_names_are_all_there_is(tmp_path, monkeypatch):
    (tmp_path / "modeling.py").write_text("raise SystemExit")
    config = {**CONFIG, "auto_map": {"AutoModel": "modeling.NewModel"}}
    monkeypatch.syspath_prepend(tmp_path)
    draft = draft_of("new", header(config))
    assert draft.evidence is None
    assert "modeling" not in sys.modules
    assert "auto_map" not in files_of(draft)["checkpoint.py"]


def test_a_header_of_a_hundred_thousand_tensors_is_drafted():
    layers = 12_500
    shapes = {f"layers.{i}.{n}": s for i in range(layers) for n, s in LAYER.items()}
    config = {**CONFIG, "num_hidden_layers": layers}
    draft = make_draft("new", header(config, {}, **shapes), None)
    assert len(draft.graph.slots) == len(LAYER) + 2


def test_a_fused_tensor_and_a_square_one_are_attention_and_its_output():
    layer = {n: s for n, s in LAYER.items() if not n.startswith("attention.")}
    layer |= {"mix.all.weight": (36, 12), "mix.last.weight": (12, 12), "z.weight": (12, 12)}
    draft = make_draft("new", header(layer=layer), None)
    assert draft.graph.slot("attention/query").module.name == "layers.{i}.mix.all"
    assert draft.graph.slot("attention/output").module.name == "layers.{i}.mix.last"
    assert "layers.{i}.mix.last" in lines(draft, "GUESS")
    assert "layers.{i}.z.weight [12, 12]" in lines(draft, "DECIDE")["attention"]


def test_what_some_layers_alone_have_is_to_be_decided():
    more = {f"layers.2.{n}": s for n, s in LAYER.items() if not n.startswith("attention.")}
    found = lines(make_draft("new", header(**more), None), "DECIDE")
    assert found["layers.{i}.attention.key"].startswith("in 2 of 3 layers")
    assert not {"layers.{i}.mlp.up", "layers.{i}.ffn_norm"} & found.keys()


def test_a_module_of_one_layer_is_not_what_is_around_all():
    draft = make_draft("new", header(**{"layers.0.last_norm.weight": (12,)}), None)
    assert not draft.graph.has("final_norm")
    assert "last_norm.weight [12]" in lines(draft, "DECIDE")["around_layers"]


def test_a_norm_that_the_first_layer_lacks_takes_no_place_of_another():
    """It is the one before attention only where a block has no other for that."""
    draft = make_draft("new", header(**{"layers.1.last_norm.weight": (12,)}), None)
    found = lines(draft, "DECIDE")
    assert "layers.{i}.last_norm.weight [12]" in found["layer_end"]
    assert not {"layers.{i}.ffn_norm", "layers.{i}.attention_norm"} & found.keys()


def test_sizes_that_no_field_has_are_those_of_tables():
    config = {name: value for name, value in CONFIG.items() if name != "vocab_size"}
    given = header(config, **{"token_type_embeddings.weight": (3, 12)})
    draft = make_draft("new", given, None)
    text = files_of(draft)["checkpoint.py"]
    assert 'constant("vocabulary_size", 29),' in text
    assert 'constant("num_segments", 3),' in text
    assert {"vocabulary_size", "num_segments"} <= lines(draft, "GUESS").keys()
    without = {name: value for name, value in CONFIG.items() if "heads" not in name}
    assert "num_heads" in lines(made := make_draft("new", header(without), None), "DECIDE")
    assert 'constant("num_heads", None),' in files_of(made)["checkpoint.py"]


def test_a_projection_of_embeddings_is_as_wide_as_the_table_of_tokens():
    extra = {"map.weight": (12, 7)}
    draft = make_draft("new", header(**extra), None)
    assert not draft.graph.has("embeddings_projection")
    assert "map.weight [12, 7]" in lines(draft, "DECIDE")["around_layers"]
    narrow = make_draft("new", header(**extra, **{"embed_tokens.weight": (29, 7)}), None)
    assert narrow.graph.has("embeddings_projection")
    assert 'constant("embedding_dim", 7),' in files_of(narrow)["checkpoint.py"]


def test_the_table_of_positions_is_as_wide_as_the_model():
    shapes = {"embed_tokens.weight": (29, 12), "x_position_embeddings.weight": (14, 4)}
    given = header()
    found = {n: TensorInfo("F32", s) for n, s in shapes.items()} | dict(given.tensors)
    draft = make_draft("new", Header("here", CONFIG, found), None)
    slot = draft.graph.slot("embeddings/position_embedding") or draft.graph.slot(
        "position_embedding"
    )
    assert slot.module.name == "embed_positions"


def test_nothing_is_tried_where_the_map_refuses_the_config(monkeypatch):
    trials = []

    def refused(draft, *_, **__):
        trials.append(draft)
        return settle.Outcome(None, float("inf"), "config.json: no", is_refused=True)

    monkeypatch.setattr(settle, "attempt", refused)
    found = settle.settle(make_draft("new", header(), None))
    assert len(trials) == 1
    expected = "the draft can't be compared with the reference: config.json: no"
    assert lines(found, "DECIDE")["graph"] == expected


def test_a_reference_that_is_slow_is_refused_and_a_size_of_a_file_is_tiny_too():
    reference.check_seconds(0.1)
    with pytest.raises(InarchError, match=r"one run takes 9\.1 seconds"):
        reference.check_seconds(9.1)
    assert tiny_fields({"head_dim": None}, {"head_dim": 64})["head_dim"] == 6
    assert "head_dim" not in tiny_fields({"head_dim": None}, {})


def test_a_rate_may_have_another_name():
    entry = probability("dropout", "dropout", 0.1, aliases=("hidden_dropout",))
    assert entry.known_names == ("dropout", "hidden_dropout")


@pytest.mark.parametrize(
    ("named", "files", "kind", "text"),
    [
        ("NewTokenizer", ("vocab.txt",), "GUESS", 'tokenizer_class="NewTokenizer"'),
        ("NewTokenizer", ("spiece.model",), "DECIDE", None),
        ('x"); import os; ("', ("vocab.txt",), "DECIDE", None),
        ("PreTrainedTokenizerFast", ("tokenizer.json",), None, None),
        (None, (), "GUESS", None),
    ],
)
def test_a_tokenizer_is_drafted_by_its_files_or_named(named, files, kind, text):
    draft = make_draft("new", header(), None)
    tokenizer = {"class": named, "files": files}
    line = tokenizer_line(draft, tokenizer)
    assert (line.kind if line else None) == kind
    written = files_of(draft, tokenizer).get("text.py")
    assert (written is None) == (text is None)
    assert text is None or text in written


# --- names of files ---------------------------------------------------------------------------


def test_a_tensor_of_a_file_is_known_by_the_values_that_it_holds():
    held = {name: np.arange(6.0).reshape(2, 3) + i for i, name in enumerate("qkv")}
    fused = np.concatenate([held["v"], held["q"]])
    assert parts_of(fused, held) == ("v", "q")
    assert parts_of(held["k"], held) == ("k",)
    assert parts_of(fused[:3], held) == ()
    assert parts_of(fused + 1e-9, held) == ()


def test_a_fused_tensor_of_files_is_one_rule_and_the_modules_keep_theirs():
    draft = make_draft("new", header(), None)
    parts = [f"layers.{{i}}.attention.{name}.weight" for name in ("key", "query", "value")]
    evidence = SimpleNamespace(experts={}, saved={"layers.{i}.kqv.weight": tuple(parts)})
    filed = in_file_names(draft.replace(evidence=evidence))
    (slot,) = [one for one in filed.graph.slots if len(one.ours) == 3]
    assert (slot.module.name, slot.module.inner) == ("layers.{i}.kqv", "kqv")
    assert slot.ours == ("attention/key", "attention/query", "attention/value")
    assert len(filed.graph.slots) == len(draft.graph.slots) - 2


def test_a_tensor_of_which_the_reference_makes_others_is_not_called_unknown_to_it():
    names = [f"base.layers.{i}.experts.{j}.up.weight" for i in (0, 1) for j in (0, 1)]
    tensors = {name: TensorInfo("F32", (2, 3)) for name in (*names, "odd.weight")}
    saved = {"base.layers.{i}.experts.0.up.weight": ()}
    evidence = SimpleNamespace(saved=saved, experts={}, prefix="base.", heads=(), version="it")
    found = strange_tensors(tensors, {}, {}, evidence)
    assert found["layers.{i}.experts.{j}.up.weight"] == "in files, and it makes other tensors of it"
    assert found["odd.weight"] == "in the file, and it has no such tensor"


def headed(**shows):
    """Return the map's lines of a decoder's output embeddings, which evidence shows more of."""
    evidence = SimpleNamespace(**{"saved": {}, "experts": {}, "ties_tables": False, **shows})
    heads = (HeadDraft("causal_lm", ("NewForCausalLM",), table="lm_head.weight"),)
    draft = make_draft("new", header(), None).replace(evidence=evidence, heads=heads)
    return "".join(head_lines(in_file_names(draft), draft.heads))


def test_output_embeddings_are_read_by_the_name_of_files_and_of_the_module():
    text = headed(saved={"embed_out.weight": ("lm_head.weight",)})
    rule = '"embed_out.weight", "logits/kernel", "v d -> d v", legacy="lm_head.weight"'
    assert rule in text
    assert text.count("tied(") == 2
    assert "legacy" not in headed()


def test_output_embeddings_that_no_config_can_untie_have_no_rule_for_it():
    assert "untied=" in headed()
    assert "untied=" not in headed(ties_tables=True)


# --- the folder ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["Bert", "class", "9a", "a-b", "../a", "", "a" * 99, "a b"])
def test_a_name_that_no_folder_can_have_is_refused(name):
    with pytest.raises(InputError, match="can't be that of a folder"):
        check_name(name)


def test_a_taken_name_or_type_is_refused_and_nothing_is_written(tmp_path):
    with pytest.raises(InputError, match="is there already"):
        check_name("bert")
    with pytest.raises(InputError, match="is a module"):
        check_name("registry")
    (tmp_path / "mine").mkdir()
    with pytest.raises(InputError, match="is there already"):
        new("mine", TINY, to=tmp_path)
    with pytest.raises(ConfigError, match="'distilbert' is here already"):
        new("another", TINY, to=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_a_folder_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    source = tmp_path / "header.json"
    given = header()
    source.write_text(
        json.dumps({n: {"dtype": "F32", "shape": t.shape} for n, t in given.tensors.items()})
    )
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    place = tmp_path / "place"
    made = new("mine", source, to=place)
    names = {path.name for path in made.folder.iterdir()}
    assert names == {"__init__.py", "backbone.py", "checkpoint.py", "presets.toml"}

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(CheckpointFileError, match="No space left"):
        new("other", source, to=place)
    assert [path.name for path in place.iterdir()] == ["mine"]


def test_the_command_prints_the_folder_and_what_is_open(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    source = tmp_path / "header.json"
    given = header().tensors
    source.write_text(json.dumps({n: {"dtype": "F32", "shape": t.shape} for n, t in given.items()}))
    arguments = ["port", "new", "mine", "--from", str(source), "--to", str(tmp_path)]
    text = CliRunner().invoke(app, arguments).stdout.splitlines()
    assert text[0] == f"{tmp_path / 'mine'}: novel, by names and shapes alone: nothing was run"
    assert any(line.startswith("GUESS    order of the norms: 'post'") for line in text)
    again = CliRunner().invoke(app, [*arguments[:3], "--json", *arguments[3:]])
    assert again.exit_code != 0
    arguments[2] = "other"
    found = json.loads(CliRunner().invoke(app, [*arguments, "--json"]).stdout)
    assert found["reference"] is None
    assert {one["kind"] for one in found["decisions"]} == {"GUESS"}


def test_a_list_of_entries_that_is_filtered_is_imported_as_well():
    filtered = "*[entry for entry in ENCODER_ONLY if entry.theirs], dense("
    assert "    ENCODER_ONLY," in imports(filtered)
    assert not any("PADDING_ROW" in line for line in imports(filtered))
