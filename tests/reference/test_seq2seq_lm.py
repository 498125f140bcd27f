"""`Seq2SeqLM` against transformers: logits, losses, files, and the tokens of `generate`."""

import json

import keras
import numpy as np
import pytest

from inarch.models.variables import named_variables, set_value
from inarch.tasks import Seq2SeqLM, TextEmbedder, TextPreprocessor
from inarch.text import BytePairTokenizer
from inarch.verify.inputs import make_inputs
from inarch.workflows.verification import verify_checkpoint

from .conftest import noise_ratio, tensors, torch, transformers

pytestmark = [pytest.mark.reference, pytest.mark.turns(3)]

# One token for each letter, so that texts are equal where tokens are.
LETTERS = [*map(chr, range(ord("A"), ord("Z") + 1)), *map(chr, range(ord("a"), ord("z") + 1))]
PAD, END = 0, 1
VOCABULARY = {token: i for i, token in enumerate(["<pad>", "</s>", *LETTERS])}
SOURCES, TARGETS = ["someSource", "A", "languageModel"], ["target", "ofIt", "x"]
NEW = 12
T5 = {"vocab_size": len(VOCABULARY), "pad_token_id": PAD, "eos_token_id": END,
    "decoder_start_token_id": PAD}  # fmt: skip
# The reference's cache is as deep as the encoder, so its decoder isn't deeper.
MODELS = [
    ("T5ForConditionalGeneration", T5),
    ("T5ForConditionalGeneration", {**T5, "feed_forward_proj": "gated-gelu", "d_kv": 7}),
    ("T5ForConditionalGeneration", {**T5, "feed_forward_proj": "gated-silu",
        "num_decoder_layers": 1}),
    ("MT5ForConditionalGeneration", {**T5, "layer_norm_epsilon": 1e-3}),
    # Whose class ties what it doesn't scale, as long as no file has both.
    ("T5ForConditionalGeneration", {**T5, "tie_word_embeddings": False}),
]  # fmt: skip
OPTIONS = [
    {},
    {"num_beams": 4},
    {"num_beams": 3, "length_penalty": 2.0, "early_stopping": True, "no_repeat_ngram_size": 2,
        "min_length": 5},
    {"num_beams": 2, "length_penalty": -0.5, "early_stopping": "never"},
    {"num_beams": 4, "forced_bos_token_id": 7, "forced_eos_token_id": END,
        "repetition_penalty": 1.3},
    {"num_beams": 3, "num_return_sequences": 2, "renormalize_logits": True,
        "bad_words_ids": [[5], [6]]},
    {"forced_bos_token_id": 9, "forced_eos_token_id": END, "max_new_tokens": 6},
    {"min_length": 4, "suppress_tokens": [5], "begin_suppress_tokens": [6, 7], "max_length": 9},
]  # fmt: skip


def tokenizer():
    special = {"pad_token": "<pad>", "eos_token": "</s>"}
    return BytePairTokenizer(VOCABULARY, [], special_tokens=special)


def written(write, kind, untied=False, **changes):
    model = write(kind, **changes)
    if untied:
        untie(model.model)
        model.model.save_pretrained(model.folder)
    tokenizer().save(model.folder)
    return model


def untie(model):
    """Give a model output embeddings of its own, as FLAN-T5 and mT5 have them."""
    model.lm_head.weight = torch.nn.Parameter(0.5 * torch.randn_like(model.lm_head.weight))
    for name in ("_tied_weights_keys", "all_tied_weights_keys"):
        keys = getattr(model, name)  # of the class, in part
        setattr(model, name, {n: keys[n] for n in keys if n != "lm_head.weight"})
    model.config.scale_decoder_outputs = False


def randomize(task, seed):
    """Every weight random, kernels of the scale of their input and the rest of order one."""
    random = np.random.default_rng(seed)
    for name, variable in named_variables(task).items():
        noise = random.standard_normal(tuple(variable.shape))
        if name.endswith("gamma"):
            noise = 1 + 0.3 * noise
        elif name.endswith("kernel"):
            noise = noise / len(noise) ** 0.5
        set_value(variable, noise)


def ids_of(text):
    return [VOCABULARY[letter] for letter in text]


def generated(model, text, **options):
    """The reference's texts for one source."""
    options = {"max_new_tokens": NEW, "do_sample": False, **options}
    if "max_length" in options:
        del options["max_new_tokens"]
    with torch.inference_mode():
        rows = model.generate(torch.tensor([ids_of(text)]), **options)[:, 1:].tolist()
    found = [row[: row.index(END)] if END in row else row for row in rows]
    return ["".join(LETTERS[i - 2] for i in row if i > END) for row in found]


@pytest.mark.parametrize(("kind", "changes"), MODELS)
def test_texts_are_those_of_transformers(kind, changes, write, tmp_path):
    task = Seq2SeqLM.from_preset(written(write, kind, kind[0] == "M", **changes).folder)
    cls, ended = getattr(transformers, kind), 0
    for seed, several in enumerate(np.split(np.arange(len(OPTIONS)), 2)):
        randomize(task, seed)
        task.save_to_preset(tmp_path / "out")
        model = cls.from_pretrained(tmp_path / "out").eval()
        for number in several:
            options = {"max_new_tokens": NEW, **OPTIONS[number]}
            if "max_length" in options:
                del options["max_new_tokens"]
            found = task.generate(SOURCES, **options)
            wanted = [generated(model, text, **OPTIONS[number]) for text in SOURCES]
            if options.get("num_return_sequences", 1) == 1:
                wanted = [text for (text,) in wanted]
            assert found == wanted, options
            ended += sum(len(text) < NEW for text in found)
    assert ended


@pytest.mark.parametrize("untied", [False, True])
@pytest.mark.parametrize(("kind", "changes"), [MODELS[0], *MODELS[3:]])
def test_logits_and_losses_are_those_of_transformers_there_and_back(
    kind, changes, untied, write, tmp_path
):
    theirs = written(write, kind, untied, **changes)
    task = Seq2SeqLM.from_preset(theirs.folder)
    assert task.tie_word_embeddings is not untied
    assert task.fresh_weights == ()
    x = make_inputs(task, lengths=[13, 5, 1])
    real = x["decoder_padding_mask"].astype(bool)
    single, double = (theirs.outputs(x, "logits", wide)[real] for wide in (False, True))
    ours = keras.ops.convert_to_numpy(task(x)).astype("float64")[real]
    assert noise_ratio(ours, single, double) <= 4
    task.save_to_preset(tmp_path / "out")
    assert tensors(tmp_path / "out") == tensors(theirs.folder)
    mine, other = ((f / "config.json").read_text() for f in (tmp_path / "out", theirs.folder))
    assert json.loads(mine) == json.loads(other)

    model, total, count = theirs.model.float(), 0.0, 0
    for source, target in zip(SOURCES, TARGETS, strict=True):
        labels = torch.tensor([ids_of(target)])
        with torch.inference_mode():
            loss = model(input_ids=torch.tensor([ids_of(source)]), labels=labels).loss
        total, count = total + float(loss) * labels.shape[1], count + labels.shape[1]
    loss = task.evaluate(SOURCES, TARGETS, verbose=0, return_dict=True)["loss"]
    assert loss == pytest.approx(total / count, rel=1e-4)

    task.fit(SOURCES, TARGETS, epochs=1, verbose=0)
    task.save_to_preset(tmp_path / "out")
    back, report = getattr(transformers, kind).from_pretrained(
        tmp_path / "out", output_loading_info=True
    )
    assert not any(report[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    theirs.model = back.eval()
    changed = theirs.outputs(x, "logits", False)[real]
    assert np.abs(changed - single).max() > 1e-4
    ours = keras.ops.convert_to_numpy(task(x))[real]
    assert noise_ratio(ours, changed, theirs.outputs(x, "logits", True)[real]) <= 4
    wanted = [text for source in SOURCES for text in generated(back.float(), source)]
    assert task.generate(SOURCES, max_new_tokens=NEW) == wanted


@pytest.mark.parametrize("family", ["T5", "MT5"])
def test_the_encoder_alone_is_that_of_transformers_and_comes_back(family, write, tmp_path):
    theirs = write(f"{family}EncoderModel", **T5)
    task = TextEmbedder.from_preset(theirs.folder, preprocessor=None)
    assert task.backbone.arguments["decoder"] is False
    x = make_inputs(task.backbone, lengths=[13, 5, 1])
    real = x["padding_mask"].astype(bool)
    single, double = (theirs.outputs(x, "last_hidden_state", w)[real] for w in (False, True))
    ours = keras.ops.convert_to_numpy(task.backbone(x)).astype("float64")[real]
    assert noise_ratio(ours, single, double) <= 4
    task.save_to_preset(tmp_path / "out")
    assert tensors(tmp_path / "out") == tensors(theirs.folder)
    assert verify_checkpoint(theirs.folder).passed


def test_a_task_made_here_generates_there_as_here(tmp_path):
    from inarch.models.t5.backbone import T5Backbone

    keras.utils.set_random_seed(0)
    backbone = T5Backbone(len(VOCABULARY), 2, 2, 2, 16, 24, 8)
    generation = {"decoder_start_token_id": PAD, "eos_token_id": END}
    for tie in (True, False):
        task = Seq2SeqLM(backbone, TextPreprocessor(tokenizer(), 64), tie, generation)
        randomize(task, 3)
        task.save_to_preset(tmp_path / "made")
        model = transformers.AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "made").eval()
        wanted = [text for source in SOURCES for text in generated(model, source)]
        assert task.generate(SOURCES, max_new_tokens=NEW) == wanted
