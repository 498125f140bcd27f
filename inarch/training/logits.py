"""Losses and metrics of tasks whose outputs are logits, where they are given by name.

Keras's own expect probabilities by default, and give no error when they are fed
with logits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras

from inarch.errors import InputError
from inarch.user_warnings import warn

# Losses by name that don't read logits, and have no argument for it.
PROBABILITY_LOSSES = frozenset({"KLDivergence", "Dice", "Tversky"})
# Metrics that count outputs above a threshold, of probabilities where none is given.
THRESHOLD_METRICS = (keras.metrics.BinaryAccuracy, keras.metrics.Precision, keras.metrics.Recall)

# Keras's short names of classes that matter here.
SHORT_NAMES = {
    "bce": "binary_crossentropy",
    "BCE": "binary_crossentropy",
    "kld": "kl_divergence",
    "KLD": "kl_divergence",
}


def loss_of_logits(loss: Any) -> Any:
    """Return a loss, or several in a list or dictionary, as one of logits.

    A loss given by name, or as Keras's function, is built for logits. An object of Keras's, which
    has `from_logits` set itself, must have it true.

    Raises:
        InputError: the loss reads probabilities.
    """
    if isinstance(loss, list | tuple | dict):
        return _each(loss_of_logits, loss)
    given = _resolved(loss, keras.losses)
    if given is None:
        return loss
    name = type(given).__name__
    if name in PROBABILITY_LOSSES:
        raise InputError(
            f"loss is {name}, which reads probabilities, and this task's outputs are logits; give "
            "a cross entropy, or a function of your own that begins with a softmax"
        )
    return _with_logits(given, built_in=not isinstance(loss, keras.losses.Loss), what="loss")


def metrics_of_logits(metrics: Any, several: bool) -> Any:
    """Return metrics as metrics of logits; see `loss_of_logits`.

    Args:
        metrics: what `compile` takes.
        several: whether each output is a separate class, of which any number can be true, so
            that "accuracy" is the binary one.
    """
    if isinstance(metrics, list | tuple | dict):
        return _each(lambda metric: metrics_of_logits(metric, several), metrics)
    if isinstance(metrics, str) and metrics.lower() in ("accuracy", "acc"):
        return keras.metrics.BinaryAccuracy(name=metrics, threshold=0.0) if several else metrics
    given = _resolved(metrics, keras.metrics)
    if given is None:
        return metrics
    built_in = not isinstance(metrics, keras.metrics.Metric)
    if isinstance(given, THRESHOLD_METRICS):
        return _with_threshold(given, built_in, metrics)
    return _with_logits(given, built_in, "metric", name=metrics)


def _each(function: Callable[[Any], Any], values: Any) -> Any:
    if isinstance(values, dict):
        return {name: function(value) for name, value in values.items()}
    return [function(value) for value in values]


def _resolved(given: Any, module: Any) -> Any:
    """Return Keras's object for a name, a function or an object; None for any other."""
    if given is None or isinstance(given, module.__dict__.get("Loss", keras.metrics.Metric)):
        return given
    name = given if isinstance(given, str) else getattr(given, "__name__", None)
    if not isinstance(given, str) and getattr(module, str(name), None) is not given:
        return None  # a function of the user's own
    classes = {_snake(n): c for n, c in vars(module).items() if isinstance(c, type)}
    classes |= {n: c for n, c in vars(module).items() if isinstance(c, type)}
    classes |= {short: classes[long] for short, long in SHORT_NAMES.items() if long in classes}
    found = classes.get(str(name))
    return None if found is None else found()


def _snake(name: str) -> str:
    return (
        "".join(f"_{c.lower()}" if c.isupper() else c for c in name)
        .strip("_")
        .replace("k_l_", "kl_")
    )


def _with_logits(given: Any, built_in: bool, what: str, name: Any = None) -> Any:
    config = given.get_config()
    if config.get("from_logits", True):
        return given
    if not built_in:
        cls = type(given).__name__
        home = "losses." if what == "loss" else "metrics."
        home = f"keras.{home}" if type(given).__module__.startswith("keras.") else ""
        raise InputError(
            f"{what} is a {cls} of probabilities, and this task's outputs are logits; give "
            f"{home}{cls}(from_logits=True)"
        )
    named = {"name": name} if isinstance(name, str) else {}
    return type(given).from_config(config | {"from_logits": True} | named)


def _with_threshold(given: Any, built_in: bool, name: Any) -> Any:
    cls = type(given)
    key = "threshold" if cls is keras.metrics.BinaryAccuracy else "thresholds"
    if built_in:
        named = {"name": name} if isinstance(name, str) else {}
        return cls(**{key: 0.0}, **named)
    threshold = given.get_config()[key]
    if threshold is None or threshold == 0.5:
        warn(
            f"{cls.__name__} counts outputs above 0.5, and this task's outputs are logits, of "
            f"which 0 stands for a probability of 0.5; give {cls.__name__}({key}=0.0)"
        )
    return given
