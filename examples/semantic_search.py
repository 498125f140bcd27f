"""Search texts by their meaning: vectors find candidates, and a cross-encoder reranks them.

    python examples/semantic_search.py texts.txt "what do cats eat" --reranker FOLDER

The file has a text per line. A vector is made of each text once, whatever the queries; the
reranker reads each query together with its candidates, which is slower and tells more. With
`--relevant`, a file with the number of the right line for each query, both orders are measured.
"""

import argparse
from pathlib import Path

import numpy as np

from inarch import Reranker, TextEmbedder
from inarch.metrics.retrieval import mrr, ndcg, rank_by_score


def search(embedder, texts, queries, count):
    """Return for each query the numbers of the `count` nearest texts, the nearest first."""
    similarities = embedder.similarity(embedder.embed(queries), embedder.embed(texts))
    return [rank_by_score(row)[:count] for row in np.atleast_2d(similarities)]


def rerank(reranker, texts, queries, candidates):
    """Return the candidates of each query in the reranker's order, with their scores."""
    rankings = reranker.rank(queries, [[texts[i] for i in found] for found in candidates])
    return [
        [(found[answer["index"]], answer["score"]) for answer in ranking]
        for found, ranking in zip(candidates, rankings, strict=True)
    ]


def measured(name, rankings, relevant):
    right = [[number] for number in relevant]
    print(f"{name}: ndcg@10 {ndcg(rankings, right):.3f}, mrr@10 {mrr(rankings, right):.3f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("texts")
    parser.add_argument("query", nargs="+")
    parser.add_argument("--embedder", default="all_minilm_l6_v2_en")
    parser.add_argument("--reranker", default="cross-encoder/ms-marco-MiniLM-L6-v2")
    parser.add_argument("--candidates", type=int, default=50)
    parser.add_argument("--top-k", type=int, default=5)
    parser.add_argument("--relevant", help="file with the right line's number for each query")
    options = parser.parse_args()

    texts = Path(options.texts).read_text("utf-8").splitlines()
    candidates = search(
        TextEmbedder.from_preset(options.embedder), texts, options.query, options.candidates
    )
    reranker = Reranker.from_preset(options.reranker)
    reranked = rerank(reranker, texts, options.query, candidates)
    for query, ranking in zip(options.query, reranked, strict=True):
        print(query)
        for number, score in ranking[: options.top_k]:
            print(f"  {score:.3f}  {texts[number]}")
    if options.relevant:
        relevant = [int(line) for line in Path(options.relevant).read_text().split()]
        measured("vectors ", candidates, relevant)
        measured("reranked", [[number for number, _ in row] for row in reranked], relevant)


if __name__ == "__main__":
    main()
