"""Verification: whether a model of ours computes what the reference computes, and where not.

`reference` holds what the reference computes, `trace` records what ours does; `compare` sets one
against the other, `doctor` says why they differ, and `report` holds the result.

The package may also be called: `inarch.verify(preset)` is `inarch.workflows.verification`'s
`verify_checkpoint`.
"""

import importlib
import sys
from types import ModuleType
from typing import Any

import inarch.installed_backend  # noqa: F401


class _CallablePackage(ModuleType):
    """Module type that lets one name be the package and the front door to it.

    Source: The Python Language Reference, 3.3.2.1, "Customizing module attribute access".
    """

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        # Tasks are above this package, and their classes are needed for a checkpoint's head.
        verification = importlib.import_module("inarch.workflows.verification")
        return verification.verify_checkpoint(*args, **kwargs)


sys.modules[__name__].__class__ = _CallablePackage
