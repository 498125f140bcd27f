"""Constructor arguments as attributes: some may be set anew, all others are read-only."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from inarch.errors import ReadOnlyError

# Attribute of a class that keeps its mutable arguments.
_MUTABLE = "_mutable_arguments"
# Arguments of every Keras model, which Keras itself lets a user set.
KERAS_ARGUMENTS = frozenset({"name", "trainable", "dtype"})


class MutableArgument:
    """A constructor argument whose attribute may be set anew.

    What is set is checked as the constructor checks it, and is what `get_config` and every way of
    saving see. A value that can be changed in place (a list, a dictionary) is checked once more
    when it is saved.

    Args:
        check: from the object and a value to the value to keep; raises InputError or
            InputTypeError where it can't be used.
    """

    def __init__(self, check: Callable[[Any, Any], Any] = lambda owner, value: value):
        self._check = check
        self._name = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    if TYPE_CHECKING:
        # There is none: Python itself reads the value in the object, quicker than a method would.
        def __get__(self, owner: Any, kind: type | None = None) -> Any: ...

    def __set__(self, owner: Any, value: Any) -> None:
        # Past Keras's tracking, which would wrap lists and dictionaries.
        vars(owner)[self._name] = self._check(owner, value)

    def checked(self, owner: Any) -> Any:
        """Return the value, checked again, since it may have been changed in place."""
        return self._check(owner, vars(owner)[self._name])


def mutable_arguments(cls: type) -> dict[str, MutableArgument]:
    """Return the arguments of a class that may be set anew, by name."""
    known = vars(cls).get(_MUTABLE)  # looked up at every attribute that is set
    if known is None:
        found = {name: inspect.getattr_static(cls, name, None) for name in dir(cls)}
        known = {n: v for n, v in found.items() if isinstance(v, MutableArgument)}
        setattr(cls, _MUTABLE, known)
    return known


def check_complete(owner: Any) -> None:
    """Raise AttributeError where a constructor has left a mutable argument without a value."""
    for name in mutable_arguments(type(owner)).keys() - vars(owner).keys():
        raise AttributeError(f"the constructor of {type(owner).__name__} hasn't set {name}")


def checked_values(owner: Any) -> dict[str, Any]:
    """Return the values of an object's mutable arguments, checked, by name."""
    return {name: a.checked(owner) for name, a in mutable_arguments(type(owner)).items()}


class ReadOnlyArguments:
    """Base of plain classes whose attributes are their constructor's arguments.

    They are read-only once they are set, but for those that the class declares to be a
    `MutableArgument`.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        if name in vars(self):
            check_settable(self, name, inspect.signature(type(self)).parameters)
        super().__setattr__(name, value)


def check_settable(owner: Any, name: str, arguments: Mapping[str, Any]) -> None:
    """Raise ReadOnlyError where setting an attribute would change nothing, or not be saved.

    Args:
        owner: the object whose attribute is to be set, built already.
        name: of the attribute.
        arguments: the constructor's arguments of the object.
    """
    cls = type(owner)
    if name in KERAS_ARGUMENTS or name in mutable_arguments(cls):
        return
    if name in arguments:
        raise ReadOnlyError(
            f"{name} of a {cls.__name__} is fixed when it is built; build another: give {name}= to "
            f"{cls.__name__}(...){' or from_preset' if hasattr(cls, 'from_preset') else ''}"
        )
    if name in _class_constants(cls):
        raise ReadOnlyError(
            f"{name} belongs to the class {cls.__name__}, so it isn't saved with one object; set "
            "it in a subclass"
        )
    if isinstance(found := inspect.getattr_static(cls, name, None), property) and not found.fset:
        raise ReadOnlyError(f"{name} of a {cls.__name__} is computed from it and can't be set")


def _class_constants(cls: type) -> frozenset[str]:
    """Return the names that a class of this library declares to be its own, by `ClassVar`."""
    found: set[str] = set()
    for base in cls.__mro__:
        if base.__module__.split(".")[0] == "inarch":
            declared = inspect.get_annotations(base)
            found |= {n for n, hint in declared.items() if "ClassVar" in str(hint)}
    return frozenset(found)
