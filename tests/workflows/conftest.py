"""Fixtures of the tasks, which whole jobs are done with."""

from ..tasks.conftest import preprocessor  # noqa: F401
