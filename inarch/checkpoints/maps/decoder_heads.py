"""The heads that transformers gives every decoder, by its names of their tensors."""

from inarch.checkpoints.maps.config import probability
from inarch.checkpoints.maps.rule import dense, rule, tied
from inarch.checkpoints.maps.source import Head


def causal_lm_head(*architectures: str, tokens: str, output: str = "lm_head.weight") -> Head:
    """Return the head of a causal language model, without a bias.

    Args:
        architectures: class names in `config.json`.
        tokens: the table of token embeddings in the backbone, such as `.embed_tokens.weight`.
        output: the output embeddings.
    """
    return Head(
        architectures,
        tied=tied(output, tokens),
        untied=rule(output, "logits/kernel", "v d -> d v"),
    )


def last_token_head(*architectures: str) -> Head:
    """Return the head that reads a text's class from its last token, without a bias."""
    return Head(architectures, dense("score", "logits", bias=False))


def every_token_head(*architectures: str, layer: str = "score") -> Head:
    """Return the head that gives each token a class; `layer` is the name of its one dense layer."""
    dropout = probability("classifier_dropout", "dropout", None, legacy=("hidden_dropout",))
    return Head(architectures, dense(layer, "logits"), config=[dropout])
