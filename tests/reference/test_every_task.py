"""Every task on every architecture that has its head: raw texts in, the reference's numbers out.

The reference tokenizes and computes each text by itself, so that padding and batches count too.
"""

import contextlib
import inspect
import json

import numpy as np
import pytest

from inarch import tasks
from inarch.models.registry import architectures
from inarch.text import WordPieceTokenizer
from inarch.verify.hooks import without_float32
from inarch.verify.transformers_reference import with_eager_experts

from .conftest import noise_ratio, perturb, torch, transformers
from .test_tasks import VOCABULARY

library = pytest.importorskip("sentence_transformers", reason="needs sentence-transformers")
pytest.importorskip("sentence_transformers.multi_vector_encoder", reason="needs version 6")
pytestmark = [pytest.mark.reference, pytest.mark.turns(3)]

# All texts in one batch of one shape; the longest ones are cut.
SHORT = ["The film was good!", "", "bad", "not xyz"]
TEXTS = [*SHORT, "caf\u00e9 cafe\u0301 \u4e2d\u6587 \U0001f642", "very bad film " * 9]
PAIRS = [(text, other) for text in ("film", "good \u00e9") for other in (*SHORT, TEXTS[-1])]
LENGTH = 16
LABELS = ["good", "bad", "xyz"]
NLI = {0: "CONTRADICTION", 1: "neutral", 2: "Entailment"}


def outputs(written, texts, *names):
    """The reference's outputs of each text, in float32 and in float64."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(written.folder)
    taken = inspect.signature(written.model.forward).parameters
    for double in (False, True):
        model = written.model.double() if double else written.model.float()
        rows = []
        with torch.no_grad(), without_float32(torch) if double else contextlib.nullcontext():
            for text in texts:
                columns = [[part] for part in ([text] if isinstance(text, str) else text)]
                fed = tokenizer(*columns, truncation=True, return_tensors="pt")
                found = model(**{name: fed[name] for name in fed if name in taken})
                found = [found[name][0].double().numpy() for name in names]
                rows.append(found[0] if len(found) == 1 else np.stack(found, axis=-1))
        yield rows


def compare(ours, single, double):
    """Rows may differ in length; one of ours may have padding at its end."""
    ours = [row[: len(exact)] for row, exact in zip(ours, double, strict=True)]
    assert [row.shape for row in ours] == [row.shape for row in double]
    parts = (np.concatenate([np.ravel(row) for row in rows]) for rows in (ours, single, double))
    assert noise_ratio(*(part.astype(np.float64) for part in parts)) <= 4


def rerank(task, written):
    compare(
        np.atleast_2d(task.predict(PAIRS)).T,
        *[
            [torch.tensor(row).sigmoid().numpy() for row in r]
            for r in outputs(written, PAIRS, "logits")
        ],
    )


def classify_zero_shot(task, written):
    pairs = [(text, f"the {label} film.") for text in SHORT for label in LABELS]
    ours = []
    for several in (False, True):
        found = task.classify(SHORT, LABELS, "the {} film.", multi_label=several)
        ours += [[{a["label"]: a["score"] for a in row}[name] for name in LABELS] for row in found]
    # Logarithms, in which no class hides the others.
    compare(np.log(ours), *map(nli_scores, outputs(written, pairs, "logits")))


def nli_scores(logits):
    """Logarithms of scores, first with one label to a text and then with any number."""
    logits = torch.tensor(np.stack(logits)).reshape(-1, len(LABELS), len(NLI))
    one, several = logits[..., 2].log_softmax(-1), logits[..., [0, 2]].log_softmax(-1)[..., 1]
    return torch.cat([one, several]).numpy()


def compare_logits(texts, *names):
    def run(task, written):
        compare(task.predict(texts), *outputs(written, texts, *names))

    return run


def encoded(model, encode):
    """Vectors of a model of sentence-transformers, in float32 and in float64."""
    for part in model.modules():
        if isinstance(part, transformers.PreTrainedModel):
            with_eager_experts(part)
    single = encode(model)
    with without_float32(torch):
        return single, encode(model.double())


def embed(task, written):
    transformer = library.base.modules.Transformer(str(written.folder))
    pooling = library.sentence_transformer.modules.Pooling(written.model.config.hidden_size)
    model = library.SentenceTransformer(modules=[transformer, pooling], device="cpu")
    compare(task.embed(TEXTS), *encoded(model, lambda m: m.encode(TEXTS, batch_size=1)))


def embed_sparsely(task, written):
    model = library.SparseEncoder(str(written.folder), device="cpu")

    def encode(model):
        return model.encode(TEXTS, batch_size=1).to_dense().numpy()

    compare(task.predict(TEXTS), *encoded(model, encode))


def embed_tokens(task, written):
    modules = library.base.modules
    width = written.model.config.hidden_size
    dense = modules.Dense(
        width, 8, False, torch.nn.Identity(), module_input_name="token_embeddings"
    )
    perturb(dense, 1)
    transformer = modules.Transformer(str(written.folder))
    mask = library.multi_vector_encoder.modules.MultiVectorMask()
    parts = [transformer, dense, mask, modules.Normalize("token_embeddings")]
    model = library.MultiVectorEncoder(modules=parts, device="cpu")
    model.save(str(written.folder / "theirs"))
    task = tasks.MultiVectorEmbedder.from_preset(written.folder / "theirs")
    assert task.fresh_weights == ()

    def encode(model):
        return model.encode_document(TEXTS, batch_size=1, convert_to_numpy=True)

    compare(task.embed_document(TEXTS), *encoded(model, encode))


# Of each task the head (None for a bare encoder), fields of the config, and the comparison.
CASES = {
    tasks.Reranker: ("text_classifier", {"num_labels": 1}, rerank),
    tasks.TextClassifier: ("text_classifier", {"num_labels": 3}, compare_logits(TEXTS, "logits")),
    tasks.ZeroShotClassifier: (
        "text_classifier", {"id2label": NLI, "label2id": {v: k for k, v in NLI.items()}},
        classify_zero_shot,
    ),
    tasks.TokenClassifier: ("token_classifier", {"num_labels": 3}, compare_logits(TEXTS, "logits")),
    tasks.QuestionAnswerer: (
        "question_answering", {}, compare_logits(PAIRS, "start_logits", "end_logits")
    ),
    tasks.MaskedLM: ("masked_lm", {}, compare_logits(TEXTS, "logits")),
    tasks.CausalLM: ("causal_lm", {}, compare_logits(TEXTS, "logits")),
    tasks.SparseEmbedder: ("masked_lm", {}, embed_sparsely),
    tasks.TextEmbedder: (None, {}, embed),
    tasks.MultiVectorEmbedder: (None, {}, embed_tokens),
}  # fmt: skip
TEXT = [
    a for a in architectures().values()
    if "token_ids" in a.inputs and "encoder_token_ids" not in a.inputs
]  # fmt: skip


def save_tokenizer(folder, has_segments):
    WordPieceTokenizer(VOCABULARY).save(folder)
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text()) | {"model_max_length": LENGTH}
    if not has_segments:  # which the reference's GPT-2 would add to its embeddings
        config["model_input_names"] = ["input_ids", "attention_mask"]
    path.write_text(json.dumps(config))


@pytest.mark.filterwarnings("ignore:.*has no values for dense_0:UserWarning")
@pytest.mark.parametrize("architecture", [a.name for a in TEXT])
@pytest.mark.parametrize("task", CASES, ids=lambda task: task.__name__)
def test_raw_texts_give_the_references_numbers(task, architecture, write):
    head, changes, check = CASES[task]
    source = architectures()[architecture].sources[0]
    if head is not None and head not in source.heads:
        return
    if (task, architecture) == (tasks.QuestionAnswerer, "longformer"):
        pytest.skip("its reference wants the three separators of RoBERTa's pairs: test_longformer")
    kind = source.heads[head].architectures[0] if head else source.architecture
    changes = {"vocab_size": len(VOCABULARY), "pad_token_id": 0, **changes}
    if any("type_vocab_size" in entry.known_names for entry in source.config):
        changes["type_vocab_size"] = 2
    written = write(kind, **changes)
    save_tokenizer(written.folder, "segment_ids" in architectures()[architecture].inputs)
    check(task.from_preset(written.folder), written)
