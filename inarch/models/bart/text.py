"""Tokenizers of BART, mBART, PEGASUS and NLLB.

BART's is RoBERTa's, and the others have SentencePiece models.
Source: transformers, models/*/tokenization_*.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from inarch.text.byte_level import ROBERTA
from inarch.text.family import TokenizerFamily
from inarch.text.files import IDS_FILE
from inarch.text.json_parts import Part, bpe_model, tokenizer_json
from inarch.text.json_parts import replace as replace_text
from inarch.text.piece_dictionary import PieceDictionaryFamily
from inarch.text.sentence_piece import make_merges, metaspace, precompiled
from inarch.text.sentence_piece_model import SentencePieceModel, read_model
from inarch.text.sentencepiece_families import (
    SentencePieceFamily,
    UnigramLayout,
    check_pairs,
    scored_pieces,
    special_names,
)
from inarch.text.special_tokens import ROBERTA_TOKENS, added_token
from inarch.text.translation import LanguageTokens, wrapped_in

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

# Languages of NLLB (NLLB team, 2022, arXiv:2207.04672), in the order of their ids.
_OF_NLLB = """
ace_Arab ace_Latn acm_Arab acq_Arab aeb_Arab afr_Latn ajp_Arab aka_Latn amh_Ethi apc_Arab arb_Arab
ars_Arab ary_Arab arz_Arab asm_Beng ast_Latn awa_Deva ayr_Latn azb_Arab azj_Latn bak_Cyrl bam_Latn
ban_Latn bel_Cyrl bem_Latn ben_Beng bho_Deva bjn_Arab bjn_Latn bod_Tibt bos_Latn bug_Latn bul_Cyrl
cat_Latn ceb_Latn ces_Latn cjk_Latn ckb_Arab crh_Latn cym_Latn dan_Latn deu_Latn dik_Latn dyu_Latn
dzo_Tibt ell_Grek eng_Latn epo_Latn est_Latn eus_Latn ewe_Latn fao_Latn pes_Arab fij_Latn fin_Latn
fon_Latn fra_Latn fur_Latn fuv_Latn gla_Latn gle_Latn glg_Latn grn_Latn guj_Gujr hat_Latn hau_Latn
heb_Hebr hin_Deva hne_Deva hrv_Latn hun_Latn hye_Armn ibo_Latn ilo_Latn ind_Latn isl_Latn ita_Latn
jav_Latn jpn_Jpan kab_Latn kac_Latn kam_Latn kan_Knda kas_Arab kas_Deva kat_Geor knc_Arab knc_Latn
kaz_Cyrl kbp_Latn kea_Latn khm_Khmr kik_Latn kin_Latn kir_Cyrl kmb_Latn kon_Latn kor_Hang kmr_Latn
lao_Laoo lvs_Latn lij_Latn lim_Latn lin_Latn lit_Latn lmo_Latn ltg_Latn ltz_Latn lua_Latn lug_Latn
luo_Latn lus_Latn mag_Deva mai_Deva mal_Mlym mar_Deva min_Latn mkd_Cyrl plt_Latn mlt_Latn mni_Beng
khk_Cyrl mos_Latn mri_Latn zsm_Latn mya_Mymr nld_Latn nno_Latn nob_Latn npi_Deva nso_Latn nus_Latn
nya_Latn oci_Latn gaz_Latn ory_Orya pag_Latn pan_Guru pap_Latn pol_Latn por_Latn prs_Arab pbt_Arab
quy_Latn ron_Latn run_Latn rus_Cyrl sag_Latn san_Deva sat_Beng scn_Latn shn_Mymr sin_Sinh slk_Latn
slv_Latn smo_Latn sna_Latn snd_Arab som_Latn sot_Latn spa_Latn als_Latn srd_Latn srp_Cyrl ssw_Latn
sun_Latn swe_Latn swh_Latn szl_Latn tam_Taml tat_Cyrl tel_Telu tgk_Cyrl tgl_Latn tha_Thai tir_Ethi
taq_Latn taq_Tfng tpi_Latn tsn_Latn tso_Latn tuk_Latn tum_Latn tur_Latn twi_Latn tzm_Tfng uig_Arab
ukr_Cyrl umb_Latn urd_Arab uzn_Latn vec_Latn vie_Latn war_Latn wol_Latn xho_Latn ydd_Hebr yor_Latn
yue_Hant zho_Hans zho_Hant zul_Latn
"""


def _first_tokens(names: Mapping[str, str]) -> list[str]:
    """Return fairseq's four tokens, which come before the pieces of a model."""
    return [names[name] for name in ("cls_token", "pad_token", "eos_token", "unk_token")]


@dataclass(frozen=True, kw_only=True)
class NllbFamily(TokenizerFamily):
    """Byte pairs of a tokenizer.json, or of a SentencePiece model.

    fairseq's four tokens come before the pieces of the model, languages and a mask after them, as
    in the published checkpoints.
    """

    def build(
        self, files: Mapping[str, bytes], names: tuple[str, ...], config: Mapping[str, Any]
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        model, config = read_model(files[names[0]], names[0]), self.with_defaults(config)
        check_pairs(model, self.tokenizer_class)
        special, languages = special_names(config), _OF_NLLB.split()
        pieces = [piece.text for piece in model.pieces[3:]]
        tokens = dict.fromkeys(
            [*_first_tokens(special), *pieces, *languages, special["mask_token"]]
        )
        ids = {token: index for index, token in enumerate(tokens)}
        space = metaspace("always")
        spec = tokenizer_json(
            bpe_model(ids, make_merges(pieces), unk_token=special["unk_token"], fuse_unk=True),
            normalizer=_normalizer(model) if model.precompiled_charsmap else None,
            pre_tokenizer=space,
            post_processor=wrapped_in(self.languages, config, ids),
            decoder=space,
            added_tokens=[
                added_token({"normalized": False}, code, ids[code], is_control=True)
                for code in languages
            ],
        )
        return spec, config


def _mbart(languages: list[str], is_normalized: bool) -> Any:
    """Return the layout of fairseq's four tokens, the pieces, languages and a mask."""

    def layout(model: SentencePieceModel, config: Mapping[str, Any]) -> UnigramLayout:
        names = special_names(config)
        last = [*languages, names["mask_token"]]
        vocabulary = [[token, 0.0] for token in _first_tokens(names)] + scored_pieces(model)[3:]
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
NLLB = NllbFamily(
    tokenizer_class="NllbTokenizer",
    files=("sentencepiece.bpe.model",),
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
