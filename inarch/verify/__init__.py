"""Verification: whether a model of ours computes what the reference computes, and where not.

`reference` holds what the reference computes, `trace` records what ours does; `compare` sets one
against the other, `doctor` says why they differ, and `report` holds the result.
"""

import inarch.installed_backend  # noqa: F401
