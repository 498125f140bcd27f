"""`TokenClassifier` against transformers' token-classification pipeline, on nasty texts."""

import itertools
import unicodedata

import numpy as np
import pytest

from inarch.models.bert.backbone import BertBackbone
from inarch.models.roberta.backbone import RobertaBackbone
from inarch.models.variables import named_variables
from inarch.tasks import TextPreprocessor, TokenClassifier
from inarch.text import WordPieceTokenizer

from ..preprocessors.test_windows import byte_level
from .conftest import transformers

pytestmark = [pytest.mark.reference, pytest.mark.turns(3)]

LABELS = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC", "MISC"]
LENGTH, STRIDE = 24, 8
PARTS = [
    "The film was not good at all.", "Ångström visited Île-de-France", "naïve café, déjà-vu",
    "東京都は日本の首都です。", "한국어 문장", "שלום עולם", "مرحبا بالعالم", "it's 3.14€ — “ok”",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467 and \u2764\ufe0f\U0001f44d\U0001f3fd!",
    "\U0001f1e9\U0001f1ea\U0001f1eb\U0001f1f7 flags", "a\u0000b\u0007c\u200bd\ufeffe",
    "soft\u00adhyphen",
    "tab\tnew\nline\r\n end", "\u202eabc\u202c", "ﬁne ½ ①", "\u0130stanbul ẞ", "",
]  # fmt: skip
CHARACTERS = sorted({c for part in PARTS for c in unicodedata.normalize("NFD", part.lower())})
KEPT = [c for c in CHARACTERS if c.strip() and not unicodedata.combining(c)][::2]
VOCABULARY = [
    "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "film", "was", "not", "good", "at", "all",
    *"abcdefghijklmnopqrstuvwxyz", *(f"##{c}" for c in "abcdefghijklmnopqrstuvwxyz"),
    *(c for c in KEPT if not c.isascii() or not c.isalpha()),
]  # fmt: skip


def corpus():
    """Two hundred texts, composed and decomposed, of which many have three windows."""
    random = np.random.default_rng(0)
    single = [unicodedata.normalize(form, part) for form in ("NFC", "NFD") for part in PARTS]
    pairs = [f"{a} {b}" for a, b in itertools.pairwise(single)]
    count = 200 - len(single) - len(pairs)
    long = [" ".join(random.choice(single, random.integers(5, 12))) for _ in range(count)]
    return [*single, *pairs, *long]


def taggers():
    yield "words", BertBackbone, WordPieceTokenizer(VOCABULARY)
    yield "bytes", RobertaBackbone, byte_level()


@pytest.fixture(scope="module", params=list(taggers()), ids=lambda given: given[0])
def tagger(request):
    """A classifier of tokens with weights of order one, so that labels change all the time."""
    _, cls, tokenizer = request.param
    sizes = {"num_segments": 1} if cls is RobertaBackbone else {}
    backbone = cls(
        tokenizer.vocabulary_size, 2, 2, 16, 24, max_sequence_length=LENGTH, pooler=False, **sizes
    )
    task = TokenClassifier(
        backbone, len(LABELS), TextPreprocessor(tokenizer, LENGTH), labels=LABELS
    )
    random = np.random.default_rng(1)
    for name, variable in named_variables(task).items():
        value = random.normal(size=tuple(variable.shape))
        variable.assign(1 + 0.3 * value if name.endswith("gamma") else 0.6 * value)
    return task


@pytest.fixture(scope="module")
def pipeline(tagger, tmp_path_factory):
    """The reference's pipeline, on the folder that ours saves."""
    folder = tmp_path_factory.mktemp("tagger") / "saved"
    tagger.save_to_preset(folder)
    model, report = transformers.AutoModelForTokenClassification.from_pretrained(
        folder, output_loading_info=True
    )
    assert not any(report[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, model_max_length=LENGTH)
    return transformers.pipeline("token-classification", model=model, tokenizer=tokenizer)


def trimmed(entities, text):
    """The reference's entities as (label, start, end), score; without white space at their ends."""
    for entity in entities:
        label = entity["entity" if "entity" in entity else "entity_group"]
        span = text[entity["start"] : entity["end"]]
        start = entity["start"] + len(span) - len(span.lstrip())
        if span.strip():
            yield (label, start, start + len(span.strip())), float(entity["score"])


def check_equal(found, theirs, texts):
    for ours, expected, text in zip(found, theirs, texts, strict=True):
        expected = list(trimmed(expected, text))
        assert [(e["label"], e["start"], e["end"]) for e in ours] == [e for e, _ in expected], text
        assert [e["text"] for e in ours] == [text[e["start"] : e["end"]] for e in ours]
        scores = [e["score"] for e in ours], [score for _, score in expected]
        np.testing.assert_allclose(*scores, rtol=1e-3, atol=1e-5)


def of_one_window(tagger):
    """The texts that need no window."""
    tokenizer = tagger.preprocessor.tokenizer
    texts = [text for text in corpus() if len(tokenizer.encode(text)) <= LENGTH]
    assert len(texts) > 10
    return texts


@pytest.mark.filterwarnings("ignore:Tokenizer does not support real words")
@pytest.mark.parametrize("aggregation", ["simple", "first", "average", "max"])
def test_entities_are_those_of_the_pipeline(aggregation, tagger, pipeline):
    # Words of bytes are so long that an edge of a window cuts some there, which are whole here.
    bytes_alone = tagger.preprocessor.tokenizer.continuing_subword_prefix is None
    texts = of_one_window(tagger) if bytes_alone else corpus()
    texts = texts if aggregation == "simple" else texts[::3]
    found = tagger.tag(texts, aggregation=aggregation, stride=STRIDE)
    check_equal(found, pipeline(texts, aggregation_strategy=aggregation, stride=STRIDE), texts)


def test_tokens_alone_are_those_of_the_pipeline_where_a_text_has_one_window(tagger, pipeline):
    texts = of_one_window(tagger)
    check_equal(tagger.tag(texts, aggregation="none"), pipeline(texts), texts)


def test_what_the_reference_saves_gives_the_same_entities_here(tagger, pipeline, tmp_path):
    pipeline.model.save_pretrained(tmp_path)
    pipeline.tokenizer.save_pretrained(tmp_path)
    again = TokenClassifier.from_preset(tmp_path)
    assert again.labels == LABELS
    assert again.fresh_weights == ()
    texts = corpus()[::9]
    assert again.tag(texts, stride=STRIDE) == tagger.tag(texts, stride=STRIDE)
