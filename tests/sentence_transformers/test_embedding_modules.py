"""Laws of the modules around the pooling: computed in their order, and in every file."""

import json
import math

import keras
import ml_dtypes
import numpy as np
import pytest

from inarch.checkpoints.formats.files import open_weights, write_safetensors
from inarch.checkpoints.formats.weights import CODES, Shard, TensorInfo
from inarch.errors import CheckpointFileError, ConfigError, InputError, InputTypeError
from inarch.models.variables import named_variables
from inarch.tasks import TextEmbedder, TextPreprocessor
from inarch.text import WordPieceTokenizer

from ..tasks.conftest import VOCABULARY, learner, make_backbone

pytestmark = pytest.mark.turns(3)

TEXTS = ["the cat sat", "a dog ran on the road.", "bad"]
WORDS = {"type": "WordWeights", "vocab": VOCABULARY, "word_weights": {"cat": 0.25, "the": 3.0}}
MODULES = (
    {**WORDS, "unknown_word_weight": 0.5},
    {"type": "Dense", "in_features": 16, "out_features": 8, "activation_function": "gelu"},
    {"type": "LayerNorm", "dimension": 8},
    {"type": "Normalize"},
    {"type": "Dense", "out_features": 6, "bias": False, "use_residual": True},
)


def make(modules=MODULES, backbone=None, **options):
    """An embedder whose modules have weights of order one."""
    preprocessor = TextPreprocessor(WordPieceTokenizer(VOCABULARY), 20)
    task = TextEmbedder(backbone or make_backbone(), preprocessor, modules=modules, **options)
    random = np.random.default_rng(0)
    for name in sorted(task.sidecar_variables - {"token_weights/table"}):
        variable = named_variables(task)[name]
        variable.assign(random.normal(size=variable.shape))
    return task


@pytest.fixture(scope="module")
def task():
    return make(normalize=True)


@pytest.fixture(scope="module")
def vectors(task):
    return task.embed(TEXTS)


@pytest.fixture(scope="module")
def folder(task, tmp_path_factory):
    folder = tmp_path_factory.mktemp("embedder")
    task.save_to_preset(folder)
    return folder


def tree(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def gelu(x):
    return x * 0.5 * (1 + np.vectorize(math.erf)(x / np.sqrt(2)))


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def test_modules_are_computed_in_their_order(task, vectors):
    inputs = task.preprocessor(TEXTS)
    tokens = keras.ops.convert_to_numpy(
        task.backbone(task.select_inputs(inputs))["sequence_output"]
    )
    weights = np.array([{"cat": 0.25, "the": 3.0}.get(word, 0.5) for word in VOCABULARY])
    factors = weights[inputs["token_ids"]] * inputs["padding_mask"]
    x = (tokens * factors[..., None]).sum(1) / factors.sum(-1, keepdims=True)
    values = {n: keras.ops.convert_to_numpy(v) for n, v in named_variables(task).items()}
    x = gelu(x @ values["dense_1/kernel"] + values["dense_1/bias"])
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
    x = unit(x * values["layer_norm_2/gamma"] + values["layer_norm_2/beta"])
    x = np.tanh(x @ values["dense_4/kernel"]) + x @ values["dense_4_residual/kernel"]
    np.testing.assert_allclose(vectors, unit(x), atol=2e-5)


def test_the_weights_of_modules_are_in_every_file(task, vectors, folder, tmp_path):
    task.save(tmp_path / "model.keras")
    clone = keras.models.clone_model(task)
    clone.set_weights(task.get_weights())  # a clone's are fresh
    for again in (clone, keras.saving.load_model(tmp_path / "model.keras")):
        np.testing.assert_allclose(again.embed(TEXTS), vectors, atol=1e-6)
        assert again.modules == task.modules
    again = TextEmbedder.from_preset(folder)
    np.testing.assert_allclose(again.embed(TEXTS), vectors, atol=1e-6)
    assert (again.fresh_weights, again.normalize) == ((), True)
    again.save_to_preset(tmp_path / "again")
    assert tree(tmp_path / "again") == tree(folder)


def test_a_loader_chooses_pooling_and_modules_of_another_width(folder):
    chosen = [{"type": "Dense", "out_features": 4}]
    with pytest.warns(UserWarning, match="dense_0/kernel"):
        task = TextEmbedder.from_preset(folder, pooling=["cls", "mean"], modules=chosen)
    assert task.fresh_weights == ("dense_0/bias", "dense_0/kernel")
    assert task.embed(TEXTS).shape == (3, 4)


def test_modules_are_named_as_sentence_transformers_names_them(folder):
    listed = json.loads((folder / "modules.json").read_text())
    assert [m["path"] for m in listed] == [
        "", "1_WordWeights", "2_Pooling", "3_Dense", "4_LayerNorm", "5_Normalize", "6_Dense",
        "7_Normalize",
    ]  # fmt: skip
    with open_weights(folder / "6_Dense") as weights:
        assert {n: i.shape for n, i in weights.header.items()} == {
            "linear.weight": (6, 8), "residual.weight": (6, 8)
        }  # fmt: skip
    config = json.loads((folder / "3_Dense/config.json").read_text())
    assert config["activation_function"] == "torch.nn.modules.activation.GELU"


def test_trained_modules_are_saved_as_they_are_trained(tmp_path):
    task = make([WORDS, {"type": "Dense", "out_features": 4}], learner())
    task.compile(optimizer=keras.optimizers.SGD(1.0), loss="mse")
    before = {n: np.array(named_variables(task)[n]) for n in task.sidecar_variables}
    task.fit(TEXTS, np.ones((3, 4)), epochs=1, verbose=0)
    after = {n: np.array(named_variables(task)[n]) for n in task.sidecar_variables}
    assert all((before[name] != after[name]).any() for name in before)
    task.save_to_preset(tmp_path)
    again = TextEmbedder.from_preset(tmp_path)
    for name, value in after.items():
        np.testing.assert_array_equal(np.array(named_variables(again)[name]), value)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_weights_keep_the_dtype_of_their_file(dtype, folder, tmp_path):
    copy(folder, tmp_path / "a")
    path = tmp_path / "a/3_Dense"
    with open_weights(path) as weights:
        values = {name: weights.read(name).astype(dtype) for name in weights.header}
    infos = {n: TensorInfo(CODES[np.dtype(dtype)], v.shape) for n, v in values.items()}
    shard = Shard("model.safetensors", infos)
    write_safetensors(path / "model.safetensors", shard, values.__getitem__)
    TextEmbedder.from_preset(tmp_path / "a").save_to_preset(tmp_path / "b")
    assert tree(tmp_path / "b") == tree(tmp_path / "a")


def copy(folder, target):
    for name, content in tree(folder).items():
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        (target / name).write_bytes(content)


def test_other_modules_are_fresh_and_their_files_replace_the_old_ones(folder, tmp_path):
    copy(folder, tmp_path)
    with pytest.warns(UserWarning, match="no values for dense_0/bias, dense_0/kernel: freshly"):
        task = TextEmbedder.from_preset(tmp_path, modules=[{"type": "Dense", "out_features": 3}])
    assert task.fresh_weights == ("dense_0/bias", "dense_0/kernel")
    assert task.embed(TEXTS).shape == (3, 3)
    task.save_to_preset(tmp_path)
    assert {n for n in tree(tmp_path) if "/" in n} == {
        "1_Pooling/config.json", "2_Dense/config.json", "2_Dense/model.safetensors",
        "3_Normalize/config.json",
    }  # fmt: skip
    bare = TextEmbedder.from_preset(tmp_path, modules=[])
    assert (bare.fresh_weights, bare.embed(TEXTS).shape) == ((), (3, 16))


def test_weights_of_words_that_are_given_are_not_fresh(folder):
    task = TextEmbedder.from_preset(folder, modules=[WORDS])
    assert task.fresh_weights == ()
    np.testing.assert_allclose(
        task.embed(TEXTS), make([WORDS], normalize=True).embed(TEXTS), atol=1e-6
    )


def test_another_pooling_keeps_modules_that_fit_it(folder, task):
    again = TextEmbedder.from_preset(folder, pooling="cls")
    assert again.fresh_weights == ()
    with pytest.raises(InputError, match=r"modules\[1\], a Dense, has in_features=16, .* 32 numb"):
        TextEmbedder.from_preset(folder, pooling=["cls", "mean"])


@pytest.mark.parametrize(
    ("modules", "error", "named"),
    [
        ("Dense", InputTypeError, "modules is 'Dense'"),
        ({"type": "Dense"}, InputTypeError, "modules is"),
        ([{"type": "LSTM"}], InputError, r"modules\[0\] is .*LSTM.* one of WordWeights, Dense"),
        ([3], InputError, r"modules\[0\] is 3"),
        ([{"type": "Dense"}], InputError, "has no out_features"),
        ([{"type": "Dense", "out_features": 0}], InputError, "has out_features=0"),
        ([{"type": "Dense", "out_features": 4, "in_features": 5}], InputError, "in_features=5"),
        ([{"type": "Dense", "out_features": 4, "units": 5}], InputError, "has units=5"),
        ([{"type": "Dense", "out_features": 4, "bias": 1}], InputError, "has bias=1"),
        (
            [{"type": "Dense", "out_features": 4, "activation_function": "os.system"}],
            InputError, r"modules\[0\]: activation_function is 'os.system'",
        ),
        ([{"type": "LayerNorm", "dimension": 4}], InputError, "dimension=4.* have 16 numbers"),
        ([{"type": "LayerNorm", "dtype": "int8"}], InputError, "dtype='int8'"),
        ([{"type": "Normalize"}, WORDS], InputError, r"modules\[1\] is WordWeights"),
        ([{"type": "WordWeights", "vocab": ["a"]}], InputError, "no word_weights"),
        ([{**WORDS, "vocab": ["a"]}], InputError, "weights of 1 tokens, and the tokenizer has"),
        ([{**WORDS, "word_weights": {"a": float("nan")}}], InputError, "word_weights="),
    ],
)  # fmt: skip
def test_modules_that_are_not_computed_are_named(modules, error, named, task):
    with pytest.raises(error, match=named):
        TextEmbedder(task.backbone, task.preprocessor, modules=modules)


@pytest.mark.parametrize(
    ("file", "content", "error", "named"),
    [
        (
            "3_Dense/config.json",
            {"module_input_name": "token_embeddings"},
            ConfigError,
            "module_in",
        ),
        ("3_Dense/config.json", {"activation_function": "os.system"}, InputError, "os.system"),
        ("3_Dense/config.json", {"out_features": 9}, InputError, r"modules\[2\].* have 9 numbers"),
        ("6_Dense/config.json", {"out_features": 9}, CheckpointFileError, "must be .*9, 8"),
        ("4_LayerNorm/config.json", {"eps": 1.0}, ConfigError, "eps=1.0"),
        ("3_Dense/model.safetensors", None, CheckpointFileError, "3_Dense holds no weights"),
        ("1_WordWeights/config.json", {"vocab": "a"}, ConfigError, "vocab='a'"),
    ],
)
def test_a_module_file_that_cannot_be_used_is_named(file, content, error, named, folder, tmp_path):
    copy(folder, tmp_path)
    if content is None:
        (tmp_path / file).unlink()
    else:
        old = json.loads((tmp_path / file).read_text())
        (tmp_path / file).write_text(json.dumps(old | content))
    with pytest.raises(error, match=named):
        TextEmbedder.from_preset(tmp_path)


@pytest.mark.parametrize("kind", ["LSTM", "WordWeights", "CNN"])
def test_a_module_in_a_place_where_it_is_not_computed_is_refused(kind, folder, tmp_path):
    copy(folder, tmp_path)
    listed = json.loads((tmp_path / "modules.json").read_text())
    listed[3]["type"] = f"sentence_transformers.models.{kind}"
    (tmp_path / "modules.json").write_text(json.dumps(listed))
    with pytest.raises(ConfigError, match=f"module 3 is .*{kind}.*; computed here: .* LayerNorm"):
        TextEmbedder.from_preset(tmp_path)


@pytest.mark.reference
@pytest.mark.parametrize("safe", [True, False])
def test_sentence_transformers_computes_the_same_and_both_read_the_others_files(safe, tmp_path):
    library = pytest.importorskip("sentence_transformers")
    import torch
    from safetensors.torch import load_file
    from sentence_transformers import models

    make((), make_backbone()).save_to_preset(tmp_path / "plain")
    transformer = library.SentenceTransformer(str(tmp_path / "plain"), device="cpu")[0]
    modes = ("mean", "cls", "max", "mean_sqrt_len_tokens", "weightedmean", "lasttoken")
    activations = {"gelu": torch.nn.GELU(), "softsign": torch.nn.Softsign(), "none": None}
    modules = [
        transformer,
        models.WordWeights(VOCABULARY, {"cat": 0.3, "the": 2.0}, 0.7),
        models.Pooling(16, pooling_mode=modes),
        models.Dense(96, 12, activation_function=activations["gelu"]),
        models.LayerNorm(12),
        models.Normalize(),
        models.Dense(12, 8, bias=False, use_residual=True),
        models.Dense(8, 8, use_residual=True, activation_function=activations["none"]),
        models.Dense(8, 4, activation_function=activations["softsign"]),
        models.Normalize(),
    ]
    model = library.SentenceTransformer(modules=modules, device="cpu")
    torch.manual_seed(0)
    for module in modules[3:]:
        for parameter in module.parameters():
            parameter.data.normal_(0, 0.5)
    model.save(str(tmp_path / "a"))
    if not safe:
        for path in (tmp_path / "a").glob("*_*/model.safetensors"):
            torch.save(load_file(path), path.with_name("pytorch_model.bin"))
            path.unlink()
    expected = model.encode(TEXTS)
    task = TextEmbedder.from_preset(tmp_path / "a")
    np.testing.assert_allclose(task.embed(TEXTS), expected, rtol=1e-4, atol=2e-6)
    task.save_to_preset(tmp_path / "b")
    back = library.SentenceTransformer(str(tmp_path / "b"), device="cpu")
    np.testing.assert_array_equal(back.encode(TEXTS), expected)
    if safe:
        written, there = tree(tmp_path / "b"), tree(tmp_path / "a")
        assert {n for n in there if written.get(n) != there[n]} == {"README.md"}
