"""Facts that a reference's tiny model shows: epsilons of norms, and tensors that are others."""

from __future__ import annotations

from typing import Any


def norm_epsilon(module: Any) -> float | None:
    """Return the epsilon of a norm; None of another module."""
    for name in ("eps", "variance_epsilon"):
        value = getattr(module, name, None)
        if isinstance(value, float):
            return value
    return None


def norms_are_shifted(model: Any, torch: Any) -> bool | None:
    """Return whether norms without an offset see a number that is added to all features.

    RMS norms do; layer norms subtract the mean. None of a model that has no such norms.
    """
    for module in model.modules():
        own = dict(module.named_parameters(recurse=False))
        if norm_epsilon(module) is not None and [*own] == ["weight"] and own["weight"].ndim == 1:
            x = torch.arange(1.0, len(own["weight"]) + 1)[None]
            return not torch.allclose(module(x), module(x + 7), atol=1e-4)
    return None


def untied_model(model: Any, config: Any) -> Any:
    """Return a model whose config ties output and input embeddings where this one's doesn't."""
    fields = config.to_dict()
    tie = fields.get("tie_word_embeddings", True)
    return type(model)(type(config)(**{**fields, "tie_word_embeddings": not tie}))


def ties_of(model: Any) -> dict[str, str]:
    """Return the tensors of a model that are others, with those."""
    by_storage: dict[int, str] = {}
    found = {}
    for tensor, value in model.state_dict().items():
        first = by_storage.setdefault(value.data_ptr(), tensor)
        if first != tensor:
            found[tensor] = first
    return found
