"""FNet against transformers where it is unlike the others: no mask, and a way for TPUs."""

import json

import numpy as np
import pytest

from inarch.models.backbone import Backbone
from inarch.models.f_net.backbone import FNetBackbone
from inarch.tasks import MaskedLM, TextClassifier, TextEmbedder, TextPreprocessor
from inarch.text import WordPieceTokenizer

from .conftest import Written, batch, noise_ratio, tensors, torch

pytestmark = [pytest.mark.reference, pytest.mark.turns(3)]

LENGTH = 13  # of the sequences of `batch`
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrstuvwxyz"]
TEXTS = ["a b c", "d", "e f g h i j k l m n", "b b b", "a c e g i k m", ""]


def numbers(outputs):
    outputs = outputs["sequence_output"] if isinstance(outputs, dict) else outputs
    return np.asarray(outputs.detach() if hasattr(outputs, "detach") else outputs, "float64")


def plainly(written):
    """The same weights, transformed in the usual way."""
    config = type(written.model.config)(
        **written.model.config.to_dict() | {"use_tpu_fourier_optimizations": False}
    )
    model = type(written.model)(config).eval()
    state = {k: v for k, v in written.model.state_dict().items() if "dft_mat" not in k}
    model.load_state_dict(state)
    return Written(written.folder, model)


@pytest.mark.parametrize("length", [1, 2, 7, 11, 12, 31, 32])
def test_every_length_is_the_references(length, write):
    written = write("FNetModel", hidden_size=21)
    tokens = np.random.default_rng(length).integers(0, 61, (3, length)).astype("int32")
    x = {"token_ids": tokens, "segment_ids": tokens % 4, "padding_mask": tokens * 0 + 1}
    single, double = (written.outputs(x, "last_hidden_state", d) for d in (False, True))
    model = Backbone.from_preset(written.folder)
    assert noise_ratio(numbers(model(x)), single, double) <= 4


@pytest.mark.parametrize("positions", [32, 5000])
def test_the_way_for_tpus_gives_the_same_numbers(positions, write, tmp_path):
    """Up to 4096 positions the reference writes the transform's matrices into its file."""
    written = write(
        "FNetModel", use_tpu_fourier_optimizations=True, tpu_short_seq_length=LENGTH,
        max_position_embeddings=positions,
    )  # fmt: skip
    x = batch(4)
    single = written.outputs(x, "last_hidden_state", False)
    double = plainly(written).outputs(x, "last_hidden_state", True)
    model = Backbone.from_preset(written.folder)
    assert noise_ratio(numbers(model(x)), single, double) <= 4
    matrices = {n for n, (dtype, *_) in tensors(written.folder).items() if dtype == "C64"}
    assert len(matrices) == (4 if positions <= 4096 else 0)

    model.save_to_preset(tmp_path / "same")
    assert tensors(tmp_path / "same") == tensors(written.folder)


@pytest.mark.parametrize("short", [9, 32])
def test_ours_runs_where_the_way_for_tpus_refuses_a_length(short, write):
    written = write("FNetModel", use_tpu_fourier_optimizations=True, tpu_short_seq_length=short)
    x = batch(4)
    with pytest.raises(ValueError, match="tpu_short_seq_length"):
        written.outputs(x, "last_hidden_state", False)
    plain = plainly(written)
    single, double = (plain.outputs(x, "last_hidden_state", d) for d in (False, True))
    assert noise_ratio(numbers(Backbone.from_preset(written.folder)(x)), single, double) <= 4


def test_settings_of_before_the_first_release_do_nothing(write):
    written = write("FNetModel")
    path = written.folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"use_fft": True}))
    assert type(Backbone.from_preset(written.folder)) is FNetBackbone


@pytest.mark.parametrize(
    ("kind", "task", "name"),
    [
        ("FNetModel", TextEmbedder, "last_hidden_state"),
        ("FNetForSequenceClassification", TextClassifier, "logits"),
        ("FNetForMaskedLM", MaskedLM, "logits"),
    ],
)
def test_a_texts_numbers_are_the_references_on_the_unpadded_text(kind, task, name, write):
    written = write(kind)
    preprocessor = TextPreprocessor(WordPieceTokenizer(VOCABULARY), 32)
    model = task.from_preset(written.folder, preprocessor=preprocessor)
    together = model.predict(TEXTS, batch_size=4)
    for text, ours in zip(TEXTS, together, strict=True):
        x = preprocessor.pad(preprocessor.encode([text]))
        single, double = (written.outputs(x, name, d)[0] for d in (False, True))
        if task is TextEmbedder:
            single, double = single.mean(axis=0), double.mean(axis=0)
        ours = ours[: len(double)]
        assert noise_ratio(ours, single, double) <= 4
        alone = model.predict([text])[0][: len(double)]
        assert noise_ratio(alone, single, double) <= 4


def test_prepared_arrays_are_padded_as_the_caller_pads_them(write):
    written = write("FNetForSequenceClassification", num_labels=3)
    preprocessor = TextPreprocessor(WordPieceTokenizer(VOCABULARY), 32)
    model = TextClassifier.from_preset(written.folder, preprocessor=preprocessor)
    x = preprocessor.pad(preprocessor.encode(TEXTS), length=32)
    single, double = (written.outputs(x, "logits", d) for d in (False, True))
    assert noise_ratio(model.predict(x, verbose=0), single, double) <= 4
    assert np.abs(model.predict(TEXTS) - single).max() > 0.1


def test_masks_are_filled_as_the_reference_fills_them(write):
    written = write("FNetForMaskedLM")
    preprocessor = TextPreprocessor(WordPieceTokenizer(VOCABULARY), 32, ("[MASK]",))
    model = MaskedLM.from_preset(written.folder, preprocessor=preprocessor)
    texts = ["a b [MASK] c", "[MASK]", "d e f g h [MASK] i j [MASK]", "x [MASK] y z"]
    for text, blanks in zip(texts, model.fill_mask(texts, top_k=3), strict=True):
        (encoding,) = preprocessor.encode([text])
        ids = np.array(encoding.ids)
        fed = {
            "input_ids": torch.tensor(ids)[None],
            "token_type_ids": torch.zeros(1, len(ids)).long(),
        }
        with torch.no_grad():
            logits = written.model(**fed).logits[0].softmax(-1)[ids == 4, : len(VOCABULARY)]
        assert len(blanks) == len(logits)
        for blank, row in zip(blanks, logits, strict=True):
            best = row.argsort(descending=True)[:3]
            assert [b["token_id"] for b in blank] == best.tolist()
