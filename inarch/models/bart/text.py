"""Tokenizers of BART, mBART, PEGASUS and NLLB.

BART's is RoBERTa's, NLLB's is read from a tokenizer.json alone, and the others have SentencePiece
models. Source: transformers, models/*/tokenization_*.py.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from inarch.text.byte_level import ROBERTA
from inarch.text.family import TokenizerFamily
from inarch.text.files import IDS_FILE, TOKENIZER_JSON
from inarch.text.json_parts import Part
from inarch.text.json_parts import replace as replace_text
from inarch.text.piece_dictionary import PieceDictionaryFamily
from inarch.text.sentence_piece import precompiled
from inarch.text.sentence_piece_model import SentencePieceModel
from inarch.text.sentencepiece_families import (
    SentencePieceFamily,
    UnigramLayout,
    scored_pieces,
    special_names,
)
from inarch.text.special_tokens import ROBERTA_TOKENS
from inarch.text.translation import LanguageTokens

# Languages of mBART and those that mBART-50 adds (Tang et al., 2020, arXiv:2008.00401), in the
# order of their ids.
_OF_MBART = """
ar_AR cs_CZ de_DE en_XX es_XX et_EE fi_FI fr_XX gu_IN hi_IN it_IT ja_XX kk_KZ ko_KR lt_LT lv_LV
my_MM ne_NP nl_XX ro_RO ru_RU si_LK tr_TR vi_VN zh_CN
"""
_OF_MBART50 = """
af_ZA az_AZ bn_IN fa_IR he_IL hr_HR id_ID ka_GE km_KH mk_MK ml_IN mn_MN mr_IN pl_PL ps_AF pt_XX
sv_SE sw_KE ta_IN te_IN th_TH tl_XX uk_UA ur_PK xh_ZA gl_ES sl_SI
"""
# Languages of M2M100 (Fan et al., 2020, arXiv:2010.11125), in the order of their ids.
_OF_M2M100 = """
af am ar ast az ba be bg bn br bs ca ceb cs cy da de el en es et fa ff fi fr fy ga gd gl gu ha he hi
hr ht hu hy id ig ilo is it ja jv ka kk km kn ko lb lg ln lo lt lv mg mk ml mn mr ms my ne nl no ns
oc or pa pl ps pt ro ru sd si sk sl so sq sr ss su sv sw ta th tl tn tr uk ur uz vi wo xh yi yo zh
zu
"""


def _mbart(languages: list[str], is_normalized: bool) -> Any:
    """Return the layout of fairseq's four tokens, the pieces, languages and a mask."""

    def layout(model: SentencePieceModel, config: Mapping[str, Any]) -> UnigramLayout:
        names = special_names(config)
        first = [names[name] for name in ("cls_token", "pad_token", "eos_token", "unk_token")]
        last = [*languages, names["mask_token"]]
        vocabulary = [[token, 0.0] for token in first] + scored_pieces(model)[3:]
        return UnigramLayout(
            vocabulary=vocabulary + [[token, 0.0] for token in last],
            unk_id=3,
            normalizer=_normalizer(model) if is_normalized else None,
            pre_tokenizers=[] if is_normalized else [{"type": "WhitespaceSplit"}],
            prepend_scheme="always",
        )

    return layout


def _pegasus(model: SentencePieceModel, config: Mapping[str, Any]) -> UnigramLayout:
    """Return padding and end, the tokens of pretraining, then the pieces after the model's two."""
    names, offset = special_names(config), config.get("offset", 103)
    masks = [config.get("mask_token_sent") or "<mask_1>", names["mask_token"]]
    first = [[token, 0.0] for token in (names["pad_token"], names["eos_token"], *masks)]
    unused = [[f"<unk_{i}>", -100.0] for i in range(2, offset)]
    return UnigramLayout(
        vocabulary=first + unused + scored_pieces(model)[2:],
        unk_id=model.unk_id + offset,
        normalizer=_normalizer(model, (replace_text("\n", " "),)),
        pre_tokenizers=[],
        prepend_scheme="always",
    )


def _normalizer(model: SentencePieceModel, otherwise: tuple[Part, ...] = ()) -> Part:
    """Return the model's replacements, or others where it has none, and one space for several."""
    table = model.precompiled_charsmap
    steps = [precompiled(table)] if table else [*otherwise]
    return {"type": "Sequence", "normalizers": [*steps, replace_text(" {2,}", " ")]}


BART = replace(ROBERTA, tokenizer_class="BartTokenizer", model_types=("bart",))
MBART = SentencePieceFamily(
    tokenizer_class="MBartTokenizer",
    model_types=("mbart",),
    files=("sentencepiece.bpe.model",),
    special_tokens=ROBERTA_TOKENS,
    template="translation",
    layout=_mbart(_OF_MBART.split(), is_normalized=False),
    languages=LanguageTokens("en_XX", is_first=False, codes="[a-z]{2}_[A-Z]{2}"),
)
MBART50 = replace(
    MBART,
    tokenizer_class="MBart50Tokenizer",
    model_types=(),
    special_tokens={name: t for name, t in ROBERTA_TOKENS.items() if name != "bos_token"},
    layout=_mbart((_OF_MBART + _OF_MBART50).split(), is_normalized=True),
    languages=LanguageTokens("en_XX", codes="[a-z]{2}_[A-Z]{2}"),
)
PEGASUS = SentencePieceFamily(
    tokenizer_class="PegasusTokenizer",
    model_types=("pegasus",),
    files=("spiece.model",),
    special_tokens={
        "pad_token": "<pad>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "mask_token": "<mask_2>",
    },
    template="translation",
    layout=_pegasus,
)
NLLB = TokenizerFamily(
    tokenizer_class="NllbTokenizer",
    files=(TOKENIZER_JSON,),
    special_tokens=ROBERTA_TOKENS,
    template="translation",
    languages=LanguageTokens("eng_Latn", codes="[a-z]{3}_[A-Z][a-z]{3}", legacy="legacy_behaviour"),
)
M2M100 = PieceDictionaryFamily(
    tokenizer_class="M2M100Tokenizer",
    model_types=("m2m_100",),
    files=("sentencepiece.bpe.model", IDS_FILE),
    special_tokens={
        "bos_token": "<s>",
        "eos_token": "</s>",
        "sep_token": "</s>",
        "pad_token": "<pad>",
        "unk_token": "<unk>",
    },
    languages=LanguageTokens("en", mark="__{}__"),
    codes={
        "m2m100": tuple(_OF_M2M100.split()),
        "wmt21": ("en", "ha", "is", "ja", "cs", "ru", "zh", "de"),
    },
)
MARIAN = PieceDictionaryFamily(
    tokenizer_class="MarianTokenizer",
    model_types=("marian",),
    files=("source.spm", IDS_FILE, "target.spm"),
    gap=" ",
    special_tokens={"unk_token": "<unk>", "eos_token": "</s>", "pad_token": "<pad>"},
    languages=LanguageTokens("", mark=">>{}<<", codes="[A-Za-z_]+", of_target=True),
)
TOKENIZERS = (BART, MBART, MBART50, PEGASUS, NLLB, M2M100, MARIAN)
