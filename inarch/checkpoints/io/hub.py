"""Resolution of a preset name, a hub id or a folder to a folder on this machine."""

from __future__ import annotations

import difflib
import fnmatch
import importlib.util
import os
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from inarch.checkpoints.io.other_formats import other_format
from inarch.errors import CheckpointFileError, PresetError
from inarch.file_names import OTHER_PATTERNS, WEIGHT_PATTERNS
from inarch.files import sha256
from inarch.validation import check_path

# A repository of the hub and a revision of it.
HUB_ID = r"([\w.-]+/[\w.-]+)(?:@([\w./-]+))?"


@dataclass(frozen=True)
class Preset:
    """A built-in name for a published checkpoint.

    Args:
        hub: the checkpoint's id on the Hugging Face hub.
        parameters: how many the backbone has.
        revision: the commit to take, where one is pinned.
        sha256: known checksums, file name to hexadecimal digest.
        package: an installable package that ships the checkpoint, and its folder in there.
    """

    name: str
    hub: str
    licence: str
    parameters: int
    description: str
    revision: str | None = None
    sha256: Mapping[str, str] = field(default_factory=dict, hash=False)
    package: str | None = None


def resolve(
    preset: str | os.PathLike,
    presets: Mapping[str, Preset],
    single: Callable[[Path], bool] = lambda path: False,
    weights: bool = True,
    names: tuple[str, ...] = (),
) -> Path:
    """Return a folder with the files of `preset`, fetched from the hub if need be.

    Args:
        preset: a folder, a built-in name, or a hub id `owner/name`, optionally `@revision`.
        presets: the built-in names.
        single: whether a single file can be a checkpoint, whose own path is then the answer.
        weights: whether the weights are fetched, too.
        names: the files to fetch in place of a checkpoint's.

    Raises:
        InputTypeError: `preset` is neither a string nor a path.
        PresetError: no such folder, name or hub id; near names are offered.
        CheckpointFileError: the hub can't be reached and the files aren't in the local cache, or
            a file's checksum is not the known one.
    """
    check_path("preset", preset, "a folder, a built-in name, or a hub id as owner/name")
    text = os.fspath(preset)
    folder = Path(os.path.expanduser(text))
    if text and os.path.isdir(folder):
        return folder
    if os.path.isfile(folder):
        if single(folder):
            return folder
        if other := other_format(folder.name, foreign_alone=True):
            raise PresetError(f"{text} is a file ({other[0]}), and folders are read: {other[1]}")
        raise PresetError(
            f"{text} is a file; give the folder that holds config.json, or a folder in an author "
            "format"
        )
    if os.path.isfile(f"{folder}.index"):
        raise PresetError(f"{text} is a TensorFlow checkpoint's name; give its folder")
    if text in presets:
        known = presets[text]
        found = packaged(known) or _fetch(known.hub, known.revision, weights)
        for name, digest in known.sha256.items():
            if not (found / name).is_file():
                if not weights and _is_weight(name):
                    continue
                raise CheckpointFileError(f"preset {text!r} should have {name}; not in {found}")
            if sha256(found / name) != digest:
                raise CheckpointFileError(
                    f"{found / name} has not the checksum known for preset {text!r} "
                    f"({digest}); remove it and fetch it again"
                )
        return found
    hub_id = re.fullmatch(HUB_ID, text)
    if hub_id and not text.startswith("."):
        return _fetch(hub_id[1], hub_id[2], weights, names)
    near = difflib.get_close_matches(text, presets, n=3, cutoff=0.6)
    hint = f"did you mean {', '.join(near)}?" if near else "`inarch presets` lists the names;"
    raise PresetError(
        f"{text!r} is no folder and no preset: {hint} a hub id has the form owner/name"
    )


def fetch_headers(preset: str, presets: Mapping[str, Preset]) -> tuple[dict[str, Any], Path]:
    """Return the tensors of a repository and the folder with its config: no weights are fetched.

    Args:
        preset: a built-in name or a hub id.
        presets: the built-in names.

    Raises:
        PresetError: no such name or hub id.
        CheckpointFileError: it has no safetensors, or can't be reached.
    """
    known, hub_id = presets.get(preset), re.fullmatch(HUB_ID, preset)
    if known:
        repository, revision = known.hub, known.revision
    elif hub_id and not preset.startswith("."):
        repository, revision = hub_id.groups()
    else:
        return {}, resolve(preset, presets)  # which has an error for every such name
    folder = _fetch(repository, revision, False, ("config.json",))
    import huggingface_hub as hub
    from huggingface_hub import errors

    try:
        found = hub.HfApi().get_safetensors_metadata(repository, revision=revision)
    except errors.NotASafetensorsRepoError as e:
        raise CheckpointFileError(
            f"{preset} has no safetensors on the hub, whose headers could be fetched alone. Fetch "
            "all of it, and give the folder"
        ) from e
    except Exception as e:  # whatever the hub's HTTP client of the day raises
        first = (str(e).strip().splitlines() or [type(e).__name__])[0]
        raise CheckpointFileError(f"the headers of {preset!r} can't be fetched: {first}") from e
    files = found.files_metadata.values()
    tensors = {
        name: {"dtype": info.dtype, "shape": list(info.shape)}
        for file in files
        for name, info in file.tensors.items()
    }
    return tensors, folder


def repository_of(folder: Path) -> str | None:
    """Return the hub id of a snapshot in the hub's cache; None of any other folder.

    The cache is `models--OWNER--NAME/snapshots/COMMIT`. Source: huggingface_hub, "Understand
    caching".
    """
    found = re.fullmatch(r"models--([\w.-]+?)--([\w.-]+)", folder.parent.parent.name)
    return f"{found[1]}/{found[2]}" if found and folder.parent.name == "snapshots" else None


def packaged(preset: Preset) -> Path | None:
    """Return the folder of a checkpoint in the package that ships it; None if not installed.

    The package is found and never imported: only its data is wanted.
    """
    name, _, folder = (preset.package or "").partition("/")
    spec = importlib.util.find_spec(name) if name else None
    for place in spec.submodule_search_locations or () if spec else ():
        if all((Path(place) / folder / file).is_file() for file in preset.sha256):
            return Path(place) / folder
    return None


def _is_weight(name: str) -> bool:
    return any(fnmatch.fnmatch(name, pattern) for group in WEIGHT_PATTERNS for pattern in group)


def _fetch(repo: str, revision: str | None, weights: bool, names: tuple[str, ...] = ()) -> Path:
    import huggingface_hub as hub
    from huggingface_hub import errors, utils

    def snapshot(patterns: tuple[str, ...]) -> Path:
        if not sys.stderr.isatty():
            utils.disable_progress_bars()
        return Path(hub.snapshot_download(repo, revision=revision, allow_patterns=list(patterns)))

    at = f" at revision {revision!r}" if revision else ""
    try:
        if names:
            return snapshot(names)
        # Exports to other runtimes that share a repository stay there.
        wanted = OTHER_PATTERNS
        if not weights:
            return snapshot(wanted)
        for patterns in WEIGHT_PATTERNS:
            wanted = (*wanted, *patterns)
            folder = snapshot(wanted)
            if any(path.suffix != ".json" for p in patterns for path in folder.glob(p)):
                break
    except errors.RevisionNotFoundError as e:
        raise PresetError(f"hub repository {repo!r} has no revision {revision!r}") from e
    except errors.GatedRepoError as e:
        raise PresetError(f"hub repository {repo!r} is gated; log in with `hf auth login`") from e
    except (errors.RepositoryNotFoundError, errors.HFValidationError) as e:
        raise PresetError(f"there is no hub repository {repo!r} that this machine may read") from e
    except (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled) as e:
        raise CheckpointFileError(
            f"{repo!r}{at} isn't in the local hub cache and the hub can't be reached; connect "
            "(HF_ENDPOINT, HF_HUB_OFFLINE), or give a folder that holds the checkpoint"
        ) from e
    except Exception as e:  # a full disk, or whatever the hub's HTTP client of the day raises
        first = (str(e).strip().splitlines() or [type(e).__name__])[0]
        raise CheckpointFileError(f"{repo!r}{at} can't be fetched: {first}; try again") from e
    return folder
