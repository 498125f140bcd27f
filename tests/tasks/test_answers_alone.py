"""No order, neighbor, batch size, thread or packing changes the answer to a text."""

import functools
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from inarch.answers.sparse_vectors import to_dense
from inarch.models.f_net.backbone import FNetBackbone
from inarch.tasks import (
    MaskedLM,
    MultiVectorEmbedder,
    MultiVectorPreprocessor,
    PooledReranker,
    QuestionAnswerer,
    Reranker,
    Seq2SeqLM,
    SparseEmbedder,
    Summarizer,
    TextClassifier,
    TextEmbedder,
    TextPreprocessor,
    TokenClassifier,
    ZeroShotClassifier,
)
from inarch.text import WordPieceTokenizer

from . import test_causal_lm, test_seq2seq_lm
from .conftest import VOCABULARY, make_backbone

pytestmark = pytest.mark.turns(3)

WORDS = [word for word in VOCABULARY if word.isalpha() and len(word) > 1]
random = np.random.default_rng(0)
# Rows have 20 tokens, so that the longest texts are cut, or read in windows.
TEXTS = [" ".join(random.choice(WORDS, n)) for n in (3, 17, 1, 0, 45, 7, 12, 25)]
QUERIES = [" ".join(random.choice(WORDS, n)) for n in (1, 4, 2, 3, 1, 2, 4, 3)]
PAIRS = list(zip(QUERIES, TEXTS, strict=True))
LETTERS = ["a", "hello there", "xyz", "the cat sat on a mat", "dogs", "it rains in spain"]
NLI = ["contradiction", "neutral", "entailment"]
TAGS = ["O", "B-X", "I-X"]
SCORES = [{"type": "Dense", "out_features": 1, "activation_function": "identity"}]


def text(kind=TextPreprocessor, **options):
    return kind(WordPieceTokenizer(VOCABULARY), 20, **options)


def f_net(vocabulary_size, num_layers, num_heads, *widths, **options):
    return FNetBackbone(vocabulary_size, num_layers, *widths, **options)


def zero_shot():
    return ZeroShotClassifier(TextClassifier(make_backbone(), 3, text(), labels=NLI))


def streamed(task, examples, size, **options):
    return list(task.stream(examples, batch_size=size, chunk=5, **options))


def ranked(task, examples, size):
    queries, documents = zip(*examples, strict=True)
    lists = [[document, "cat", "a dog ran"] for document in documents]
    return task.rank(list(queries), lists, batch_size=size)


def classified(task, examples, size):
    return task.classify(examples, ["cat", "road"], "the {}.", batch_size=size)


def sparse(task, examples, size):
    return [*to_dense(task.embed(examples, batch_size=size), len(VOCABULARY))]


def perplexity(task, examples, size):
    return [*task.perplexity(examples, batch_size=size)]


def seq2seq(kind):
    tokenizer = test_seq2seq_lm.letters_tokenizer()
    return test_seq2seq_lm.make_seq2seq(tokenizer, kind=kind)


# Of each task: how it is made, its examples, and how it answers a list of them.
CASES = {
    "embed": (
        lambda: TextEmbedder(make_backbone(), text(), ("cls", "mean", "max")), TEXTS, streamed
    ),
    "embed without packing": (
        lambda: TextEmbedder(make_backbone(f_net), text()), TEXTS, streamed
    ),
    "classify": (
        lambda: TextClassifier(make_backbone(), 3, text()), TEXTS,
        functools.partial(streamed, top_k=None),
    ),
    "classify pairs": (lambda: TextClassifier(make_backbone(), 3, text()), PAIRS, streamed),
    "score": (lambda: Reranker(make_backbone(), preprocessor=text()), PAIRS, streamed),
    "score by modules": (
        lambda: PooledReranker(make_backbone(), SCORES, text(), "mean"), PAIRS, streamed
    ),
    "rank": (lambda: Reranker(make_backbone(), preprocessor=text()), PAIRS, ranked),
    "tag": (
        lambda: TokenClassifier(make_backbone(), 3, text(), labels=TAGS), TEXTS,
        functools.partial(streamed, aggregation="none"),
    ),
    "answer": (
        lambda: QuestionAnswerer(make_backbone(), text()), PAIRS,
        functools.partial(streamed, top_k=3),
    ),
    "classify by labels": (zero_shot, TEXTS[:4], classified),
    "fill mask": (
        lambda: MaskedLM(make_backbone(), text(allow_special=("[MASK]",))),
        [f"[MASK] {words}" for words in TEXTS if len(words) < 60],
        functools.partial(streamed, top_k=2),
    ),
    "terms": (lambda: SparseEmbedder(make_backbone(), text()), TEXTS, sparse),
    "vectors of tokens": (
        lambda: MultiVectorEmbedder(make_backbone(), text(MultiVectorPreprocessor)), TEXTS, streamed
    ),
    "generate": (
        lambda: test_causal_lm.make_task(0.6), LETTERS,
        functools.partial(streamed, max_new_tokens=3),
    ),
    "perplexity": (lambda: test_causal_lm.make_task(0.6), LETTERS[1:], perplexity),
    "text from text": (
        lambda: seq2seq(Seq2SeqLM), LETTERS, functools.partial(streamed, max_new_tokens=3)
    ),
    "summarize": (
        lambda: seq2seq(Summarizer), LETTERS, functools.partial(streamed, max_new_tokens=3)
    ),
}  # fmt: skip


@functools.cache
def alone(name):
    """A task, and the answer to each of its examples alone."""
    make, examples, answers = CASES[name]
    task = make()
    return task, [answers(task, [one], 32)[0] for one in examples]


def check(found, expected):
    """Equal up to the rounding of numbers."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        found, expected = list(found.values()), list(expected.values())
    if isinstance(expected, list | tuple):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            check(one, other)
    elif isinstance(expected, str | int | None):
        assert found == expected
    else:
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", CASES)
@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    order=st.lists(st.integers(0, 99), min_size=1, max_size=11),
    size=st.sampled_from([1, 3, 32]),
    threads=st.integers(1, 3),
)
@example(order=[0, 1, 2, 3, 4, 5, 6, 7], size=1, threads=1)
def test_an_answer_is_that_of_its_text_alone(name, order, size, threads):
    task, expected = alone(name)
    _, examples, answers = CASES[name]
    order = [place % len(examples) for place in order]
    orders = [order, order[::-1], order[1:] + order[:1]][:threads]
    with ThreadPoolExecutor(threads) as pool:
        together = pool.map(
            lambda places: answers(task, [examples[i] for i in places], size), orders
        )
    for places, found in zip(orders, together, strict=True):
        assert len(found) == len(places)
        check(list(found), [expected[i] for i in places])
