"""The measuring room: whether a model of ours computes what the original computes, and where not.

`reference` is what the original computes, `trace` what ours does; `compare` sets one against the
other, `doctor` says why they differ, and `report` holds the result.
"""

import inarch.installed_backend  # noqa: F401
