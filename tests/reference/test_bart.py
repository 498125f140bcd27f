"""BART and its relatives against transformers: numbers, classifiers, and generated tokens."""

import json
import re
import warnings

import numpy as np
import pytest
from keras import ops

from inarch.errors import ConfigError
from inarch.models.backbone import Backbone
from inarch.models.bart.backbone import BartBackbone
from inarch.models.variables import named_variables, set_value
from inarch.tasks import QuestionAnswerer, Seq2SeqLM, TextClassifier, TextPreprocessor
from inarch.text import WordPieceTokenizer
from inarch.verify.inputs import make_inputs

from .conftest import Written, fields_of, noise_ratio, perturb, tensors, torch, transformers

pytestmark = [pytest.mark.reference, pytest.mark.turns(3)]

PADDING, END, WORDS = 1, 2, 61
IDS = {"pad_token_id": PADDING, "eos_token_id": END, "bos_token_id": 0}
# Fields that change the numbers, by class; the first of each is as in its published checkpoints.
CASES = [
    ("BartModel", {}),
    ("BartModel", {"scale_embedding": True, "activation_function": "relu"}),
    ("BartModel", {"encoder_layers": 2, "decoder_layers": 1, "pad_token_id": 5}),
    ("MBartModel", {"scale_embedding": True}),
    ("MBartModel", {"activation_function": "gelu_new", "decoder_attention_heads": 2}),
    ("PegasusModel", {"scale_embedding": True, "activation_function": "relu"}),
    ("PegasusModel", {"max_position_embeddings": 17, "pad_token_id": 0}),
    ("MarianModel", {"scale_embedding": True, "activation_function": "swish"}),
    ("MarianModel", {"share_encoder_decoder_embeddings": True, "decoder_vocab_size": None}),
    ("MarianModel", {"share_encoder_decoder_embeddings": False, "decoder_vocab_size": 47}),
    ("M2M100Model", {"scale_embedding": True}),
    ("M2M100Model", {"scale_embedding": False, "pad_token_id": 4, "activation_function": "gelu"}),
]
MODELS = [
    ("BartForConditionalGeneration", {}),
    ("MBartForConditionalGeneration", {"scale_embedding": True}),
    ("PegasusForConditionalGeneration", {"scale_embedding": True}),
    ("MarianMTModel", {"share_encoder_decoder_embeddings": True, "decoder_vocab_size": None}),
    ("M2M100ForConditionalGeneration", {}),
]


def write(folder, kind, seed=0, **changes):
    """A tiny model with random weights, and the sinusoids that its class has."""
    cls = getattr(transformers, kind)
    config = cls.config_class(**{**fields_of(cls), **IDS, "decoder_start_token_id": END, **changes})
    config._attn_implementation = "eager"
    model = cls(config).eval()
    perturb(model, seed)
    with torch.no_grad():
        for module in model.modules():
            if hasattr(module, "create_weight"):
                module.weight.copy_(module.create_weight())
        if hasattr(model, "final_logits_bias"):
            model.final_logits_bias.normal_(generator=torch.Generator().manual_seed(seed))
    model.tie_weights()
    model.save_pretrained(folder)
    return Written(folder, model)


@pytest.mark.parametrize(("kind", "changes"), CASES)
def test_numbers_are_the_references_and_the_file_comes_back(kind, changes, tmp_path):
    written = write(tmp_path / "one", kind, **changes)
    ours = Backbone.from_preset(tmp_path / "one")
    x = make_inputs(ours, 0, (13, 9, 1, 6))
    found = ours(x)
    names = {"encoder": "encoder_last_hidden_state", "decoder": "last_hidden_state"}
    for stack, name in names.items():
        real = x[f"{stack}_padding_mask"] != 0
        single, double = (written.outputs(x, name, wide)[real] for wide in (False, True))
        array = ops.convert_to_numpy(found[f"{stack}_sequence_output"])[real]
        assert noise_ratio(array, single, double) <= 4
    ours.save_to_preset(tmp_path / "two")
    assert tensors(tmp_path / "one") == tensors(tmp_path / "two")
    assert (tmp_path / "one/config.json").read_bytes() == (
        tmp_path / "two/config.json"
    ).read_bytes()


@pytest.mark.parametrize(("kind", "changes"), CASES[::2])
def test_the_reference_reads_a_new_bart_and_changed_relatives(kind, changes, tmp_path):
    cls = getattr(transformers, kind)
    loaded = Backbone.from_preset(write(tmp_path / "base", kind, **changes).folder)
    # New models are of the folder's first format.
    ours = BartBackbone(**loaded.arguments) if kind == "BartModel" else loaded
    random = np.random.default_rng(1)
    for name, variable in named_variables(ours).items():
        noise = random.normal(size=tuple(variable.shape))
        set_value(variable, 1 + 0.3 * noise if name.endswith("gamma") else noise)
    ours.save_to_preset(tmp_path / "new")
    theirs = cls.from_pretrained(tmp_path / "new", attn_implementation="eager").eval()
    x = make_inputs(ours, 0, (7, 3))
    written = Written(tmp_path / "new", theirs)
    real = x["decoder_padding_mask"] != 0
    single, double = (written.outputs(x, "last_hidden_state", wide)[real] for wide in (False, True))
    found = ops.convert_to_numpy(ours(x)["decoder_sequence_output"])[real]
    assert noise_ratio(found, single, double) <= 4


def vocabulary():
    """Words `w4` and so on by id, whose texts are their ids."""
    special = ["[CLS]", "[PAD]", "[SEP]", "[UNK]"]
    return [*special, *(f"w{i}" for i in range(len(special), WORDS))]


def letters(length=16):
    return TextPreprocessor(WordPieceTokenizer(vocabulary(), mask_token=None), length)


TEXTS = ["w5 w9 w40 w17 w8", "w30", "w11 w12 w13 w44 w15 w6 w7"]


@pytest.mark.parametrize("family", ["Bart", "MBart"])
@pytest.mark.parametrize("task", [TextClassifier, QuestionAnswerer])
def test_heads_over_a_text_read_it_by_both_stacks(task, family, tmp_path):
    kinds = {TextClassifier: "SequenceClassification", QuestionAnswerer: "QuestionAnswering"}
    own = {"num_labels": 3} if task is TextClassifier else {}
    written = write(tmp_path / "one", f"{family}For{kinds[task]}", **own)
    ours = task.from_preset(tmp_path / "one", preprocessor=None)
    assert ours.fresh_weights == ()
    x = make_inputs(ours, 0, (13, 9, 2, 6))
    if family == "MBart":  # a text ends with its language, one for each row
        last = x["padding_mask"].sum(1) - 1
        x["token_ids"][range(4), last - 1] = END
        x["token_ids"][range(4), last] = [57, 58, 59, 60]
    name = "logits" if task is TextClassifier else "start_logits"
    single, double = (written.outputs(x, name, wide) for wide in (False, True))
    found = ops.convert_to_numpy(ours(x))
    if task is QuestionAnswerer:
        real = x["padding_mask"] != 0
        found, single, double = found[..., 0][real], single[real], double[real]
    assert noise_ratio(found, single, double) <= 4
    ours.save_to_preset(tmp_path / "two")
    assert tensors(tmp_path / "one") == tensors(tmp_path / "two")


def test_packed_texts_are_classified_as_the_reference_does_alone(tmp_path):
    written = write(tmp_path, "BartForSequenceClassification", num_labels=24)
    ours = TextClassifier.from_preset(tmp_path, preprocessor=letters())
    found = ours.predict(TEXTS * 3)
    for text, row in zip(TEXTS * 3, found, strict=True):
        ids = torch.tensor([letters().encode([text])[0].ids])
        with torch.no_grad():
            double = written.model.double()(ids).logits.numpy()[0]
            single = written.model.float()(ids).logits.numpy()[0]
        assert noise_ratio(row, single, double) <= 4


OPTIONS = [
    {},
    {"num_beams": 4},
    {"num_beams": 3, "length_penalty": 2.0, "no_repeat_ngram_size": 2, "early_stopping": True},
    {"num_beams": 2, "num_return_sequences": 2, "forced_bos_token_id": 9},
    {"forced_bos_token_id": 9, "forced_eos_token_id": END, "min_length": 4},
]


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize(("kind", "changes"), MODELS)
def test_generated_tokens_are_the_references(kind, changes, options, tmp_path):
    written = write(tmp_path, kind, **changes)
    ours = Seq2SeqLM.from_preset(tmp_path, preprocessor=letters(31))
    usual = {"max_new_tokens": 12, **options}
    found = ours.generate(TEXTS, **usual)
    model = written.model.float()
    for text, own in zip(TEXTS, found, strict=True):
        ids = torch.tensor([letters().encode([text])[0].ids])
        given = {"attention_mask": torch.ones_like(ids), "do_sample": False, **usual}
        with torch.no_grad():
            rows = model.generate(ids, **given).tolist()
        texts = [own] if isinstance(own, str) else own
        assert [re.findall(r"w\d+", each) for each in texts] == [
            [vocabulary()[i] for i in row[1:] if i > 3] for row in rows
        ]


def test_a_file_of_the_bare_model_has_a_language_model_without_bias(tmp_path):
    write(tmp_path, "BartModel")
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        ours = Seq2SeqLM.from_preset(tmp_path, preprocessor=None)
    assert ours.fresh_weights == ()
    theirs = transformers.BartForConditionalGeneration.from_pretrained(
        tmp_path, attn_implementation="eager"
    )
    x = make_inputs(ours, 0, (13, 9, 1, 6))
    both = Written(tmp_path, theirs.eval())
    real = x["decoder_padding_mask"] != 0
    single, double = (both.outputs(x, "logits", wide)[real] for wide in (False, True))
    assert noise_ratio(ops.convert_to_numpy(ours(x))[real], single, double) <= 4
    assert not ops.convert_to_numpy(ours.get_layer("logits_bias").bias).any()


def test_untied_embeddings_are_refused_by_name(tmp_path):
    write(tmp_path, "MarianModel", share_encoder_decoder_embeddings=True, decoder_vocab_size=None)
    path = tmp_path / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps(config | {"tie_word_embeddings": False}))
    with pytest.raises(ConfigError, match="tie_word_embeddings"):
        Backbone.from_preset(tmp_path)
