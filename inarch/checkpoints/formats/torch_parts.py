"""Parts of the pickles of torch files: tensors, described and not made.

The functions that `torch.save` has things made by are known here by name; each has its like, which
only records what it is given. Source: torch/_utils.py, torch/_weights_only_unpickler.py.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from inarch.json_fields import MAX_AXES, is_shape, is_size, is_text
from inarch.validation import shown

NAMESPACE = "argparse.Namespace"


@dataclass(frozen=True)
class Storage:
    """Numbers that tensors share, by their key in the file: `size` of them, from `begin` on."""

    key: str
    dtype: str
    size: int
    begin: int = 0


@dataclass(frozen=True)
class Tensor:
    """Description of a tensor, with the bits by which torch puts off a change of its numbers.

    `layout` is the reason for which it has no plain values, if it hasn't."""

    storage: Storage | None
    dtype: str
    offset: int = 0
    shape: tuple[int, ...] = ()
    strides: tuple[int, ...] = ()
    conjugate: bool = False
    negative: bool = False
    layout: str = ""

    @property
    def extent(self) -> int:
        """Return the number of elements of its storage up to the end of its last one."""
        if 0 in self.shape:
            return 0
        steps = zip(self.shape, self.strides, strict=True)
        return self.offset + sum((size - 1) * stride for size, stride in steps) + 1


@dataclass(frozen=True)
class Named:
    """Something that the pickle names: a class, a function, a dtype."""

    name: str


class Refused(Exception):
    """Reason for which a pickle can't be read."""


DTYPE_OF = {
    "Double": "float64", "Float": "float32", "Half": "float16", "BFloat16": "bfloat16",
    "Long": "int64", "Int": "int32", "Short": "int16", "Char": "int8", "Byte": "uint8",
    "Bool": "bool", "ComplexFloat": "complex64", "ComplexDouble": "complex128",
    "QInt8": "qint8", "QUInt8": "quint8", "QInt32": "qint32",
}  # fmt: skip
FROM_TYPE = "torch._tensor._rebuild_from_type_v2"
UNTYPED = ("torch.storage.UntypedStorage", "torch.storage._UntypedStorage")


def storage_dtype(name: str) -> str | None:
    """Return the dtype of a class of storages."""
    kind = re.fullmatch(r"torch\.(?:cuda\.)?(\w+)Storage", name)
    if kind and kind[1] in DTYPE_OF:
        return DTYPE_OF[kind[1]]
    return "uint8" if name in UNTYPED else None


def _shape(value: Any) -> tuple[int, ...]:
    if not is_shape(value):
        raise Refused(f"a tensor with the shape {shown(value)}")
    return tuple(value)


def _strides(value: Any) -> tuple[int, ...]:
    steps = value if isinstance(value, tuple | list) else [None]
    if len(steps) > MAX_AXES or not all(map(is_size, steps)):
        raise Refused(f"a tensor with the strides {shown(value)}")
    return tuple(steps)


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, *rest: Any) -> Tensor:
    """Build a tensor, as `_rebuild_tensor`, `_rebuild_tensor_v2` and `_rebuild_tensor_v3` do."""
    if not isinstance(storage, Storage) or not is_size(offset):
        raise Refused("a tensor without numbers")
    shape, strides = _shape(shape), _strides(strides)
    if len(shape) != len(strides):
        raise Refused(f"a tensor of shape {shown(shape)} with strides {shown(strides)}")
    settings = next((part for part in reversed(rest) if isinstance(part, dict) and part), {})
    dtypes = [part.name.removeprefix("torch.") for part in rest if isinstance(part, Named)]
    dtype = dtypes[0] if dtypes else storage.dtype
    conjugate, negative = (settings.get(bit) is True for bit in ("conj", "neg"))
    if negative and dtype == "bool":
        raise Refused("a negative of truth values")
    return Tensor(storage, dtype, offset, shape, strides, conjugate, negative)


def _like_its_first(data: Any = None, *rest: Any) -> Any:
    """Return the tensor of `_rebuild_parameter` and its like, without what only training needs."""
    return data


def _from_type(function: Any = None, kind: Any = None, arguments: Any = (), *rest: Any) -> Any:
    """Build a tensor with attributes, as `_rebuild_from_type_v2` does."""
    if isinstance(function, Named) and function.name == FROM_TYPE:
        raise Refused("a tensor of no kind")
    return called(function, arguments)


def _sparse(layout: Any = None, data: Any = ()) -> Tensor:
    name = layout.name if isinstance(layout, Named) else "sparse"
    values = [part for part in data if isinstance(part, Tensor)] if is_list(data) else []
    return Tensor(None, values[-1].dtype if values else "float32", layout=name)


def _meta(dtype: Any = None, shape: Any = (), *rest: Any) -> Tensor:
    name = dtype.name.removeprefix("torch.") if isinstance(dtype, Named) else "float32"
    return Tensor(None, name, shape=_shape(shape), layout="meta")


def _quantized(storage: Any = None, *rest: Any) -> Tensor:
    return Tensor(None, storage.dtype if isinstance(storage, Storage) else "qint8")


def _layout(name: Any = None) -> Named:
    return Named(str(name).removeprefix("torch.") if is_text(name) else "unknown")


def _encoded(text: Any = "", encoding: Any = "latin1") -> bytes:
    """Encode bytes, as older pickles do by `_codecs.encode`."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise Refused("bytes that aren't encoded as pickles have them")
    try:
        return text.encode("latin1")
    except UnicodeEncodeError as e:
        raise Refused("bytes that aren't encoded as pickles have them") from e


def _dictionary(items: Any = (), *rest: Any) -> dict[Any, Any]:
    if isinstance(items, dict):
        return dict(items)
    found: dict[Any, Any] = {}
    for pair in items if is_list(items) else ():
        if not is_list(pair) or len(pair) != 2:
            raise Refused("a dictionary of no pairs")
        found[key_of(pair[0])] = pair[1]
    return found


def _default_dictionary(factory: Any = None, *items: Any) -> dict[Any, Any]:
    return _dictionary(*items)


def _set(items: Any = ()) -> set[Any]:
    return {key_of(item) for item in items} if is_list(items) else set()


def _size(items: Any = ()) -> tuple[Any, ...]:
    return tuple(items) if is_list(items) else ()


def is_list(value: Any) -> bool:
    return isinstance(value, list | tuple)


def key_of(value: Any) -> Any:
    """Return a key, after a check that its hash is quick to compute."""
    if not isinstance(value, str | bytes | int | float | bool | None):
        raise Refused(f"a key of type {type(value).__name__}")
    return value


# The functions that `torch.save` has things made by.
KNOWN: dict[str, Callable[..., Any]] = {
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _tensor,
    "torch._utils._rebuild_parameter": _like_its_first,
    "torch._utils._rebuild_parameter_with_state": _like_its_first,
    FROM_TYPE: _from_type,
    "torch._utils._rebuild_sparse_tensor": _sparse,
    "torch._utils._rebuild_meta_tensor_no_storage": _meta,
    "torch._utils._rebuild_qtensor": _quantized,
    "torch.serialization._get_layout": _layout,
    "torch.nn.parameter.Parameter": _like_its_first,
    "torch.Size": _size,
    "torch.device": _layout,
    "collections.OrderedDict": _dictionary,
    "collections.Counter": _dictionary,
    "collections.defaultdict": _default_dictionary,
    "_codecs.encode": _encoded,
    "__builtin__.set": _set,
    "builtins.set": _set,
}
# Classes that are only arguments, and those of dtypes.
ONLY_NAMED = ("torch.Tensor", "torch._tensor.Tensor", "builtins.dict", "__builtin__.dict",
              "builtins.list", "__builtin__.list", "builtins.int", "__builtin__.int")  # fmt: skip
NAMED_DTYPE = re.compile(
    r"torch\.(float|bfloat|int|uint|bool|complex|double|half|long|quint|qint)\w*"
)


def called(function: Any, arguments: Any) -> Any:
    name = function.name if isinstance(function, Named) else None
    if name == NAMESPACE:
        return argparse.Namespace()
    if name not in KNOWN or not isinstance(arguments, tuple):
        raise Refused(f"a call of {shown(name or function)}")
    try:
        return KNOWN[name](*arguments)
    except TypeError as e:
        raise Refused(f"a call of {name} with {len(arguments)} arguments") from e
