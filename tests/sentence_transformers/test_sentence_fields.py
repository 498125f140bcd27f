"""Every field of sentence-transformers' files is honoured or refused by name."""

import json

import numpy as np
import pytest

from inarch.errors import ConfigError, InputError
from inarch.sentence_transformers import embedder_folder
from inarch.tasks import TextEmbedder, TextPreprocessor
from inarch.text import WordPieceTokenizer

from ..tasks.conftest import VOCABULARY, make_backbone

pytestmark = pytest.mark.turns(3)

PREFIX = "sentence_transformers."
SETTINGS, TRANSFORMER = "config_sentence_transformers.json", "sentence_bert_config.json"
# As version 6 of the library writes a folder.
WRITTEN = {
    "modules.json": [
        {"idx": 0, "name": "0", "path": "", "type": PREFIX + "base.modules.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": PREFIX + "modules.pooling.Pooling"},
        {"idx": 2, "name": "2", "path": "2_Normalize", "type": PREFIX + "modules.Normalize"},
    ],
    "1_Pooling/config.json": {
        "embedding_dimension": 16, "pooling_mode": ["cls", "mean"], "include_prompt": True
    },
    "2_Normalize/config.json": {
        "module_input_name": "sentence_embedding", "module_output_name": "sentence_embedding"
    },
    TRANSFORMER: {
        "transformer_task": "feature-extraction",
        "modality_config": {
            "text": {"method": "forward", "method_output_name": "last_hidden_state"}
        },
        "module_output_name": "token_embeddings",
    },
    SETTINGS: {
        "__version__": {"sentence_transformers": "6.2.0"}, "model_type": "SentenceTransformer",
        "prompts": {"query": "the ", "document": ""}, "default_prompt_name": None,
        "similarity_fn_name": "cosine", "requirements": {"transformers": ">=4.40"},
    },
}  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    for name, content in WRITTEN.items():
        write(tmp_path, name, content)
    return tmp_path


def write(folder, name, content):
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text(json.dumps(content))


def embedder(prompts=None, default_prompt_name=None, **options):
    text = TextPreprocessor(
        WordPieceTokenizer(VOCABULARY),
        20,
        prompts=prompts,
        default_prompt_name=default_prompt_name,
    )
    return TextEmbedder(make_backbone(), text, **options)


def test_what_the_library_writes_is_read(folder):
    found = embedder_folder.read(folder)
    assert found.pooling == ("cls", "mean")
    assert found.normalize
    assert found.prompts == {"query": "the ", "document": ""}
    assert (found.similarity_fn_name, found.truncate_dim) == ("cosine", None)
    assert found.files.keys() == WRITTEN.keys()


@pytest.mark.parametrize(
    ("file", "changes"),
    [
        (TRANSFORMER, {"modality_config": {"image": {}}}),
        (TRANSFORMER, {"transformer_task": "text-generation"}),
        (TRANSFORMER, {"module_output_name": "sentence_embedding"}),
        (TRANSFORMER, {"processing_kwargs": {"text": {"padding": "max_length"}}}),
        (TRANSFORMER, {"query_length": 8}),
        (TRANSFORMER, {"query_expansion": {"length": 32}}),
        (TRANSFORMER, {"tokenizer_name_or_path": "another"}),
        (TRANSFORMER, {"model_args": {"torch_dtype": "float16"}}),
        (TRANSFORMER, {"processor_kwargs": {"padding_side": "left"}}),
        (TRANSFORMER, {"config_args": {"num_hidden_layers": 1}}),
        (TRANSFORMER, {"max_seq_length": "many"}),
        (TRANSFORMER, {"do_lower_case": "yes"}),
        (TRANSFORMER, {"a_field_of_tomorrow": 1}),
        ("1_Pooling/config.json", {"include_prompt": False}),
        ("1_Pooling/config.json", {"pooling_mode": 5}),
        ("1_Pooling/config.json", {"pooling_mode_cls_token": "yes"}),
        ("1_Pooling/config.json", {"a_field_of_tomorrow": 1}),
        ("2_Normalize/config.json", {"module_input_name": "token_embeddings"}),
        (SETTINGS, {"similarity_fn_name": "maxsim"}),
        (SETTINGS, {"truncate_dim": 0}),
        (SETTINGS, {"prompts": ["query"]}),
        (SETTINGS, {"prompts": {"query": 1}}),
        (SETTINGS, {"default_prompt_name": "passage"}),
        (SETTINGS, {"model_type": "CrossEncoder"}),
    ],
)
def test_a_value_that_is_not_computed_is_refused_by_name(file, changes, folder):
    write(folder, file, WRITTEN[file] | changes)
    with pytest.raises(ConfigError) as error:
        embedder_folder.read(folder)
    (name,) = changes
    assert name in str(error.value)
    assert str(folder / file) in str(error.value)


@pytest.mark.parametrize(
    ("file", "changes"),
    [
        (TRANSFORMER, {"unpad_inputs": True, "query_length": None, "query_expansion": None}),
        (TRANSFORMER, {"model_args": {"attn_implementation": "sdpa"}, "tokenizer_args": {}}),
        (TRANSFORMER, {"config_kwargs": {"trust_remote_code": True}, "processing_kwargs": {}}),
        ("1_Pooling/config.json", {"word_embedding_dimension": 16}),
        (SETTINGS, {"prompts": None, "a_field_of_tomorrow": [1]}),
        (SETTINGS, {"similarity_fn_name": None, "truncate_dim": None}),
    ],
)
def test_a_value_that_changes_no_number_is_accepted(file, changes, folder):
    before = embedder_folder.read(folder)
    write(folder, file, WRITTEN[file] | changes)
    after = embedder_folder.read(folder)
    assert (after.pooling, after.similarity_fn_name) == (before.pooling, before.similarity_fn_name)


def test_the_tokenizers_own_length_goes_before_the_transformers(folder):
    write(folder, TRANSFORMER, {"max_seq_length": 9})
    assert embedder_folder.read(folder).max_seq_length == 9
    write(folder, TRANSFORMER, {"max_seq_length": 9, "processor_kwargs": {"model_max_length": 7}})
    assert embedder_folder.read(folder).max_seq_length == 7


def test_of_the_transformers_file_names_the_first_that_declares_something_counts(folder):
    write(folder, "sentence_albert_config.json", {"max_seq_length": 5})
    write(folder, "sentence_xlnet_config.json", {"max_seq_length": 6})
    write(folder, TRANSFORMER, {})
    assert embedder_folder.read(folder).max_seq_length == 5
    write(folder, TRANSFORMER, {"max_seq_length": 4})
    assert embedder_folder.read(folder).max_seq_length == 4


SIMILAR = {
    "cosine": lambda a, b: a @ b / np.linalg.norm(a) / np.linalg.norm(b),
    "dot": lambda a, b: a @ b,
    "euclidean": lambda a, b: -np.linalg.norm(a - b),
    "manhattan": lambda a, b: -np.abs(a - b).sum(),
}


@pytest.mark.parametrize("name", SIMILAR)
def test_similarity_is_the_function_of_its_name(name):
    random = np.random.default_rng(0)
    one, two = (random.normal(size=(rows, 6)).astype("float32") for rows in (3, 5))
    task = embedder(similarity_fn_name=name)
    expected = [[SIMILAR[name](a, b) for b in two] for a in one]
    np.testing.assert_allclose(task.similarity(one, two), expected, rtol=1e-5)
    np.testing.assert_allclose(task.similarity(one[0], two), expected[0], rtol=1e-5)
    assert task.similarity(one[:0], two).shape == (0, 5)


def test_a_truncated_vector_is_the_start_of_the_whole_one():
    texts = ["the cat sat", "a dog"]
    whole = embedder(normalize=True).embed(texts)
    np.testing.assert_array_equal(
        embedder(normalize=True, truncate_dim=5).embed(texts), whole[:, :5]
    )
    assert embedder(truncate_dim=99).embed(texts).shape == whole.shape
    assert embedder(truncate_dim=5).embed([]).shape == (0, 5)


def test_similarity_and_truncation_survive_a_save(tmp_path):
    task = embedder(similarity_fn_name="dot", truncate_dim=5)
    task.save_to_preset(tmp_path)
    again = TextEmbedder.from_preset(tmp_path)
    assert (again.similarity_fn_name, again.truncate_dim) == ("dot", 5)
    changed = TextEmbedder.from_preset(tmp_path, pooling="cls")
    changed.save_to_preset(tmp_path)
    found = TextEmbedder.from_preset(tmp_path)
    assert (found.similarity_fn_name, found.truncate_dim, found.pooling) == ("dot", 5, ("cls",))


@pytest.mark.parametrize("options", [{"similarity_fn_name": "maxsim"}, {"truncate_dim": 0}])
def test_an_unknown_similarity_and_an_empty_vector_are_refused(options):
    with pytest.raises(InputError, match=next(iter(options))):
        embedder(**options)


@pytest.mark.parametrize("modes", [("mean", "cls"), ("mean", "mean"), ("cls", "mean"), "max"])
def test_pooling_modes_keep_their_order_in_a_folder(modes, tmp_path):
    task = embedder(pooling=modes)
    task.save_to_preset(tmp_path)
    again = TextEmbedder.from_preset(tmp_path)
    assert again.pooling == task.pooling
    np.testing.assert_allclose(again.embed(["a cat"]), task.embed(["a cat"]), rtol=1e-5, atol=1e-6)


@pytest.mark.reference
def test_pooling_modes_keep_their_order_for_the_library(tmp_path):
    library = pytest.importorskip("sentence_transformers")
    task = embedder(pooling=("mean", "cls"))
    task.save_to_preset(tmp_path)
    found = library.SentenceTransformer(str(tmp_path), device="cpu").encode(["the cat sat"])
    np.testing.assert_allclose(found, task.embed(["the cat sat"]), rtol=1e-4, atol=1e-5)


def saved(folder, **changes):
    """A folder as version 6 of the library writes it around a saved model; its own fields stay."""
    embedder(pooling=("cls", "mean"), normalize=True).save_to_preset(folder)
    content = WRITTEN | {TRANSFORMER: WRITTEN[TRANSFORMER] | {"max_seq_length": 9, **changes}}
    for name in content:
        write(folder, name, content[name])
    return {name: (folder / name).read_text() for name in content}


def test_without_a_preprocessor_the_text_settings_of_the_files_stay(tmp_path):
    before = saved(tmp_path / "a", do_lower_case=True)
    for number, options in enumerate(({}, {"truncate_dim": 4}, {"pooling": "max"})):
        target = tmp_path / str(number)
        task = TextEmbedder.from_preset(tmp_path / "a", preprocessor=None, **options)
        task.save_to_preset(target)
        assert (target / TRANSFORMER).read_text() == before[TRANSFORMER]


@pytest.mark.parametrize(
    ("options", "changed"),
    [
        ({}, set()),
        ({"pooling": ["cls", "mean"], "normalize": True}, set()),
        ({"similarity_fn_name": "cosine"}, set()),
        ({"truncate_dim": 4}, {SETTINGS}),
        ({"prompts": {"q": "the "}, "default_prompt_name": "q"}, {SETTINGS}),
        ({"pooling": "max"}, {"modules.json", "1_Pooling/config.json", "2_Normalize/config.json"}),
        ({"normalize": False}, {"modules.json", "1_Pooling/config.json"}),
    ],
)
def test_an_argument_changes_the_files_that_it_is_in(options, changed, tmp_path):
    before = saved(tmp_path / "a")
    task = TextEmbedder.from_preset(tmp_path / "a", **options)
    task.save_to_preset(tmp_path / "b")
    after = {n: (tmp_path / "b" / n).read_text() for n in before if (tmp_path / "b" / n).is_file()}
    assert {name for name in after if after[name] != before[name]} == changed
    assert before.keys() - after.keys() == (
        {"2_Normalize/config.json"} if options.get("normalize") is False else set()
    )
    assert json.loads(after[SETTINGS]).keys() >= WRITTEN[SETTINGS].keys()
    again = TextEmbedder.from_preset(tmp_path / "b")
    np.testing.assert_array_equal(again.embed(["a cat"]), task.embed(["a cat"]))


def test_a_module_in_a_folder_of_a_folder_is_written_back(tmp_path):
    saved(tmp_path / "a")
    modules = json.loads(json.dumps(WRITTEN["modules.json"]))
    modules[1]["path"] = "modules/pooling/first"
    write(tmp_path / "a", "modules.json", modules)
    (tmp_path / "a/modules/pooling").mkdir(parents=True)
    write(tmp_path / "a", "modules/pooling/first/config.json", WRITTEN["1_Pooling/config.json"])
    task = TextEmbedder.from_preset(tmp_path / "a")
    task.save_to_preset(tmp_path / "b")
    assert TextEmbedder.from_preset(tmp_path / "b").files == task.files


def test_a_default_prompt_is_never_without_its_text():
    text = embedder(prompts={"q": "the "}, default_prompt_name="q").preprocessor
    for prompts in ({"other": "a "}, {}, None):
        with pytest.raises(InputError, match="'q', which is default_prompt_name; set .* None"):
            text.prompts = prompts
    assert text.prompts == {"q": "the "}
    text.prompts = {"q": "a "}
    text.default_prompt_name = None
    text.prompts = {"other": "the "}
    text.default_prompt_name = "other"
    assert text.get_config()["prompts"] == {"other": "the "}


def test_a_prompt_is_put_before_the_first_of_a_pair():
    task = embedder(prompts={"q": "the "}, default_prompt_name="q")
    np.testing.assert_array_equal(
        task.predict([("cat", "dog")]), embedder().embed([("the cat", "dog")])
    )
    np.testing.assert_array_equal(task.embed(["cat"]), embedder().embed(["the cat"]))


def test_prepared_arrays_and_batches_are_truncated_too():
    task = embedder(truncate_dim=5)
    x = task.select_inputs(task.preprocessor(["the cat sat", "a dog"]))
    whole = embedder().predict(x, verbose=0)
    np.testing.assert_array_equal(task.predict(x, verbose=0), whole[:, :5])
    np.testing.assert_array_equal(task.predict([(x,)], verbose=0), whole[:, :5])
    task.preprocessor = None
    np.testing.assert_array_equal(task.predict(x, verbose=0), whole[:, :5])


def test_pairs_are_weighed():
    pairs, weights = [("the cat", "a cat"), ("a dog", "the dog")], np.array([0.0, 3.0])
    task = embedder()
    losses = [
        task.evaluate(pairs, sample_weight=w, verbose=0) for w in (None, [0.0, 0.0], [2.0, 2.0])
    ]
    assert losses[1] == 0
    assert losses[2] == pytest.approx(2 * losses[0], rel=1e-4)
    make = task.collate(pairs, None, weights)
    *_, found = make(np.array([1, 0]), None)
    np.testing.assert_array_equal(found, [3.0, 0.0])
    with pytest.raises(InputError, match="2 texts and 1 sample weights"):
        task.fit(pairs, sample_weight=[1.0], verbose=0)
    with pytest.raises(InputError, match="has 1 text, and .* needs at least 2"):
        task.fit(["a", "b"], sample_weight=weights, verbose=0)
