"""Logits processors of sampling: temperature, and tokens too improbable to be drawn.

As in transformers they are applied in the order of this module, each to what the last one left.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np

from inarch.errors import InputError
from inarch.generation.logits_processors import NEG_INF, ArrayLogitsProcessor, GeneratedTokens

ops: Any = keras.ops  # Typed, every result may be None.


@dataclass(frozen=True)
class Temperature(ArrayLogitsProcessor):
    """Divide the logits by a temperature.

    Args:
        temperature: above 1 the probabilities come closer to one another, below 1 they part.

    Raises:
        InputError: the temperature isn't above 0.
    """

    temperature: float = field(compare=False)

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise InputError(f"temperature={self.temperature}. Pass a number above 0.")

    def arrays(self, size: int) -> dict[str, np.ndarray]:
        return {"temperature": np.asarray(self.temperature, np.float32)}

    def apply(self, logits: Any, generated: GeneratedTokens, arrays: Mapping[str, Any]) -> Any:
        return logits / arrays["temperature"]


@dataclass(frozen=True)
class TopK:
    """Forbid all but the `k` likeliest tokens.

    Source: Fan et al., 2018, arXiv:1805.04833, section 5.4.

    Args:
        k: number of tokens that are left; more where several are equally likely.

    Raises:
        InputError: `k` is below 1.
    """

    k: int

    def __post_init__(self) -> None:
        if self.k < 1:
            raise InputError(f"k={self.k}. Pass a positive int.")

    def __call__(self, logits: Any, generated: GeneratedTokens) -> Any:
        best, _ = ops.top_k(logits, min(self.k, logits.shape[-1]))
        return ops.where(logits < best[:, -1:], NEG_INF, logits)


@dataclass(frozen=True)
class TopP(ArrayLogitsProcessor):
    """Forbid all but the likeliest tokens that together have a probability of `p`.

    Source: Holtzman et al., 2019, arXiv:1904.09751, section 3.1.

    Args:
        p: the probability; the token with which it is reached is left, too.

    Raises:
        InputError: `p` isn't from 0 to 1.
    """

    p: float = field(compare=False)

    def __post_init__(self) -> None:
        if not 0 <= self.p <= 1:
            raise InputError(f"p={self.p}. Pass a number from 0 to 1.")

    def arrays(self, size: int) -> dict[str, np.ndarray]:
        return {"rest": np.asarray(1 - self.p, np.float32)}

    def apply(self, logits: Any, generated: GeneratedTokens, arrays: Mapping[str, Any]) -> Any:
        rising = ops.sort(logits, axis=-1)
        sums = ops.cumsum(ops.softmax(rising, axis=-1), axis=-1)
        # The likeliest is always left.
        least = ops.min(ops.where(sums <= arrays["rest"], rising[:, -1:], rising), axis=-1)
        return ops.where(logits < ops.expand_dims(least, 1), NEG_INF, logits)


@dataclass(frozen=True)
class MinP(ArrayLogitsProcessor):
    """Forbid tokens whose probability is below a share of the likeliest one's.

    Source: Nguyen et al., 2024, arXiv:2407.01082, section 3.

    Args:
        min_p: the share.

    Raises:
        InputError: `min_p` isn't from 0 to 1.
    """

    min_p: float = field(compare=False)

    def __post_init__(self) -> None:
        if not 0 <= self.min_p <= 1:
            raise InputError(f"min_p={self.min_p}. Pass a number from 0 to 1.")

    def arrays(self, size: int) -> dict[str, np.ndarray]:
        return {"min_p": np.asarray(self.min_p, np.float32)}

    def apply(self, logits: Any, generated: GeneratedTokens, arrays: Mapping[str, Any]) -> Any:
        shares = ops.exp(logits - ops.max(logits, axis=-1, keepdims=True))
        return ops.where(shares < arrays["min_p"], NEG_INF, logits)
