"""Names in a checkpoint or a `.keras` file that lead outside: nothing is read or written."""

import json
import zipfile

import keras
import pytest

from inarch.errors import CheckpointFileError
from inarch.tasks import TextEmbedder

from .conftest import make_backbone

NAMES = ["../stolen.json", "/tmp/stolen.json", "a/../../stolen.json", ".git/hooks/post-commit"]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """An embedder as a folder and as a `.keras` file."""
    root = tmp_path_factory.mktemp("saved")
    model = TextEmbedder(make_backbone(), None, normalize=True)
    model.save_to_preset(root / "folder")
    TextEmbedder.from_preset(root / "folder", preprocessor=None).save(root / "model.keras")
    return root


@pytest.mark.parametrize("path", ["../secret", "/secret", "1_Pooling/../../secret", "..\\secret"])
def test_a_module_of_another_folder_is_not_read(path, saved, tmp_path):
    folder = tmp_path / "model"
    model = TextEmbedder.from_preset(saved / "folder", preprocessor=None)
    model.save_to_preset(folder)
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "config.json").write_text('{"pooling_mode_cls_token": true}')
    modules = json.loads((folder / "modules.json").read_text())
    modules[1]["path"] = str(tmp_path / "secret") if path == "/secret" else path
    (folder / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(CheckpointFileError, match=r"modules.json: 'path' of module 1 is "):
        TextEmbedder.from_preset(folder, preprocessor=None)


def test_a_file_that_is_a_link_out_of_the_folder_is_not_read(saved, tmp_path):
    for name in ("config.json", "model.safetensors", "1_Pooling/config.json", "modules.json"):
        folder = tmp_path / name.replace("/", "_")
        TextEmbedder.from_preset(saved / "folder", preprocessor=None).save_to_preset(folder)
        (folder / name).rename(tmp_path / "moved")
        (folder / name).symlink_to(tmp_path / "moved")
        with pytest.raises(CheckpointFileError, match="is a link that leads outside its folder"):
            TextEmbedder.from_preset(folder, preprocessor=None)


def edited(path, change):
    """A `.keras` file with its config changed."""
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(entries["config.json"])
    change(config["config"])
    entries["config.json"] = json.dumps(config).encode()
    result = path.with_name("hostile.keras")
    with zipfile.ZipFile(result, "w") as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return result


def set_file(config, name):
    config["files"] = {name: "text"}


def set_sidecar(config, name):
    config["backbone"]["config"]["layout"] = config["layout"]
    config["layout"]["sidecar_files"] = {name: "text"}


def set_shard(config, name):
    config["layout"]["shards"][0]["filename"] = name


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("change", [set_file, set_sidecar, set_shard])
def test_a_keras_file_cannot_make_a_save_write_outside(change, name, saved):
    hostile = edited(saved / "model.keras", lambda config: change(config, name))
    with pytest.raises(CheckpointFileError, match="must be a path within the checkpoint's folder"):
        keras.models.load_model(hostile)
