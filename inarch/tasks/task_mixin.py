"""Base of classes that are mixed in before `Task` and override its methods."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from inarch.tasks.task import Task as TaskMixin
else:
    TaskMixin = object

__all__ = ["TaskMixin"]
