"""`MultiVectorEmbedder` against sentence-transformers' MultiVectorEncoder."""

import importlib
import json
import string

import numpy as np
import pytest

from inarch.answers.max_sim import MaxSimContrastive
from inarch.models.bert.backbone import BertBackbone
from inarch.tasks import MultiVectorEmbedder, MultiVectorPreprocessor
from inarch.text import WordPieceTokenizer

from .conftest import noise_ratio, perturb, tensors, torch, transformers

library = pytest.importorskip("sentence_transformers", reason="needs sentence-transformers")
pytest.importorskip("sentence_transformers.multi_vector_encoder", reason="needs version 6")
pytestmark = [pytest.mark.reference, pytest.mark.turns(3)]

VOCABULARY = [
    "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[unused0]", "[unused1]", "the", "film", "was",
    "good", "bad", "very", "not", "[", "]", ":", "!", ".", ",",
    *(chr(c) for c in range(97, 123)), *(f"##{chr(c)}" for c in range(97, 123)),
]  # fmt: skip
TEXTS = [
    "The film was good!",
    "",
    "very, very BAD film.",
    "🙂 é中文 mask",
    "word " * 40,
]
CLASSIC = {"strategy": "fixed", "attend": False, "length": 12}


def sized(**changes):
    return transformers.BertConfig(
        vocab_size=len(VOCABULARY), hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=24, attn_implementation="eager",
        **{"max_position_embeddings": 24, **changes},
    )  # fmt: skip


def bert(folder, **changes):
    """A perturbed encoder with its tokenizer, saved by transformers."""
    model = transformers.BertModel(sized(**changes), add_pooling_layer=False).eval()
    perturb(model, 0)
    model.save_pretrained(folder)
    save_tokenizer(folder)
    return folder


def save_tokenizer(folder):
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n")
    transformers.BertTokenizerFast(str(folder / "vocab.txt"), model_max_length=24).save_pretrained(
        folder
    )


def encoded(model):
    queries = model.encode_query(TEXTS, convert_to_numpy=True)
    return queries, model.encode_document(TEXTS, convert_to_numpy=True)


def compare(task, model):
    """Our vectors and scores are the library's within its own noise, and as many."""
    single = encoded(model)
    scores = model.similarity(*single).numpy()
    ours = task.embed_query(TEXTS), task.embed_document(TEXTS)
    np.testing.assert_allclose(task.similarity(*ours), scores, rtol=1e-4, atol=1e-4)
    double = encoded(model.double())
    model.float()
    for mine, theirs, exact in zip(ours, single, double, strict=True):
        assert [len(vectors) for vectors in mine] == [len(vectors) for vectors in theirs]
        sides = (np.concatenate(side).astype(np.float64) for side in (mine, theirs, exact))
        assert noise_ratio(*sides) <= 4


@pytest.mark.parametrize(
    ("transformer", "dense", "mask", "options"),
    [
        ({}, [(8, False, "Identity")], {}, {}),
        (
            {"query_expansion": CLASSIC, "document_length": 15},
            [(8, False, "Identity")],
            {"skiplist_words": list(string.punctuation)},
            {"prompts": {"query": "[unused0] ", "document": "film: "}},
        ),
        (
            {"query_expansion": {"strategy": "min", "attend": True, "length": 8},
             "query_length": 14},
            [(12, True, "GELU"), (8, True, "Tanh")],
            {"skiplist_words": ["the", "good"], "skiplist_tasks": ["query", "document"]},
            {"similarity_fn_name": "meanmaxsim"},
        ),
        ({"query_length": 9}, [(16, False, "Identity")], {}, {"normalize": False}),
    ],
)  # fmt: skip
def test_vectors_are_the_librarys_within_its_own_noise(transformer, dense, mask, options, tmp_path):
    modules = [library.base.modules.Transformer(str(bert(tmp_path)), **transformer)]
    width = 16
    for units, bias, activation in dense:
        function = getattr(torch.nn, activation)()
        modules.append(
            library.base.modules.Dense(
                width, units, bias, function, module_input_name="token_embeddings"
            )
        )
        perturb(modules[-1], 1)
        width = units
    modules.append(library.multi_vector_encoder.modules.MultiVectorMask(**mask))
    if options.pop("normalize", True):
        modules.append(library.base.modules.Normalize("token_embeddings"))
    model = library.MultiVectorEncoder(modules=modules, device="cpu", **options)
    if "[unused0] " in model.prompts.values():
        model.tokenizer.add_special_tokens({"additional_special_tokens": ["[unused0]"]})
    model.save(str(tmp_path / "theirs"))
    task = MultiVectorEmbedder.from_preset(tmp_path / "theirs")
    assert task.fresh_weights == ()
    compare(task, model)
    task.save_to_preset(tmp_path / "ours")
    compare(task, library.MultiVectorEncoder(str(tmp_path / "ours"), device="cpu"))
    for path in (tmp_path / "theirs").rglob("*.json"):
        other = tmp_path / "ours" / path.relative_to(tmp_path / "theirs")
        assert other.read_bytes() == path.read_bytes(), path


PYLATE = {
    "model_type": "ColBERT", "query_prefix": "[unused0]", "document_prefix": "[unused1]",
    "query_length": 10, "document_length": 14, "attend_to_expansion_tokens": False,
    "skiplist_words": list(string.punctuation), "do_query_expansion": True,
    "similarity_fn_name": "MaxSim", "prompts": {}, "default_prompt_name": None,
}  # fmt: skip


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"attend_to_expansion_tokens": True, "skiplist_words": ["the"]},
        {"do_query_expansion": False},
        {"skiplist_words": None, "query_prefix": "[unused0] ", "query_length": None},
    ],
)
def test_a_folder_of_pylate_gives_the_librarys_vectors(changes, tmp_path):
    folder = pylate_folder(tmp_path, changes)
    task = MultiVectorEmbedder.from_preset(folder)
    model = library.MultiVectorEncoder(str(folder), device="cpu")
    compare(task, model)
    task.save_to_preset(tmp_path / "again")
    for name in ("modules.json", "config_sentence_transformers.json", "1_Dense/config.json"):
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes()
    task.preprocessor.document_length = 9  # now the files are written anew
    task.save_to_preset(tmp_path / "changed")
    again = library.MultiVectorEncoder(str(tmp_path / "changed"), device="cpu")
    compare(task, again)


def pylate_folder(folder, changes):
    folder = bert(folder, max_position_embeddings=32)  # of which a query may have all
    modules = [
        ("", "sentence_transformers.models.Transformer"), ("1_Dense", "pylate.models.Dense.Dense"),
    ]  # fmt: skip
    listed = [
        {"idx": i, "name": str(i), "path": path, "type": kind}
        for i, (path, kind) in enumerate(modules)
    ]
    (folder / "modules.json").write_text(json.dumps(listed))
    declared = {**PYLATE, **changes}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(declared))
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 23}')
    (folder / "1_Dense").mkdir()
    dense = {"in_features": 16, "out_features": 8, "bias": False,
             "activation_function": "torch.nn.modules.linear.Identity"}  # fmt: skip
    (folder / "1_Dense" / "config.json").write_text(json.dumps(dense))
    import safetensors.torch

    weight = torch.randn((8, 16), generator=torch.Generator().manual_seed(0))
    safetensors.torch.save_file({"linear.weight": weight}, folder / "1_Dense" / "model.safetensors")
    return folder


@pytest.mark.parametrize(
    "metadata",
    [
        {"query_token_id": "[unused0]", "doc_token_id": "[unused1]", "query_maxlen": 10,
         "doc_maxlen": 14, "mask_punctuation": True, "attend_to_mask_tokens": False},
        {"attend_to_mask_tokens": True, "mask_punctuation": False, "query_maxlen": 12},
        None,
    ],
)  # fmt: skip
def test_a_folder_of_colbert_gives_the_librarys_vectors(metadata, tmp_path):
    folder = colbert_folder(tmp_path, metadata)
    task = MultiVectorEmbedder.from_preset(folder)
    assert task.fresh_weights == ()
    task.preprocessor.sequence_length = 24
    if metadata is None:
        task.preprocessor.query_expansion = {**CLASSIC, "length": 20}
    model = library.MultiVectorEncoder(str(folder), device="cpu")
    if metadata is None:  # of the usual 32 tokens, the tiny model has no places
        model[0].query_expansion = {**CLASSIC, "length": 20}
    compare(task, model)
    again = MultiVectorEmbedder.from_preset(folder)
    again.save_to_preset(tmp_path / "again")
    assert tensors(tmp_path / "again") == tensors(folder)
    if metadata is not None:
        text = (folder / "artifact.metadata").read_text()
        assert (tmp_path / "again" / "artifact.metadata").read_text() == text
        compare(task, library.MultiVectorEncoder(str(tmp_path / "again"), device="cpu"))


def colbert_folder(folder, metadata):
    class HF_ColBERT(transformers.BertPreTrainedModel):  # noqa: N801
        def __init__(self, config):
            super().__init__(config)
            self.bert = transformers.BertModel(config)
            self.linear = torch.nn.Linear(16, 8, bias=False)
            self.post_init()

    model = HF_ColBERT(sized()).eval()
    perturb(model, 0)
    model.save_pretrained(folder)
    save_tokenizer(folder)
    if metadata is not None:
        (folder / "artifact.metadata").write_text(json.dumps(metadata))
    return folder


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"query_expansion": CLASSIC, "skiplist_words": string.punctuation and (".", ","),
         "prompts": {"query": "[unused0] ", "document": "[unused1] "}},
        {"query_length": 8, "document_length": 12, "prompts": {"query": "the film "}},
    ],
)  # fmt: skip
def test_sentence_transformers_loads_what_is_saved_here(options, tmp_path):
    text = MultiVectorPreprocessor(WordPieceTokenizer(VOCABULARY), 24, **options)
    backbone = BertBackbone(len(VOCABULARY), 2, 2, 16, 24, max_sequence_length=24, pooler=False)
    modules = [{"type": "Dense", "out_features": 8, "bias": False, "activation_function": None}]
    task = MultiVectorEmbedder(backbone, text, modules)
    task.save_to_preset(tmp_path / "ours")
    model = library.MultiVectorEncoder(str(tmp_path / "ours"), device="cpu")
    compare(task, model)
    model.save(str(tmp_path / "theirs"))  # and the other way round
    again = MultiVectorEmbedder.from_preset(tmp_path / "theirs")
    compare(again, model)


@pytest.mark.parametrize("columns", [2, 3])
def test_the_loss_has_their_value(columns):
    random = np.random.default_rng(0)
    vectors = random.normal(size=(columns, 4, 5, 3)).astype(np.float32)
    compared = random.random((columns, 4, 5)) < 0.7
    compared[:, :, 0] = True
    scoring = importlib.import_module("sentence_transformers.multi_vector_encoder.scoring.colbert")
    scores = scoring.colbert_scores(
        torch.tensor(vectors[0]), torch.tensor(vectors[1:].swapaxes(0, 1)),
        torch.tensor(compared[0]), torch.tensor(compared[1:].swapaxes(0, 1)),
    )  # fmt: skip
    labels = torch.arange(4) * (columns - 1)
    theirs = torch.nn.functional.cross_entropy(0.5 * scores, labels)
    ours = MaxSimContrastive(0.5)(compared.swapaxes(0, 1), vectors.reshape(-1, 5, 3))
    assert float(ours) == pytest.approx(float(theirs), rel=1e-5)
