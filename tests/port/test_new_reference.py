"""A draft beside its reference: what a run settles, and the names that files have."""

import warnings
from types import SimpleNamespace

import pytest

from inarch.checkpoints.formats.weights import TensorInfo
from inarch.models import registry
from inarch.port.alternatives import alternatives
from inarch.port.arguments import find_activation
from inarch.port.graph import BY_PROJECTION
from inarch.port.header import Header
from inarch.port.make_draft import make_draft
from inarch.port.new import draft_of
from inarch.port.reference import find_evidence
from inarch.port.settle import settle
from inarch.port.tiny_inputs import attends_ahead
from inarch.port.trial import attempt
from inarch.port.write_files import decisions_of, files_of

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.reference


def draft(model_type, **config):
    return draft_of("drafted", Header("here", {"model_type": model_type, **config}, {}))


def settled(draft):
    return {one.subject for one in decisions_of(draft) if one.kind == "SETTLED"}


@pytest.mark.parametrize(
    ("model_type", "heads"),
    [
        ("ernie", {"masked_lm", "text_classifier"}),
        ("data2vec-text", {"masked_lm", "text_classifier"}),  # positions that count tokens
        ("phi", {"causal_lm", "text_classifier"}),
        # Rows before the first position, and a field for the order of norms.
        ("opt", {"causal_lm", "text_classifier", "do_layer_norm_before"}),
        # Global tokens, scores that a field scales, an activation of few, and a table of angles.
        *(pytest.param(*case, marks=pytest.mark.slow) for case in (
            ("longformer", {"masked_lm", "text_classifier"}),
            ("granite", {"causal_lm"}), ("arcee", {"causal_lm", "text_classifier"}),
            ("roformer", {"masked_lm", "text_classifier"}),
            # Output embeddings of another name in files.
            ("gpt_neox", {"causal_lm", "text_classifier"}),
        )),
    ],
)  # fmt: skip
def test_what_is_not_here_computes_what_its_reference_does(model_type, heads, without):
    for name, architecture in registry.architectures().items():
        if model_type in architecture.model_types:
            without(name)
    made = draft(model_type)
    assert settled(made) >= {"graph", *heads}
    guesses = [one.subject for one in decisions_of(made) if one.kind == "GUESS"]
    assert {*guesses} - {"rope_theta"} == {"dropout"}


@pytest.mark.parametrize(
    ("model_type", "more"),
    [("bart", {"scale_embedding", "text_classifier"}), ("t5", {"feed_forward_proj"})],
)
def test_an_encoder_with_a_decoder_computes_what_its_reference_does(model_type, more, without):
    without(model_type)
    made = draft(model_type)
    assert settled(made) >= {"graph", "seq2seq_lm", *more}
    assert made.graph.copies == (
        ("encoder.embed_tokens.weight", "shared.weight"),
        ("decoder.embed_tokens.weight", "shared.weight"),
    )


def test_scaled_tokens_may_have_learned_positions_and_norms_an_epsilon_of_no_field():
    made = tiny("biogpt")  # whose config has a field of the epsilon that nothing reads
    assert not made.has("layer_norm_epsilon")
    assert attempt(dict(alternatives(made))["tokens times the root of their width"]).passed


def test_layers_that_share_their_weights_are_stored_once(without):
    without("albert")
    made = tiny("albert")
    assert made.graph.switches["num_groups"] == "num_hidden_groups"
    assert attempt(made).passed
    # Of three layers and two groups another way has another order.
    assert not attempt(made.replace(graph=made.graph.replace(shared="i % {stored}"))).passed
    text = files_of(made)["checkpoint.py"]
    assert 'under("encoder.albert_layer_groups.{g}", "layer_{g}",' in text
    assert 'dense("encoder.embedding_hidden_mapping_in", "embeddings_projection"),' in text


def test_layers_that_are_called_once_share_nothing():
    made = tiny("ernie")
    assert made.evidence.sharing is None
    assert "num_groups" not in files_of(made)["backbone.py"]


@pytest.mark.parametrize(
    ("model_type", "head", "layers"),
    [
        ("albert", "sentence_order", ["sop_classifier.classifier"]),
        ("electra", "replaced_tokens", ["discriminator_predictions.dense",
                                        "discriminator_predictions.dense_prediction"]),
        ("gpt2", "multiple_choice", ["multiple_choice_head.summary"]),
    ],
)  # fmt: skip
def test_heads_of_classes_with_several_are_drafted(model_type, head, layers, without):
    without(model_type)
    made = tiny(model_type)
    (found,) = [one for one in made.heads if one.name == head]
    assert [name for name, *_ in found.dense] == layers
    lines = decisions_of(made)
    guessed = [one for one in lines if one.kind == "GUESS" and "replaced" in one.text]
    assert bool(guessed) == (head == "replaced_tokens")
    # What only heads read that no task computes is no question.
    assert not [one for one in lines if one.subject.startswith("summary_")]


def test_tables_that_are_one_by_a_field_alone_need_it():
    needed = 'must_be("tie_word_embeddings", True)'
    assert needed in files_of(tiny("bart"))["checkpoint.py"]
    assert needed not in files_of(tiny("mt5"))["checkpoint.py"]  # one whatever the field is


@pytest.mark.parametrize(
    ("model_type", "line"),
    [
        ("phi", 'fallback("head_dim", "head_dim",'),  # of which weights have their shape
        ("esm", 'must_match("head_dim", lambda config: WIDTH.read(config) // HEADS.read(config))'),
    ],
)
def test_the_width_of_a_head_that_a_config_lacks_is_what_a_trial_shows(model_type, line):
    given = {"pad_token_id": 1, "position_embedding_type": "rotary", "vocab_size": 33}
    evidence = find_evidence(model_type, given if model_type == "esm" else {})
    made = make_draft("drafted", Header("here", {"model_type": model_type}, {}), evidence)
    assert line in files_of(made)["checkpoint.py"]


@pytest.mark.slow
def test_a_table_that_stacks_may_share_is_an_argument_that_a_run_settles(without):
    without("bart")
    made = draft("marian")
    known = {"graph", "seq2seq_lm", "scale_embedding", "share_encoder_decoder_embeddings"}
    assert settled(made) >= known
    text = files_of(made)["checkpoint.py"]
    assert 'fallback("decoder_vocab_size", "decoder_vocabulary_size", other="vocab_size"),' in text
    # With a table for each stack the logits are the decoder's.
    assert 'tied("lm_head.weight", ".decoder.embed_tokens.weight")),' in text
    swapped = files_of(made)["checkpoint.py"].count('unless("shared_embeddings",')
    assert swapped == 3


@pytest.mark.slow
def test_embeddings_that_fields_decide_about_compute_what_their_reference_does(without):
    without("esm")
    fields = {"position_embedding_type": "rotary", "emb_layer_norm_before": False,
              "token_dropout": True}  # fmt: skip
    ids = {"pad_token_id": 1, "mask_token_id": 32, "vocab_size": 33}
    made = draft("esm", **fields, **ids)
    assert settled(made) >= {"graph", "masked_lm", "text_classifier", *fields}
    text = files_of(made)["checkpoint.py"]
    # Frequencies are read by each of the names that files have them under, and not made anew.
    stored = "attention.self.rotary_embeddings.inv_freq"
    assert 'rule("rotary_embeddings.inv_freq", "rotary/frequencies", "d -> d"),' in text
    assert f"encoder.layer.{{i}}.{stored}" in text
    assert f"encoder.layer.*.{stored}" in text
    assert 'token_id("mask_token_id", "mask_id", None),' in text


@pytest.mark.slow
def test_fields_that_add_layers_are_arguments_that_runs_settle(without):
    without("deberta")
    published = {"pos_att_type": "c2p|p2c", "position_biased_input": False}
    made = draft("deberta", relative_attention=True, **published)
    fields = {"relative_attention", "position_biased_input", "type_vocab_size", "pos_att_type"}
    assert settled(made) >= {"graph", "masked_lm", "text_classifier", "legacy", *fields}
    text = files_of(made)["checkpoint.py"]
    assert 'must_match("pooler_hidden_size", lambda config: WIDTH.read(config)),' in text
    assert 'fallback("embedding_size", "embedding_dim", other="hidden_size"),' in text


@pytest.mark.parametrize(
    ("model_type", "ways"),
    [
        ("pegasus", {"interleaved=False, reaches_maximum=False"}),  # parameters that aren't trained
        ("m2m_100", set()),  # buffers, which a file doesn't have: by a run
    ],
)
def test_sinusoids_of_positions_are_computed_and_not_loaded(model_type, ways, without):
    without("bart")
    made = tiny(model_type)
    assert {*made.evidence.sines.values()} == ways
    assert not [name for name in made.unused if "position" in name]
    text = files_of(made)["checkpoint.py"]
    assert ('derived("encoder.embed_positions.weight", lambda shape: SinePositions(' in text) == (
        bool(ways)
    )
    found = made if ways else [draft for _, draft in alternatives(made)][1]
    assert attempt(found).passed
    assert "FixedPositionEmbedding(" in files_of(found)["backbone.py"]


def test_a_run_finds_what_a_draft_has_wrong(without):
    without("gpt_neox")
    evidence = find_evidence("gpt_neox", {})
    right = make_draft("drafted", Header("here", {"model_type": "gpt_neox"}, {}), evidence)
    wrong = right.graph.replace(fused=BY_PROJECTION)
    assert not attempt(right.replace(graph=wrong)).passed
    found = settle(right.replace(graph=wrong, heads=()))
    assert found.graph == right.graph.replace(scaled=True, decisions=found.graph.decisions)
    words = [one.text for one in found.all_decisions if one.subject == "graph"]
    assert "queries, keys and values head by head, by trial" in words


def test_names_and_fused_tensors_are_those_of_files(without):
    without("gte")
    made = draft("gte")
    assert settled(made) >= {"graph", "names", "masked_lm", "text_classifier"}
    text = files_of(made)["checkpoint.py"]
    weights, _, of_modules = text.partition("module_weights=[")
    assert 'rule("attention.qkv_proj.weight",' in weights
    assert '[f"attention/{name}/kernel" for name in ("query", "key", "value")],' in weights
    assert '[f"feed_forward/{name}/kernel" for name in ("up", "gate")],' in weights
    assert "self_attn" not in weights
    assert 'dense("self_attn.q_proj", "attention/query"),' in of_modules
    _, _, head = of_modules.partition('"masked_lm": Head(')
    in_files, _, in_modules = head.partition("module_weights=[")
    assert 'norm("lm_head.norm", "masked_lm_head/transform_norm"),' in in_files
    assert 'norm("lm_head.layer_norm", "masked_lm_head/transform_norm"),' in in_modules
    assert head.count("module_weights=[") == 1


def test_dropout_after_the_embeddings_is_where_the_reference_has_it():
    assert 'Dropout(dropout, name="embeddings_dropout")' in files_of(tiny("bert"))["backbone.py"]
    assert "embeddings_dropout" not in files_of(tiny("opt"))["backbone.py"]


def tiny(model_type):
    header = Header("here", {"model_type": model_type}, {})
    return make_draft("drafted", header, find_evidence(model_type, {}))


def test_a_switch_of_the_checkpoint_is_in_the_model_that_is_run():
    made = draft("bert", hidden_act="relu", is_decoder=False)
    assert made.evidence.config["hidden_act"] == "relu"
    assert find_activation(made.usual) == "hidden_act"


def test_tensors_that_the_reference_lacks_are_named():
    tensors = {"ernie.extra.weight": TensorInfo("F32", (3,))}
    header = Header("here", {"model_type": "ernie"}, tensors)
    made = make_draft("drafted", header, find_evidence("ernie", {}))
    found = {one.subject: one.text for one in decisions_of(made) if one.kind == "DECIDE"}
    assert "has no such tensor" in found["extra.weight"]


def test_fields_of_code_that_is_not_run_are_fixed_and_left_to_a_person(without):
    without("nomic_bert")
    config = {"model_type": "nomic_bert", "prenorm": False, "use_flash_attn": True}
    evidence = find_evidence("nomic_bert", config)
    for own in ({}, {"auto_map": {"AutoModel": "modeling.Model"}}):
        made = make_draft("drafted", Header("here", {**config, **own}, {}), evidence)
        text = files_of(made)["checkpoint.py"]
        assert ('must_be("prenorm", False,' in text) == bool(own)
        open_fields = {one.subject for one in decisions_of(made) if one.kind == "DECIDE"}
        assert ("prenorm" in open_fields) == bool(own)
        assert 'ignored("use_flash_attn", reason="other ways of flash-attn' in text


def test_fields_that_only_the_file_has_are_told_apart():
    evidence = find_evidence("gpt_neox", {"rotary_pct": 0.5, "made_up": 1, "sliding_window": 3})
    assert {"rotary_pct"} <= {*evidence.shaping}
    assert "made_up" not in evidence.shaping
    config = {"model_type": "gpt_neox", "rotary_pct": 0.5, "made_up": 1, "alibi": True}
    made = make_draft("drafted", Header("here", config, {}), evidence)
    text = files_of(made)["checkpoint.py"]
    assert '"made_up"' in text
    assert '"alibi"' not in text
    assert "alibi" in {one.subject for one in decisions_of(made) if one.kind == "DECIDE"}


@pytest.mark.slow
def test_a_head_that_wants_other_inputs_is_named_and_the_rest_is_evidence_all_the_same():
    with warnings.catch_warnings(action="error", category=FutureWarning):  # of transformers' own
        evidence = find_evidence("longformer", {})
    assert evidence.reads.failed.keys() == {"question_answering", "multiple_choice"}
    assert "separator tokens" in evidence.reads.failed["question_answering"]
    assert "attention_window" in evidence.model_reads
    # A run of tokens alone needs no projections of global attention; they have their place.
    draft = make_draft("drafted", Header("here", {"model_type": "longformer"}, {}), evidence)
    assert draft.graph.has_global_tokens
    assert "unused" not in {line.subject for line in draft.decisions}


def test_a_vector_that_differs_by_rounding_alone_does_not_depend_on_later_tokens():
    class Model(torch.nn.Module):
        main_input_name, config, share = "input_ids", None, 1e-7

        def forward(self, input_ids):
            first = 1 + self.share * input_ids[:, -1:].float()
            return SimpleNamespace(last_hidden_state=first[..., None])

    model, ids = Model(), torch.arange(1, 8)[None]
    assert attends_ahead(model, ids) is False
    model.share = 1e-3
    assert attends_ahead(model, ids) is True
