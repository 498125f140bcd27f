"""Whole jobs on a checkpoint: opened as its task, proven, exported, verified, certified."""

from inarch.workflows.presets import (
    Export,
    class_of,
    export,
    headed_task,
    load,
    prove,
    tasks_by_head,
)

__all__ = [
    "Export",
    "class_of",
    "export",
    "headed_task",
    "load",
    "prove",
    "tasks_by_head",
]
