"""Models on the Hugging Face hub: what is saved is uploaded, with a model card."""

from __future__ import annotations

import glob
import re
import tempfile
from pathlib import Path
from typing import Any

from inarch.checkpoints.io.contents import LISTS, may_be_stale, stale_files
from inarch.checkpoints.io.publish import files_below
from inarch.errors import CheckpointFileError, InputError, PresetError
from inarch.models.model_card import CARD, may_write_card, model_card
from inarch.validation import shown

_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")


class Publishing:
    """Methods of models that can be put on a hub."""

    def model_card(self, name: str = "FOLDER") -> str:
        """Return the text of a README.md: base model, task, labels and how to load it.

        Args:
            name: what the model is loaded by: a folder, or a hub id.
        """
        return model_card(self, name)

    def push_to_hub(
        self,
        repo_id: str,
        *,
        private: bool | None = None,
        token: str | None = None,
        revision: str | None = None,
        commit_message: str | None = None,
    ) -> str:
        """Save the model to a repository of the Hugging Face hub, and return its commit's URL.

        The files are those of `save_to_preset`, with a `README.md`, unless the repository has one
        that isn't of this library or that was edited. The commit removes the files of an older save
        that a loader would take for this one's, such as shards and their index, as saving to a
        folder does. `HF_ENDPOINT` names another hub.

        Args:
            repo_id: `owner/name`; made where it doesn't exist.
            private: whether a new repository is private; the hub's default where not given.
            token: of the hub; that of `hf auth login` where not given.
            revision: branch to commit to, made where it doesn't exist; the main one by default.
            commit_message: the commit's title.

        Raises:
            InputError: `repo_id` is of another form.
            PresetError: the hub refuses: no such repository, or no right to write to it.
            CheckpointFileError: the hub can't be reached, or an upload fails.
        """
        if not isinstance(repo_id, str) or not _REPOSITORY.fullmatch(repo_id):
            raise InputError(f"repo_id is {shown(repo_id)}; give owner/name")
        model: Any = self
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model"
            model.save_to_preset(path)
            (path / CARD).write_text(model_card(self, repo_id), "utf-8")
            message = commit_message or f"Add {type(self).__name__}"
            return _upload(path, repo_id, private, token, revision, message)


def _upload(
    folder: Path,
    repo_id: str,
    private: bool | None,
    token: str | None,
    revision: str | None,
    message: str,
) -> str:
    from huggingface_hub import HfApi, constants, errors

    hub = HfApi(endpoint=constants.ENDPOINT, token=token)
    try:
        hub.create_repo(repo_id, private=private, exist_ok=True)
        if revision is not None:
            hub.create_branch(repo_id, branch=revision, exist_ok=True)
        with tempfile.TemporaryDirectory() as place:
            if hub.file_exists(repo_id, CARD, revision=revision):
                there = hub.hf_hub_download(repo_id, CARD, revision=revision, local_dir=place)
                if not may_write_card(Path(there)):
                    (folder / CARD).unlink()
        done = hub.upload_folder(
            repo_id=repo_id,
            folder_path=folder,
            revision=revision,
            commit_message=message,
            delete_patterns=_stale_files(hub, folder, repo_id, revision),
        )
        return str(done.commit_url)
    except errors.HFValidationError as e:
        raise InputError(f"repo_id is {shown(repo_id)}; give owner/name: {e}") from e
    except errors.HfHubHTTPError as e:
        status = getattr(e.response, "status_code", None)
        if status in (401, 403, 404):
            raise PresetError(
                f"the hub refuses to write to {repo_id!r} ({status}); log in with `hf auth login`, "
                "or give token= of an account that may"
            ) from e
        raise CheckpointFileError(f"{repo_id!r} can't be written: {e}; try again") from e
    except InputError:
        raise
    except Exception as e:  # whatever the hub's HTTP client of the day raises
        first = (str(e).strip().splitlines() or [type(e).__name__])[0]
        raise CheckpointFileError(
            f"{repo_id!r} can't be written: {first}; try again, or save_to_preset to a folder"
        ) from e


def _stale_files(hub: Any, folder: Path, repo_id: str, revision: str | None) -> list[str] | None:
    """Return patterns of the files that the save in `folder` makes stale; None for none.

    They are found in a folder with the repository's own names, and with the files that list others.
    """
    with tempfile.TemporaryDirectory() as place:
        there = Path(place)
        for name in filter(may_be_stale, hub.list_repo_files(repo_id, revision=revision)):
            if name in LISTS:
                hub.hf_hub_download(repo_id, name, revision=revision, local_dir=there)
            else:
                (there / name).parent.mkdir(exist_ok=True)
                (there / name).touch()
        return [*map(glob.escape, stale_files(there, files_below(folder)))] or None
