"""wav2vec 2.0 and HuBERT against transformers: features, heads, transcripts, files."""

import json

import numpy as np
import pytest
from keras import ops

import inarch
from inarch.errors import (
    CheckpointError,
    CheckpointFileError,
    ConfigError,
    InputError,
    WeightMapError,
)
from inarch.models.backbone import Backbone
from inarch.tasks import AudioClassifier, CTCSpeechToText, SpeechToText
from inarch.text import CTCTokenizer

from .conftest import Written, noise_ratio, tensors, torch, transformers

pytestmark = [pytest.mark.reference, pytest.mark.turns(3)]

TINY = {
    "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 40,
    "conv_dim": [7, 9, 10], "conv_kernel": [5, 3, 2], "conv_stride": [3, 2, 2],
    "num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2, "vocab_size": 11,
    "classifier_proj_size": 13, "num_labels": 3,
}  # fmt: skip
LAYERS = {"feat_extract_norm": "layer", "conv_bias": True, "do_stable_layer_norm": True}
CASES = [
    ("Wav2Vec2Model", {}),
    ("Wav2Vec2Model", {"conv_bias": True, "layer_norm_eps": 1e-3}),
    ("Wav2Vec2Model", LAYERS),
    ("Wav2Vec2Model", {**LAYERS, "num_conv_pos_embeddings": 5, "hidden_act": "relu"}),
    ("Wav2Vec2Model", {"feat_extract_norm": "layer", "feat_extract_activation": "gelu_new"}),
    ("Wav2Vec2Model", {"do_stable_layer_norm": True, "mask_time_prob": 0.0}),
    ("Wav2Vec2Model", {"conv_dim": [6, 8], "conv_kernel": [4, 3], "conv_stride": [2, 3]}),
    ("Wav2Vec2Model", {**LAYERS, "adapter_attn_dim": 5}),
    ("Wav2Vec2Model", {"adapter_attn_dim": 5}),  # without stable layer norm there are none
    ("HubertModel", {}),
    ("HubertModel", {**LAYERS, "adapter_attn_dim": 3}),
    ("HubertModel", LAYERS),
    ("HubertModel", {"feat_proj_layer_norm": False, "conv_bias": True}),
    ("HubertModel", {**LAYERS, "feat_proj_layer_norm": False}),
]
HEADS = [
    (kind, {**changes, **sums})
    for name in ("Wav2Vec2", "Hubert")
    for changes in ({}, LAYERS, {**LAYERS, "adapter_attn_dim": 5})
    for kind, sums in (
        (f"{name}ForCTC", {}),
        (f"{name}ForSequenceClassification", {}),
        (f"{name}ForSequenceClassification", {"use_weighted_layer_sum": True}),
    )
]
REFUSED = [
    ("Wav2Vec2Model", {"add_adapter": True}, "add_adapter"),
    ("HubertModel", {"conv_pos_batch_norm": True}, "conv_pos_batch_norm"),
]


def perturb(model, seed):
    """Every parameter random and of order one, the weights of layers and of the norm too."""
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=random)
            if name.endswith("norm.weight"):
                parameter.copy_(1 + 0.3 * noise)
            elif parameter.ndim > 1 and "original0" not in name:
                parameter.copy_(1.5 * noise / parameter[0].numel() ** 0.5)
            else:
                parameter.copy_(0.5 * noise)


@pytest.fixture
def write(tmp_path):
    """`write(class name, config changes)`: a perturbed tiny model saved by transformers."""

    def writer(kind, seed=0, **changes):
        cls = getattr(transformers, kind)
        config = cls.config_class(**{**TINY, **changes})
        config._attn_implementation = "eager"
        model = cls(config).eval()
        perturb(model, seed)
        folder = tmp_path / f"{kind}-{seed}"
        model.save_pretrained(folder)
        return Written(folder, model)

    return writer


def rows(backbone, frames=(11, 7, 2, 4), seed=0):
    """Samples of rows of different lengths; of one length where the reference reads padding."""
    ends = np.array([backbone.row_length(n) + 1 for n in frames])
    if backbone.reference_reads_padding:
        ends = np.full_like(ends, ends.max())
    mask = (np.arange(ends.max()) < ends[:, None]).astype("int32")
    values = np.random.default_rng(seed).standard_normal(mask.shape)
    return {"input_values": (values * mask).astype("float32"), "padding_mask": mask}


def array(x):
    return ops.convert_to_numpy(x).astype("float64")


def is_right(written, ours, inputs, name):
    wide = inputs | {"input_values": inputs["input_values"].astype("float64")}
    double = written.outputs(wide, name, double=True)
    return noise_ratio(ours, written.outputs(inputs, name, double=False), double) < 4


@pytest.mark.parametrize(("kind", "changes"), CASES)
def test_features_are_the_references_and_come_back(write, kind, changes, tmp_path):
    written = write(kind, **changes)
    backbone = Backbone.from_preset(written.folder)
    inputs = rows(backbone)
    ours = array(backbone(inputs)["sequence_output"])
    # At padding too: it attends to the frames of its row, as in the reference.
    assert is_right(written, ours, inputs, "last_hidden_state")
    backbone.save_to_preset(tmp_path / "out")
    assert tensors(tmp_path / "out") == tensors(written.folder)


@pytest.mark.parametrize(("kind", "changes"), HEADS)
def test_heads_are_the_references_and_come_back(write, kind, changes, tmp_path):
    written = write(kind, **changes)
    cls = CTCSpeechToText if kind.endswith("CTC") else AudioClassifier
    task = cls.from_preset(written.folder, preprocessor=None)
    assert task.fresh_weights == ()
    inputs = rows(task.backbone)
    assert is_right(written, array(task(inputs)), inputs, "logits")
    task.save_to_preset(tmp_path / "out")
    assert tensors(tmp_path / "out") == tensors(written.folder)
    again, loaded = getattr(transformers, kind).from_pretrained(
        tmp_path / "out", output_loading_info=True
    )
    assert not loaded["missing_keys"]
    assert not loaded["unexpected_keys"]
    assert again.config.num_labels == 3


@pytest.mark.parametrize(("kind", "changes", "field"), REFUSED)
def test_what_is_not_computed_is_refused_by_name(write, kind, changes, field):
    with pytest.raises(ConfigError, match=field):
        Backbone.from_preset(write(kind, **changes).folder)


def test_a_weight_norm_is_read_and_written_by_its_older_names(write, tmp_path):
    from safetensors.torch import load_file, save_file

    folder = write("Wav2Vec2Model").folder
    older = {"parametrizations.weight.original0": "weight_g",
             "parametrizations.weight.original1": "weight_v"}  # fmt: skip
    stored = load_file(folder / "model.safetensors")
    for new, old in older.items():
        stored[f"encoder.pos_conv_embed.conv.{old}"] = stored.pop(
            f"encoder.pos_conv_embed.conv.{new}"
        )
    new = Backbone.from_preset(folder)
    save_file(stored, folder / "model.safetensors", metadata={"format": "pt"})
    old = Backbone.from_preset(folder)
    inputs = rows(new)
    np.testing.assert_array_equal(
        array(new(inputs)["sequence_output"]), array(old(inputs)["sequence_output"])
    )
    old.save_to_preset(tmp_path / "out")
    assert tensors(tmp_path / "out") == tensors(folder)


def test_a_pretrained_file_loads_as_its_backbone_and_comes_back(write, tmp_path):
    written = write("Wav2Vec2ForPreTraining", num_codevectors_per_group=6, codevector_dim=8)
    model = inarch.load(written.folder)
    assert isinstance(model, Backbone)
    assert "quantizer.codevectors" in model.passthrough
    model.save_to_preset(tmp_path / "out")
    assert tensors(tmp_path / "out") == tensors(written.folder)


# --- sound -------------------------------------------------------------------------------------


def sounds(count=3, seed=0):
    random = np.random.default_rng(seed)
    return [0.1 * random.standard_normal(n).astype("float32") for n in (500, 190, 3000)[:count]]


def ctc_folder(write, **changes):
    written = write("Wav2Vec2ForCTC", **changes)
    letters = ["<pad>", "<s>", "</s>", "<unk>", "|", "A", "B", "C", "D", "E", "'"]
    (written.folder / "vocab.json").write_text(json.dumps({t: i for i, t in enumerate(letters)}))
    tokenizer = transformers.Wav2Vec2CTCTokenizer(written.folder / "vocab.json")
    tokenizer.save_pretrained(written.folder)
    features = transformers.Wav2Vec2FeatureExtractor(return_attention_mask=bool(changes))
    features.save_pretrained(written.folder)
    return written, tokenizer, features


@pytest.mark.parametrize("changes", [{}, LAYERS])
def test_transcripts_with_times_are_those_of_the_references_pipeline(write, changes):
    written, tokenizer, features = ctc_folder(write, **changes)
    pipe = transformers.pipeline(
        "automatic-speech-recognition", model=written.model, tokenizer=tokenizer,
        feature_extractor=features,
    )  # fmt: skip
    task = SpeechToText.from_preset(written.folder)
    assert isinstance(task, CTCSpeechToText)
    for how in ("word", "char"):
        found = task.predict(sounds(), timestamps=how)
        for sound, ours in zip(sounds(), found, strict=True):
            theirs = pipe(sound.copy(), return_timestamps=how)
            assert ours.text == theirs["text"]
            times = [(w.word.strip(), w.start, w.end) for s in ours.segments for w in s.words]
            wanted = [
                (c["text"].strip(), *(min(t, len(sound) / 16000) for t in c["timestamp"]))
                for c in theirs["chunks"]
            ]
            spaces = [w for w in wanted if not w[0]]
            assert how == "char" or not spaces
            given = [t for t in times if t[0]]
            wanted = [w for w in wanted if w[0]]
            assert [t[0] for t in given] == [w[0] for w in wanted]
            np.testing.assert_allclose([t[1:] for t in given], [w[1:] for w in wanted], atol=1e-9)


def test_a_long_sound_is_computed_in_the_references_chunks(write):
    written, tokenizer, features = ctc_folder(write, **LAYERS)
    pipe = transformers.pipeline(
        "automatic-speech-recognition", model=written.model, tokenizer=tokenizer,
        feature_extractor=features,
    )  # fmt: skip
    task = SpeechToText.from_preset(written.folder)
    for length in (3000, 3007, 2400):
        sound = 0.1 * np.random.default_rng(length).standard_normal(length).astype("float32")
        theirs = pipe(sound.copy(), chunk_length_s=0.06, stride_length_s=0.015)["text"]
        (ours,) = task.predict([sound], chunk_seconds=0.06, stride_seconds=0.015)
        assert ours.text == theirs


LANGUAGES = {"eng": ["A", "B", "C", "D", "E", "'"], "fra": [*"ABÉ", "OU"]}


def languages_folder(write):
    """A model with the adapters, heads and vocabularies of two languages, as MMS is published."""
    from safetensors.torch import save_file

    written = write("Wav2Vec2ForCTC", **LAYERS, adapter_attn_dim=5)
    special, adapters = ["<pad>", "<s>", "</s>", "<unk>", "|"], {}
    vocabularies = {
        name: {token: i for i, token in enumerate([*special, *letters])}
        for name, letters in LANGUAGES.items()
    }
    random = torch.Generator().manual_seed(1)
    for name, vocabulary in vocabularies.items():
        found = {k: v.detach().clone() for k, v in written.model._get_adapters().items()}
        if name != "eng":
            found["lm_head.weight"] = torch.zeros(len(vocabulary), 24)
            found["lm_head.bias"] = torch.zeros(len(vocabulary))
            for k, v in found.items():
                found[k] = torch.randn(v.shape, generator=random) / 3
        save_file(found, written.folder / f"adapter.{name}.safetensors", metadata={"format": "pt"})
        adapters[name] = found
    (written.folder / "vocab.json").write_text(json.dumps(vocabularies))
    tokenizer = transformers.Wav2Vec2CTCTokenizer(written.folder / "vocab.json", target_lang="eng")
    tokenizer.save_pretrained(written.folder)
    features = transformers.Wav2Vec2FeatureExtractor(return_attention_mask=True)
    features.save_pretrained(written.folder)
    (written.folder / "vocab.json").write_text(json.dumps(vocabularies))
    return written, features


@pytest.mark.parametrize("language", ["fra", "eng", None])
def test_a_language_has_its_adapters_and_tokens_and_comes_back_by_itself(write, language, tmp_path):
    written, features = languages_folder(write)
    given = {} if language is None else {"language": language}
    task = SpeechToText.from_preset(written.folder, **given)
    assert task.fresh_weights == ()
    assert task.vocabulary_size == {"fra": 9}.get(language, 11)
    theirs = transformers.Wav2Vec2ForCTC.from_pretrained(
        written.folder, target_lang=language, ignore_mismatched_sizes=True,
        attn_implementation="eager",
    )  # fmt: skip
    tokenizer = transformers.Wav2Vec2CTCTokenizer.from_pretrained(
        written.folder, target_lang=language or "eng"
    )
    inputs, both = rows(task.backbone), Written(written.folder, theirs.eval())
    assert is_right(both, array(task(inputs)), inputs, "logits")
    pipe = transformers.pipeline(
        "automatic-speech-recognition", model=theirs.float(), tokenizer=tokenizer,
        feature_extractor=features,
    )  # fmt: skip
    for sound, ours in zip(sounds(), task.predict(sounds()), strict=True):
        assert ours.text == pipe(sound.copy())["text"]
    task.save_to_preset(tmp_path / "out")
    again = transformers.Wav2Vec2ForCTC.from_pretrained(tmp_path / "out").state_dict()
    for name, value in theirs.state_dict().items():
        assert torch.equal(again[name], value), name
    own = SpeechToText.from_preset(tmp_path / "out")
    assert [t.text for t in own.predict(sounds())] == [t.text for t in task.predict(sounds())]
    if language != "fra":
        assert tensors(tmp_path / "out") == {
            name: tensor for name, tensor in tensors(written.folder).items()
            if name in task.layout.shards[0].tensors
        }  # fmt: skip


def test_languages_that_cant_be_loaded_are_refused_by_name(write):
    from safetensors.torch import load_file, save_file

    folder = languages_folder(write)[0].folder
    with pytest.raises(CheckpointFileError, match="no adapter.deu.safetensors.*of eng, fra"):
        SpeechToText.from_preset(folder, language="deu")
    for language in ("../fra", "", 3):
        with pytest.raises(InputError, match="Give the name of a language"):
            SpeechToText.from_preset(folder, language=language)
    path = folder / "adapter.fra.safetensors"
    held = load_file(path)
    lost = next(name for name in held if "adapter_layer" in name)
    save_file({n: t for n, t in held.items() if n != lost}, path)
    with pytest.raises(WeightMapError, match=f"missing: {lost}"):
        SpeechToText.from_preset(folder, language="fra")
    save_file({**held, lost: held[lost][..., :2].clone(), "other": held[lost].clone()}, path)
    with pytest.raises(WeightMapError, match=f"unknown: other\n.*of another shape: {lost}"):
        SpeechToText.from_preset(folder, language="fra")
    save_file(held, path)
    (folder / "vocab.json").write_text(json.dumps({"eng": {"<pad>": 0}}))
    with pytest.raises(CheckpointError, match="no vocabulary of language 'fra'; it has those of e"):
        SpeechToText.from_preset(folder, language="fra")
    plain = ctc_folder(write)[0].folder
    with pytest.raises(InputError, match="has no adapters for languages"):
        SpeechToText.from_preset(plain, language="fra")


@pytest.mark.parametrize("options", [{}, {"do_lower_case": True}, {"word_delimiter_token": "E"}])
def test_the_tokenizer_is_the_references(tmp_path, options):
    tokens = ["<pad>", "<s>", "</s>", "<unk>", "|", *"ABCDE'", "SCH", "É"]
    (tmp_path / "vocab.json").write_text(json.dumps({t: i for i, t in enumerate(tokens)}))
    theirs = transformers.Wav2Vec2CTCTokenizer(tmp_path / "vocab.json", **options)
    theirs.save_pretrained(tmp_path)
    ours = CTCTokenizer.from_folder(tmp_path)
    random = np.random.default_rng(0)
    for _ in range(20):
        ids = random.integers(0, len(tokens), 30)
        wanted = theirs.decode(ids, output_word_offsets=True, output_char_offsets=True)
        found = ours.decode(ids)
        assert found.text == wanted.text
        for spans, offsets, key in (
            (found.words, wanted.word_offsets, "word"),
            (found.characters, wanted.char_offsets, "char"),
        ):
            assert [(s.text, s.start, s.end) for s in spans] == [
                (o[key], o["start_offset"], o["end_offset"]) for o in offsets
            ]
    for text in ("ABC DE", "A'B  C", "ASCHE", "AXÉ", "É"):
        assert ours.encode(text) == theirs(text)["input_ids"], text


def test_classes_are_those_of_the_references_pipeline(write):
    written = write("Wav2Vec2ForSequenceClassification", id2label={0: "yes", 1: "no", 2: "stop"})
    features = transformers.Wav2Vec2FeatureExtractor()
    features.save_pretrained(written.folder)
    pipe = transformers.pipeline(
        "audio-classification", model=written.model, feature_extractor=features
    )
    task = inarch.load(written.folder)
    assert isinstance(task, AudioClassifier)
    for sound, ours in zip(sounds(), task.classify(sounds(), top_k=None), strict=True):
        theirs = pipe(sound.copy(), top_k=None)
        assert [a["label"] for a in ours] == [a["label"] for a in theirs]
        np.testing.assert_allclose(
            [a["score"] for a in ours], [a["score"] for a in theirs], rtol=1e-3, atol=1e-5
        )


def test_the_loss_of_training_is_the_references(write):
    written, tokenizer, features = ctc_folder(write, ctc_loss_reduction="mean", final_dropout=0.0)
    task = SpeechToText.from_preset(written.folder)
    (sound, *_), text = sounds(1), "AB CCA"
    x, y = task.collate([sound], [text], None)(np.array([0]), np.random.default_rng(0))
    ours = float(array(task.objective().loss(y, task(x))))
    values = features(sound, sampling_rate=16000, return_tensors="pt").input_values
    labels = torch.tensor([tokenizer(text)["input_ids"]])
    with torch.no_grad():
        theirs = float(written.model.float()(values, labels=labels).loss)
    np.testing.assert_allclose(ours, theirs, rtol=1e-3)
