"""The language and task that folders of transformers declare are those of `predict`."""

import json

import pytest

from inarch.models.whisper.backbone import WhisperBackbone
from inarch.tasks import SpeechPreprocessor, SpeechToText
from inarch.text import WhisperTokenizer
from inarch.text.byte_level import BYTE_TO_UNICODE

from .conftest import transformers

pytestmark = [pytest.mark.reference, pytest.mark.turns(3)]

CONTROL = ("translate", "transcribe", "startoflm", "startofprev", "nospeech", "notimestamps")
END = 256


def tokenizer():
    """Bytes for tokens, three languages, and the control tokens."""
    vocabulary = {letter: i for i, letter in enumerate(BYTE_TO_UNICODE)}
    size = len(vocabulary)
    special = {"<|endoftext|>": size, "<|startoftranscript|>": size + 1}
    named = {f"<|{code}|>": size + 2 + i for i, code in enumerate(("en", "zh", "de"))}
    special |= {f"<|{name}|>": size + 5 + i for i, name in enumerate(CONTROL)}
    return WhisperTokenizer(vocabulary, [], special, named)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    names = tokenizer()
    backbone = WhisperBackbone(
        names.vocabulary_size, 1, 1, 2, 2, 8, 12, 12, num_mels=4, max_decoder_sequence_length=40
    )
    path = tmp_path_factory.mktemp("whisper") / "tiny"
    SpeechToText(backbone, SpeechPreprocessor(names, 4, 40)).save_to_preset(path)
    return path


@pytest.mark.parametrize(
    ("declared", "expected"),
    [
        ({}, None),
        ({"language": "german"}, ("de", "transcribe")),
        ({"language": "<|zh|>", "task": "translate"}, ("zh", "translate")),
        ({"forced_decoder_ids": [[1, 259], [2, 261]]}, ("zh", "translate")),
        ({"forced_decoder_ids": [[1, 259], [2, 262], [3, 266]]}, ("zh", "transcribe")),
    ],
)
@pytest.mark.parametrize("file", ["generation_config.json", "config.json"])
def test_the_default_is_what_transformers_wrote(file, declared, expected, folder, tmp_path):
    if file == "config.json" and declared and "forced_decoder_ids" not in declared:
        pytest.skip("config.json has no such fields")
    names = tokenizer()
    assert (names.languages["zh"], names.translate, names.transcribe) == (259, 261, 262)
    model = transformers.WhisperForConditionalGeneration.from_pretrained(
        folder, pad_token_id=END, bos_token_id=END, eos_token_id=END, decoder_start_token_id=END + 1
    )
    if file == "generation_config.json":
        for name, value in declared.items():
            setattr(model.generation_config, name, value)
    model.save_pretrained(tmp_path)
    for path in folder.iterdir():
        if not (tmp_path / path.name).exists():
            (tmp_path / path.name).write_bytes(path.read_bytes())
    if file == "config.json":
        (tmp_path / "generation_config.json").unlink()
        config = json.loads((tmp_path / file).read_text())
        (tmp_path / file).write_text(json.dumps(config | declared))
    task = SpeechToText.from_preset(tmp_path)
    decoding, _ = task._resolve_options(None, None, None, 0.0, {})
    assert (decoding.language, decoding.task) == (expected or (None, "transcribe"))
    decoding, _ = task._resolve_options("en", "transcribe", None, 0.0, {})
    assert (decoding.language, decoding.task) == ("en", "transcribe")
