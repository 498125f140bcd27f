"""The languages that Whisper was trained on (Radford et al., 2022, arXiv:2212.04356).

Their order is that of the ids of their tokens, as in whisper/tokenizer.py.
"""

from inarch.errors import InputError

_TABLE = """
en english, zh chinese, de german, es spanish, ru russian, ko korean, fr french, ja japanese,
pt portuguese, tr turkish, pl polish, ca catalan, nl dutch, ar arabic, sv swedish, it italian,
id indonesian, hi hindi, fi finnish, vi vietnamese, he hebrew, uk ukrainian, el greek, ms malay,
cs czech, ro romanian, da danish, hu hungarian, ta tamil, no norwegian, th thai, ur urdu,
hr croatian, bg bulgarian, lt lithuanian, la latin, mi maori, ml malayalam, cy welsh, sk slovak,
te telugu, fa persian, lv latvian, bn bengali, sr serbian, az azerbaijani, sl slovenian, kn kannada,
et estonian, mk macedonian, br breton, eu basque, is icelandic, hy armenian, ne nepali,
mn mongolian, bs bosnian, kk kazakh, sq albanian, sw swahili, gl galician, mr marathi, pa punjabi,
si sinhala, km khmer, sn shona, yo yoruba, so somali, af afrikaans, oc occitan, ka georgian,
be belarusian, tg tajik, sd sindhi, gu gujarati, am amharic, yi yiddish, lo lao, uz uzbek,
fo faroese, ht haitian creole, ps pashto, tk turkmen, nn nynorsk, mt maltese, sa sanskrit,
lb luxembourgish, my myanmar, bo tibetan, tl tagalog, mg malagasy, as assamese, tt tatar,
haw hawaiian, ln lingala, ha hausa, ba bashkir, jw javanese, su sundanese, yue cantonese
"""
_ALIASES = """
my burmese, ca valencian, nl flemish, ht haitian, lb letzeburgesch, ps pushto, pa panjabi,
ro moldavian, ro moldovan, si sinhalese, es castilian, zh mandarin
"""


def _rows(table: str) -> list[tuple[str, str]]:
    pairs = (" ".join(entry.split()).partition(" ") for entry in table.split(","))
    return [(code, name) for code, _, name in pairs]


# Code to name. The last one came with large-v3.
LANGUAGES: dict[str, str] = dict(_rows(_TABLE))
_CODES = {name: code for code, name in _rows(_TABLE) + _rows(_ALIASES)}


def language_code(language: str) -> str:
    """Return the code of a language given by code, English name or alias, in any case.

    Raises:
        InputError: it isn't one of `LANGUAGES`.
    """
    given = language.strip().lower() if isinstance(language, str) else ""
    code = given if given in LANGUAGES else _CODES.get(given)
    if code is None:
        raise InputError(
            f"language is {language!r}, which isn't one of Whisper's {len(LANGUAGES)}. Give a "
            "code such as 'en' or an English name such as 'english'; "
            "inarch.text.languages.LANGUAGES lists them."
        )
    return code
