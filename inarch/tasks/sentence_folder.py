"""Tasks whose settings a folder of sentence-transformers declares."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from inarch.models.loading import Checkpoint
from inarch.preprocessors.text_source import TextSource
from inarch.sentence_transformers.settings import with_declared
from inarch.tasks.task_mixin import TaskMixin


class SentenceFolder(TaskMixin):
    """Methods of tasks whose settings a folder of sentence-transformers declares."""

    library_name = "sentence-transformers"
    # The module of the folder's layout: `read(folder)` returns its config, `write(task, folder)`
    # writes the files.
    layout_module: Any

    @classmethod
    def preprocessor_of(
        cls, checkpoint: Checkpoint, arguments: Mapping[str, Any], source: TextSource
    ) -> Any:
        found = super().preprocessor_of(checkpoint, arguments, source)
        declared = cls.layout_module.read(source.folder)
        return with_declared(found, declared, arguments["max_sequence_length"])

    def write_files(self, folder: Path) -> None:
        super().write_files(folder)
        self.layout_module.write(self, folder)
