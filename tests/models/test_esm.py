"""ESM-2 as it is published: stored frequencies, a contact head, a vocabulary of letters."""

import json

import numpy as np
import pytest
from keras import ops
from safetensors.numpy import load_file, save_file

from inarch import Backbone, MaskedLM, TextClassifier
from inarch.errors import ConfigError, InputError, WeightMapError
from inarch.models import registry
from inarch.models.esm.backbone import EsmBackbone
from inarch.text import Tokenizer

STORED = "esm.rotary_embeddings.inv_freq"
TINY = registry.architectures()["esm"].tiny
LETTERS = "LAGVSERTIDPKQNFYMHWCXBUZO.-"
VOCABULARY = ["<cls>", "<pad>", "<eos>", "<unk>", *LETTERS, "<null_1>", "<mask>"]


def numbers(model, length=9):
    ids = np.arange(2 * length, dtype="int32").reshape(2, length) % 25 + 2
    inputs = {"token_ids": ids, "padding_mask": np.ones_like(ids)}
    return ops.convert_to_numpy(model(inputs)["sequence_output"])


@pytest.fixture
def folder(tmp_path):
    """Return a function that saves a masked-LM model, changes its tensors, and gives the folder."""

    def make(change=lambda tensors: tensors, tie=True, **arguments):
        backbone = EsmBackbone(**TINY | arguments)
        folder = tmp_path / "published"
        MaskedLM(backbone, tie_word_embeddings=tie).save_to_preset(folder)
        path = folder / "model.safetensors"
        tensors = change(load_file(path))
        save_file({n: np.ascontiguousarray(a) for n, a in tensors.items()}, path, {"format": "pt"})
        return folder

    return make


def by_layers(tensors, values=None):
    """Return the tensors as files of before transformers 5 have them, with a 16-bit rounding."""
    stored = tensors.pop(STORED).astype("float16").astype("float32") if values is None else values
    name = "esm.encoder.layer.{}.attention.self.rotary_embeddings.inv_freq"
    return tensors | {name.format(i): stored for i in range(TINY["num_layers"])}


SPELLINGS = {
    "one for each layer": by_layers,
    "as transformers 5 writes it": lambda tensors: (
        {"esm.encoder.layer.*.attention.self.rotary_embeddings.inv_freq": tensors.pop(STORED)}
        | tensors
    ),
    "with what isn't computed": lambda tensors: by_layers(tensors) | {
        "esm.contact_head.regression.weight": np.ones((1, 6), "float32"),
        "esm.contact_head.regression.bias": np.ones(1, "float32"),
        "esm.embeddings.position_ids": np.arange(16)[None],
        "esm.embeddings.position_embeddings.weight": np.ones((16, 12), "float32"),
    },
}  # fmt: skip


@pytest.mark.parametrize("tie", [True, False])
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_stored_frequencies_are_read_by_any_name_and_written_back(folder, tmp_path, spelling, tie):
    published = folder(SPELLINGS[spelling], tie)
    task = MaskedLM.from_preset(published, preprocessor=None)
    stored = next(a for n, a in load_file(published / "model.safetensors").items() if "inv_f" in n)
    layer = task.backbone.get_layer("rotary")
    np.testing.assert_array_equal(ops.convert_to_numpy(layer.frequencies), stored)
    task.save_to_preset(tmp_path / "out")
    for name in ("config.json", "model.safetensors"):
        assert (tmp_path / "out" / name).read_bytes() == (published / name).read_bytes()


def test_the_contact_head_survives_a_change_of_head(folder, tmp_path):
    names = {f"esm.contact_head.regression.{part}" for part in ("weight", "bias")}
    published = folder(SPELLINGS["with what isn't computed"])
    with pytest.warns(UserWarning, match="freshly"):
        task = TextClassifier.from_preset(published, preprocessor=None)
    task.save_to_preset(tmp_path / "out")
    saved = load_file(tmp_path / "out" / "model.safetensors")
    assert all((saved[name] == 1).all() for name in names)
    # A model that is new has it too, since the reference does.
    TextClassifier(EsmBackbone(**TINY), num_classes=2).save_to_preset(tmp_path / "new")
    fresh = load_file(tmp_path / "new" / "model.safetensors")
    assert {name: fresh[name].shape for name in names} == {
        name: saved[name].shape for name in names
    }


def test_the_numbers_are_those_of_the_stored_frequencies(folder):
    model = Backbone.from_preset(folder())
    before = numbers(model)
    assert not np.allclose(numbers(EsmBackbone(**TINY, rope_theta=10.0)), before)
    layer = model.get_layer("rotary")
    layer.set_weights([layer.get_weights()[0] * 3])
    assert np.abs(numbers(model) - before).max() > 1e-4


def test_layers_with_frequencies_of_their_own_are_refused(folder):
    def change(tensors):
        tensors = by_layers(tensors)
        second = "esm.encoder.layer.1.attention.self.rotary_embeddings.inv_freq"
        return tensors | {second: tensors[second] * 2}

    with pytest.raises(WeightMapError, match=r"layer\.1\.attention\.self\.rotary"):
        Backbone.from_preset(folder(change))


@pytest.mark.parametrize("norm", [True, False])
def test_esm_1b_has_a_table_of_positions_and_a_norm_of_embeddings(folder, norm):
    model = Backbone.from_preset(folder(positions="absolute", embeddings_norm=norm))
    assert model.arguments["embeddings_norm"] is norm
    names = {weight.path for weight in model.weights}
    assert not any("frequencies" in name for name in names)
    assert any("position_embedding" in name for name in names)
    # 14 tokens have positions, and the rows of 0 to the padding id.
    numbers(model, 14)
    with pytest.raises(InputError, match="a sequence of length 15"):
        numbers(model, 15)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("is_folding_model", True),
        ("position_embedding_type", "relative_key"),
        ("is_decoder", True),
        ("head_dim", 8),
    ],
)
def test_what_is_not_computed_is_refused_by_name(folder, field, value):
    path = folder() / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {field: value}))
    with pytest.raises(ConfigError, match=field):
        Backbone.from_preset(path.parent)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"positions": "learned"}, "positions='learned'; pass one of"),
        ({"mask_id": None}, "zero_mask_tokens=True and mask_id=None. Pass the mask"),
    ],
)
def test_arguments_that_make_no_model_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        EsmBackbone(**TINY | arguments)


@pytest.fixture
def vocabulary(tmp_path):
    """Return a function that writes a tokenizer's files, and gives their folder."""

    def make(tokens=VOCABULARY, **config):
        (tmp_path / "vocab.txt").write_text("\n".join(tokens))
        config = {"tokenizer_class": "EsmTokenizer", **config}
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
        return tmp_path

    return make


def test_a_protein_is_a_token_for_each_letter(vocabulary):
    tokenizer = Tokenizer.from_folder(vocabulary())
    found = tokenizer.encode("MKT J. a\x1cmk<null_1>")
    assert found.tokens[1:-1] == [
        "M", "K", "T", "<unk>", ".", "<unk>", "<unk>", "<null_1>"
    ]  # fmt: skip
    assert (found.tokens[0], found.tokens[-1]) == ("<cls>", "<eos>")
    pair = tokenizer.encode("MK", "T")
    assert pair.tokens == ["<cls>", "M", "K", "<eos>", "T", "<eos>"]
    assert pair.segment_ids == [0, 0, 0, 0, 1, 1]


def test_a_special_token_in_a_text_is_text_unless_it_is_allowed(vocabulary):
    tokenizer = Tokenizer.from_folder(vocabulary())
    mask = tokenizer.mask_token_id
    assert mask not in tokenizer.encode("MK<mask>T").ids
    assert tokenizer.encode("MK<mask>T", allow_special={"<mask>"}).ids[3] == mask


def test_words_of_dna_are_found_longest_first_and_end_in_nothing(vocabulary):
    words = ["<unk>", "<pad>", "<mask>", "<cls>", "ACGTAC", "CGT", "A", "C", "G", "T"]
    tokenizer = Tokenizer.from_folder(vocabulary(words, eos_token=None))
    assert tokenizer.encode("ACGTACGTN").tokens == ["<cls>", "ACGTAC", "G", "T", "<unk>"]


def test_a_vocabulary_without_its_unknown_token_is_refused(vocabulary):
    with pytest.raises(ValueError, match="has no '<unk>', which is the unk_token"):
        Tokenizer.from_folder(vocabulary([t for t in VOCABULARY if t != "<unk>"]))


@pytest.mark.reference
def test_ids_are_those_of_transformers(vocabulary):
    pytest.importorskip("transformers", minversion="5")
    from inarch.verify.tokenizer import compare_tokenizers

    texts = ("MKTVRQERLKSIVRILERSKEPVSGAQLAEELSVSRQVIV", "mK T-.", "M<mask>J", ("MK", "T j"))
    assert compare_tokenizers(vocabulary(), texts=texts).differences == ()


@pytest.mark.reference
def test_words_of_dna_are_those_of_transformers(vocabulary):
    transformers = pytest.importorskip("transformers", minversion="5")
    words = ["<unk>", "<pad>", "<mask>", "<cls>", "ACGTAC", "CGT", "A", "C", "G", "T", "N"]
    there = vocabulary(words, eos_token=None)
    theirs, ours = transformers.AutoTokenizer.from_pretrained(there), Tokenizer.from_folder(there)
    for text in ("ACGTACGTNACGTA", "cgt ACGTAC<mask>X", "", "CGTAC GTX"):
        assert ours.encode(text, allow_special="all").ids == theirs(text)["input_ids"]
