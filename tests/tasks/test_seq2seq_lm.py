"""Laws of `Seq2SeqLM`: a text from a text, and what it is trained on."""

import functools
import json
import string
import tempfile
from pathlib import Path

import keras
import numpy as np
import pytest

from inarch import workflows
from inarch.errors import ConfigError, InarchError, InputError, PresetError
from inarch.models.backbone import Backbone
from inarch.models.t5.backbone import T5Backbone
from inarch.models.variables import named_variables, set_value
from inarch.runtime.forward import softmax
from inarch.tasks import CausalLM, Seq2SeqLM, TextEmbedder, TextPreprocessor
from inarch.text import Tokenizer
from inarch.text.json_parts import tokenizer_json

pytestmark = pytest.mark.turns(3)

PAD, END, UNKNOWN = 0, 1, 2
TOKENS = ["<pad>", "</s>", "<unk>", "▁", *string.ascii_lowercase]
PAIRS = [("abc", "cba"), ("a dog", "god a"), ("x", "x"), ("hello there", "ereht olleh")]
SOURCES, TARGETS = ([pair[side] for pair in PAIRS] for side in (0, 1))
START = {"decoder_start_token_id": PAD, "eos_token_id": END}


def letters_tokenizer():
    """One token for each letter and space; the end comes from the class of the tokenizer."""
    model = {"type": "Unigram", "unk_id": UNKNOWN, "vocab": [[t, -1.0] for t in TOKENS]}
    space = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}
    added = [
        {"id": i, "content": TOKENS[i], "special": True, "single_word": False, "lstrip": False,
            "rstrip": False, "normalized": False}
        for i in range(3)
    ]  # fmt: skip
    spec = tokenizer_json(model, pre_tokenizer=space, decoder=space, added_tokens=added)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        (path / "tokenizer.json").write_text(json.dumps(spec))
        (path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "T5Tokenizer"}))
        return Tokenizer.from_folder(path)


def make_seq2seq(tokenizer, scale=0.6, tied=True, generation=START, kind=Seq2SeqLM, **arguments):
    keras.utils.set_random_seed(0)
    backbone = T5Backbone(
        len(TOKENS), 2, 1, 2, 16, 24, 8, dropout=0.0, num_buckets=8, max_distance=20
    )
    task = kind(backbone, TextPreprocessor(tokenizer, 64), tied, generation, **arguments)
    if scale:
        random = np.random.default_rng(1)
        for name, variable in named_variables(task).items():
            value = scale * random.normal(size=tuple(variable.shape))
            set_value(variable, 1 + value if name.endswith("gamma") else value)
    return task


@pytest.fixture(scope="module")
def tokenizer():
    return letters_tokenizer()


@pytest.fixture(scope="module")
def make_task(tokenizer):
    return functools.partial(make_seq2seq, tokenizer)


@pytest.fixture(scope="module")
def task(make_task):
    return make_task()


@pytest.fixture(scope="module")
def folder(task, tmp_path_factory):
    path = tmp_path_factory.mktemp("t5")
    task.save_to_preset(path)
    return path


def ids_of(task, text):
    return task.preprocessor.tokenizer.encode(text).ids


def by_hand(task, source, tokens=12):
    """The likeliest tokens one by one, by the whole model without a cache."""
    ids, found = np.array([ids_of(task, source)], "int32"), [PAD]
    while len(found) <= tokens:
        # Of one length, so that its operations are compiled once; none sees those after it.
        read = np.array([[*found, *[UNKNOWN] * (tokens + 1 - len(found))]], "int32")
        x = {"encoder_token_ids": ids, "decoder_token_ids": read}
        x |= {n.replace("token_ids", "padding_mask"): np.ones_like(a) for n, a in x.items()}
        logits = keras.ops.convert_to_numpy(task(x))
        found.append(int(np.argmax(logits[0, len(found) - 1])))
        if found[-1] == END:
            break
    return task.preprocessor.tokenizer.decode(found[1:])


# --- training ---------------------------------------------------------------------------------


def test_a_target_is_read_after_the_start_and_predicted_token_by_token(task):
    x, y, weight = task.collate(PAIRS, None, None)(np.arange(4), np.random.default_rng(0))
    for row, (source, target) in enumerate(PAIRS):
        read, given = ids_of(task, source), ids_of(task, target)
        assert given[-1] == read[-1] == END
        assert x["encoder_token_ids"][row, : len(read)].tolist() == read
        assert x["encoder_padding_mask"][row].sum() == len(read)
        assert x["decoder_token_ids"][row, : len(given)].tolist() == [PAD, *given[:-1]]
        assert x["decoder_padding_mask"][row].sum() == len(given)
        assert y[row, : len(given)].tolist() == given
        assert weight[row].nonzero()[0].tolist() == list(range(len(given)))
    pairs = task.collate(SOURCES, TARGETS, [1, 2, 3, 4])
    other, same, weighed = pairs(np.arange(4), np.random.default_rng(0))
    np.testing.assert_array_equal(same, y)
    np.testing.assert_array_equal(weighed, weight * np.array([[1], [2], [3], [4]]))
    assert all((other[name] == x[name]).all() for name in x)


def test_logits_and_loss_are_those_of_each_pair_alone(task):
    together = task.predict(PAIRS, batch_size=3)
    surprisals = []
    for pair, row in zip(PAIRS, together, strict=True):
        (alone,) = task.predict([pair])
        labels = ids_of(task, pair[1])
        assert alone.shape == (len(labels), len(TOKENS))
        np.testing.assert_allclose(row[: len(labels)], alone, rtol=1e-4, atol=1e-4)
        surprisals += list(-np.log(softmax(alone.astype("float64"))[range(len(labels)), labels]))
    loss = task.evaluate(SOURCES, TARGETS, verbose=0, return_dict=True)["loss"]
    assert loss == pytest.approx(np.mean(surprisals), rel=1e-4)


def test_the_default_prompt_is_put_before_sources_alone(task):
    task.preprocessor.prompts = {"turn": "turn "}
    task.preprocessor.default_prompt_name = "turn"
    try:
        x, y, _ = task.collate([("abc", "cba")], None, None)([0], np.random.default_rng(0))
        by_default = task.generate(SOURCES, max_new_tokens=8)
        named = task.generate(SOURCES, max_new_tokens=8, prompt_name="turn")
        with pytest.raises(InputError, match="give one of them"):
            task.generate("a", prompt_name="turn", prompt="b")
        with pytest.raises(InputError, match="no prompt 'fly'"):
            task.generate("a", prompt_name="fly")
    finally:
        task.preprocessor.default_prompt_name = None
        task.preprocessor.prompts = {}
    read = ids_of(task, "turn abc")
    assert x["encoder_token_ids"][0, : len(read)].tolist() == read
    assert y[0, :4].tolist() == ids_of(task, "cba")[:4]
    given = task.generate(SOURCES, max_new_tokens=8, prompt="turn ")
    assert by_default == named == given
    assert given == task.generate([f"turn {text}" for text in SOURCES], max_new_tokens=8)


def test_what_was_learned_is_generated(make_task):
    task = make_task(scale=0.0)
    task.compile(keras.optimizers.Adam(5e-3))
    task.fit(SOURCES * 8, TARGETS * 8, epochs=200, batch_size=16, verbose=0)
    assert task.generate(SOURCES, max_new_tokens=20) == TARGETS
    assert task.generate(SOURCES, max_new_tokens=20, num_beams=3) == TARGETS


@pytest.mark.parametrize(
    ("x", "y", "words"),
    [(["a"], None, "give a pair of a source and a target"),
     (["a", "b"], ["c"], "2 sources and 1 targets")],
)  # fmt: skip
def test_examples_without_a_target_are_named(x, y, words, task):
    with pytest.raises(InputError, match=words):
        task.fit(x, y, verbose=0)


# --- generating -------------------------------------------------------------------------------


@pytest.mark.parametrize("tied", [True, False])
def test_the_cache_gives_what_the_whole_model_gives_and_no_neighbor_changes_it(make_task, tied):
    task = make_task(0.7, tied)
    wanted = [by_hand(task, source) for source in SOURCES]
    assert len({*wanted}) > 1
    assert task.generate(SOURCES, max_new_tokens=12, batch_size=3) == wanted
    assert task.generate(SOURCES[1], max_new_tokens=12) == wanted[1]
    assert "".join(task.stream(SOURCES[1], max_new_tokens=12)) == wanted[1]
    assert list(task.stream(iter(SOURCES), max_new_tokens=12)) == wanted
    beams = task.generate(SOURCES, max_new_tokens=8, num_beams=3, num_return_sequences=2)
    for source, texts in zip(SOURCES, beams, strict=True):
        options = {"max_new_tokens": 8, "num_beams": 3, "num_return_sequences": 2}
        assert task.generate(source, **options) == texts


def test_lengths_of_sources_and_texts_share_compiled_programs(task):
    task.generate(["a" * 5], max_new_tokens=3)
    generator = task.generator.generator
    before = len(generator._steps)
    for length, tokens in ((1, 16), (9, 5), (14, 1)):
        task.generate(["x" * length], max_new_tokens=tokens)
    assert len(generator._steps) == before


def test_samples_are_the_same_with_a_seed_and_differ_between_texts_and_seeds(task):
    options = {"do_sample": True, "max_new_tokens": 12, "temperature": 2.0, "min_new_tokens": 12}
    first = task.generate(["abc", "abc"], seed=3, **options)
    assert first == task.generate(["abc", "abc"], seed=3, **options)
    assert first[0] != first[1]
    assert first != task.generate(["abc", "abc"], seed=4, **options)
    several = task.generate("abc", seed=3, num_return_sequences=2, **options)
    assert len(several) == 2


def test_forced_tokens_come_first_and_last(task):
    letter = TOKENS.index("q")
    options = {"max_new_tokens": 5, "forced_bos_token_id": letter, "min_new_tokens": 4}
    for beams in (1, 2):
        texts = task.generate(SOURCES, num_beams=beams, forced_eos_token_id=letter, **options)
        assert all(text[0] == text[-1] == "q" for text in texts)
        # A limit with the start token is a token less.
        options["max_length"] = options.pop("max_new_tokens") + 1
        again = task.generate(SOURCES, num_beams=beams, forced_eos_token_id=letter, **options)
        assert again == texts
        options["max_new_tokens"] = options.pop("max_length") - 1
    without = task.generate(SOURCES, max_new_tokens=9, bad_words_ids=[[i] for i in range(4, 20)])
    assert not {*"abcdefghijklmnop"} & {*"".join(without)}


@pytest.mark.parametrize(
    ("texts", "options", "words"),
    [([("a", "b")], {}, "a pair at 0"), (3, {}, "give a list of strings"),
     ("a", {"tempreature": 1}, "did you mean temperature"),
     ("a", {"bad_words_ids": [[1, 2]]}, "a list of lists of one token id each"),
     ("a", {"max_length": 1}, "max_length is 1"), ("a", {"prompt": 3}, "prompt is 3")],
)  # fmt: skip
def test_what_cannot_be_generated_is_named(texts, options, words, task):
    with pytest.raises(InarchError, match=words):
        task.generate(texts, **options)


def test_a_task_without_a_start_token_is_refused(make_task):
    task = make_task(generation={})
    with pytest.raises(InputError, match="decoder_start_token_id"):
        task.generate("a")


# --- files ------------------------------------------------------------------------------------


@pytest.mark.parametrize("tied", [True, False])
def test_all_ways_of_saving_keep_the_task(make_task, tied, tmp_path):
    task = make_task(0.7, tied, {**START, "max_new_tokens": 9, "num_beams": 2})
    wanted = task.generate(SOURCES)
    task.save_to_preset(tmp_path / "one")
    again = Seq2SeqLM.from_preset(tmp_path / "one")
    again.save_to_preset(tmp_path / "two")
    for name in ("config.json", "generation_config.json", "model.safetensors", "tokenizer.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    config = json.loads((tmp_path / "one/config.json").read_text())
    assert config["architectures"] == ["T5ForConditionalGeneration"]
    assert config["decoder_start_token_id"] == PAD
    task.save(tmp_path / "task.keras")
    kept = keras.saving.load_model(tmp_path / "task.keras")
    found = workflows.load(tmp_path / "one")
    clone = keras.models.clone_model(task)
    clone.set_weights(task.get_weights())
    for other in (again, kept, found, clone):
        assert type(other) is Seq2SeqLM
        assert other.tie_word_embeddings is tied
        assert other.generate(SOURCES) == wanted


def test_options_of_an_older_config_and_its_prompts_are_read(folder, task, tmp_path):
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "generation_config.json").unlink()
    config = json.loads((tmp_path / "config.json").read_text())
    tasks = {"turning": {"prefix": "turn: ", "num_beams": 4}, "other": {"max_length": 3}}
    config |= {"max_length": 6, "num_beams": 2, "task_specific_params": tasks}
    (tmp_path / "config.json").write_text(json.dumps(config))
    found = Seq2SeqLM.from_preset(tmp_path)
    assert found.preprocessor.prompts == {"turning": "turn: "}
    assert found.generate(SOURCES) == task.generate(SOURCES, max_length=6, num_beams=2)
    found.generation = {"typical_p": 0.3, **START}
    with pytest.raises(ConfigError, match="'typical_p' is 0.3"):
        found.generate("a")


def test_untied_embeddings_are_read_from_either_field(make_task, tmp_path):
    task = make_task(0.7, tied=False)
    task.save_to_preset(tmp_path)
    path = tmp_path / "config.json"
    config = json.loads(path.read_text())
    assert config.pop("tie_word_embeddings") is False
    path.write_text(json.dumps(config | {"scale_decoder_outputs": False}))
    again = Seq2SeqLM.from_preset(tmp_path)
    assert again.tie_word_embeddings is False
    assert again.generate(SOURCES, max_new_tokens=9) == task.generate(SOURCES, max_new_tokens=9)


def test_the_encoder_alone_embeds_and_its_file_has_no_decoder(task, folder, tmp_path):
    embedder = TextEmbedder.from_preset(folder)
    assert embedder.backbone.arguments["decoder"] is False
    vectors = embedder.predict(SOURCES)
    states = [
        keras.ops.convert_to_numpy(task.backbone.encoder()({
            "encoder_token_ids": np.array([ids_of(task, source)], "int32"),
            "encoder_padding_mask": np.ones((1, len(ids_of(task, source))), "int32"),
        }))[0].mean(axis=0)
        for source in SOURCES
    ]  # fmt: skip
    np.testing.assert_allclose(vectors, states, rtol=1e-4, atol=1e-5)
    embedder.save_to_preset(tmp_path / "whole")  # with the decoder, as it was loaded
    assert Seq2SeqLM.from_preset(tmp_path / "whole").fresh_weights == ()
    encoder = T5Backbone(**{**task.backbone.arguments, "decoder": False})
    encoder.save_to_preset(tmp_path / "alone")
    assert Backbone.from_preset(tmp_path / "alone").arguments["decoder"] is False
    again = TextEmbedder.from_preset(tmp_path / "alone", preprocessor=None)
    assert again.fresh_weights == ()
    with pytest.warns(UserWarning, match="decoder_layer_0"):
        Seq2SeqLM.from_preset(tmp_path / "alone", preprocessor=None)


def test_a_decoder_alone_is_no_encoder_decoder(task, folder):
    with pytest.raises(PresetError, match="no head for CausalLM"):
        CausalLM.from_preset(folder)
    with pytest.raises(InputError, match="needs the input token_ids"):
        TextEmbedder(task.backbone)
