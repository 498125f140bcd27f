"""Updates of weights by Adam in one pass over memory, on torch on a CPU."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras

from inarch.keras_private import replace_adam_update


def fuse_updates(optimizer: Any) -> None:
    """Have Keras's Adam or AdamW on torch update the variables in one pass over memory.

    By itself it makes ten of them. Variables of a graphics processor, of another dtype than float32
    and with `amsgrad` are updated as Keras does; on other backends, and of other optimizers, all
    are.
    """
    if keras.backend.backend() == "torch":
        replace_adam_update(getattr(optimizer, "inner_optimizer", optimizer), _update)


def _update(
    values: Sequence[Any],
    grads: Sequence[Any],
    first: Sequence[Any],
    second: Sequence[Any],
    optimizer: Any,
    learning_rate: Any,
) -> bool:
    """Update values with their moments; return whether it was done."""
    from torch import tensor
    from torch.autograd.graph import increment_version
    from torch.optim.adam import adam

    if optimizer.amsgrad or not all(map(_is_plain, values)):
        return False
    done = float(keras.ops.convert_to_numpy(optimizer.iterations))
    correction = math.sqrt(1 - optimizer.beta_2 ** (done + 1))
    adam(
        [*values], [grad.contiguous() for grad in grads], [*first], [*second], [],
        [tensor(done) for _ in values],
        fused=True, amsgrad=False, maximize=False, weight_decay=0.0, lr=float(learning_rate),
        beta1=optimizer.beta_1, beta2=optimizer.beta_2,
        eps=optimizer.epsilon / correction,  # added to the root of what isn't corrected yet
    )  # fmt: skip
    increment_version(values)  # which other changes in place do by themselves
    return True


def _is_plain(tensor: Any) -> bool:
    import torch

    is_on_cpu = tensor.device.type == "cpu"
    return is_on_cpu and tensor.dtype == torch.float32 and tensor.is_contiguous()
