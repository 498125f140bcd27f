"""Texts that are hard to tokenize. What can't be seen is written as an escape."""

from __future__ import annotations

from collections.abc import Iterable

CORPUS: tuple[str, ...] = (
    # white space
    "",
    " ",
    "\n",
    "   leading and    many     spaces   ",
    "a\n\n\n\nb\n",
    "tabs\tnew\nlines\r\ncarriage\rreturn\x0bvt\x0cff nbsp\xa0thin\u2009ideo\u3000para\u2029end",
    "\u1680ogham\u180emongolian\u2007figure\u202fnarrow\u205fmath\u2028line\x85next",
    # plain words, punctuation, numbers
    "Hello, World!",
    "don't can't we've I'm they're it's n't 's ' s",
    "a . b , c ! d ? e ' f . . . g",
    "“curly” ‘quotes’ – en — em … dots • bullet « » ¿? ¡!",
    "https://example.org/a?b=c&d=%20#e user@mail.example 3.14159 1,000,000 -5°C 50€ £3 ½ ² ①",
    "12345678901234567890 1e-12 0x1F٣٤٥ ४५ Ⅷ 1st 2nd",
    # accents: precomposed, decomposed, and those without a letter
    "naïve café résumé Ünïcödé Tiếng Việt",
    "nai\u0308ve cafe\u0301 re\u0301sume\u0301 A\u030a \u0301lone Vie\u0323\u0302t",
    "a" + "\u0301" * 40,
    "Z\u0351\u036b\u0343a\u0300\u0301\u0302\u0303l\u0334\u0335g\u0336\u0337o\u0489\u0321\u0322" * 9,
    "\u20dd\u0489\u1ab0",
    # case and compatibility forms
    "İstanbul ıI ß ẞ ﬁ ŉ Ǆ ΌΣΟΣ \u212aelvin",
    "ＡＢＣ１２３ ｶﾀｶﾅ ㍿ ℌ ﷺ 𝐇𝐞𝐥𝐥𝐨 𝒲 \u2126 \u00b5",
    "camelCase PascalCase snake_case SCREAMING_CASE kebab-case",
    # scripts
    "日本語のテキスト 中文字符 한국어 \u1112\u1161\u11ab\u1100\u116e\u11a8\u110b\u1165 ㄱㄴ 𠀋𪚥",
    "mixed中文and日本語text 豈\uf900 々〆〇 、。「」",
    "か\u3099き\u3099 が ぎ は\u309a \u3099",
    "שלום עולם مرحبا بالعالم \u202eabc\u202c \u200fx\u200e \u2067rtl\u2069 \u061c",
    "שָׁלוֹם مَرْحَبًا العربــــية ﻻ ﷲ",
    "हिन्दी में पाठ ไทยภาษา தமிழ் བོད་ཡིག မြန်မာ ខ្មែរ አማርኛ",
    "Привет ЙЁ и\u0306 ґ Ћ ქართული Ⴀ հայերեն ᏣᎳᎩ",
    # emoji: modifiers, joined, flags, key caps, tags
    "😀👍🏽👨\u200d👩\u200d👧\u200d👦🇫🇷 ❤\ufe0f ☺ emoji😀inside",
    "🏳\ufe0f\u200d🌈 👩🏿\u200d🚀 1\ufe0f\u20e3 🇺🇸🇩🇪🇯 🏽 \u200d\u200d",
    "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f end",
    # what isn't seen
    "zero\u200bwidth\u200cjoin\u200der\ufeffbom soft\u00adhyphen",
    "word\u2060joiner \u034fgrapheme \u115fhangul\u3164filler",
    "\ufeffbegins with a mark",
    "control\x00\x01\x1f\x7f\x80\x9fchars \ufffd end",
    "\x00",
    "\U0010ffff\ue000\uf8ff\ufdd0 private \U000f0000\uffff\u0378 unassigned \ufff9\ufffc",
    # long words, around the limit of 100 characters that WordPiece has
    "x" * 99 + " " + "y" * 100 + " " + "z" * 101,
    "é" * 100 + " " + "e\u0301" * 60 + " " + "中" * 101,
    "supercalifragilisticexpialidocious" * 5,
    "\u200d" * 120 + "a",
    "word " * 600,
    # what tokenizers write themselves
    "[CLS] a [SEP] b [MASK] c [PAD] d [UNK] [unused1] [mask] [MASK][MASK]",
    "the [MASK]. x[SEP]y [ SEP ] [SEP",
    "<s> a </s> b <mask> c <pad> d <unk> x<mask>y <|endoftext|> <extra_id_0> [gMASK] <MASK>",
    "##ing un ##believ ##able ▁low ▁▁ Ġgpt Ċ @@ a@@ b</w> <0x0A> Ã©",
    # code
    "def f(x: int) -> str:\n\treturn f'{x!r}' # 100% ~`^|\\/<>@$&*_=+;",
    "for (;;) {\n        a[i]++ /* ok */; // done\n    }\n",
    '<p class="a">&amp;&#x27;</p> \\u0041\\n',
)

PAIRS: tuple[tuple[str, str], ...] = (
    ("the cat sat", "unbelievable worlds"),
    ("", ""),
    ("", "b"),
    ("b", ""),
    ("a " * 20, "b " * 30),
    ("a " * 30, "b " * 20),
    ("a " * 25, "b " * 25),
    ("a b c", "d " * 40),
    ("日本語のテキスト", "e\u0301 \u200b 👍🏽"),
    ("x [SEP]", ""),
    ("a </s> b", "[CLS] <mask> [MASK]"),
    ("  lead", "trail  "),
)


def spelled_out(tokens: Iterable[str]) -> list[str]:
    """Return texts that contain the special `tokens` of a tokenizer as a user may type them."""
    tokens = list(dict.fromkeys(tokens))
    texts = [" ".join(tokens), "".join(tokens)]
    for token in tokens:
        texts.append(token)
        texts.append(f"a {token} b  {token}  c{token}d\t{token}\n{token}{token}.")
        texts.append(f"{token.lower()} {token.upper()} {token[:1]} {token[1:]} {token[:-1]}")
    return texts
