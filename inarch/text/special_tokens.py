"""Which tokens play which special roles where a tokenizer's files don't say.

They are those of the classes of tokenizers in transformers (models/*/tokenization_*.py), and so is
the class of each kind of model (models/auto/tokenization_auto.py).
"""

from collections.abc import Mapping
from typing import Any

SPECIAL_TOKEN_NAMES = (
    "bos_token",
    "eos_token",
    "unk_token",
    "sep_token",
    "pad_token",
    "cls_token",
    "mask_token",
)
BERT = {
    "unk_token": "[UNK]",
    "sep_token": "[SEP]",
    "pad_token": "[PAD]",
    "cls_token": "[CLS]",
    "mask_token": "[MASK]",
}
DEBERTA = {**BERT, "bos_token": "[CLS]", "eos_token": "[SEP]"}
ALBERT = {**DEBERTA, "unk_token": "<unk>", "pad_token": "<pad>"}
ROBERTA = {
    "bos_token": "<s>",
    "eos_token": "</s>",
    "sep_token": "</s>",
    "cls_token": "<s>",
    "unk_token": "<unk>",
    "pad_token": "<pad>",
    "mask_token": "<mask>",
}
GPT2 = dict.fromkeys(("bos_token", "eos_token", "unk_token"), "<|endoftext|>")

SPECIAL_TOKENS_OF: dict[str, Mapping[str, str]] = {
    "BertTokenizer": BERT,
    "DistilBertTokenizer": BERT,
    "ElectraTokenizer": BERT,
    "ConvBertTokenizer": BERT,
    "MobileBertTokenizer": BERT,
    "DebertaV2Tokenizer": DEBERTA,
    "AlbertTokenizer": ALBERT,
    "FNetTokenizer": ALBERT,
    "RobertaTokenizer": ROBERTA,
    "PhobertTokenizer": ROBERTA,
    "BertweetTokenizer": ROBERTA,
    "XLMRobertaTokenizer": ROBERTA,
    "CamembertTokenizer": ROBERTA,
    "GPT2Tokenizer": GPT2,
    "WhisperTokenizer": GPT2,
}
# Whose `vocab.txt` is WordPiece as BERT has it: the classes that are BERT's under another name.
# Others have a file of that name too, such as MPNet (RoBERTa's special tokens), BertJapanese
# (MeCab), PhoBERT (byte pairs) and ESM (residues).
WORD_PIECE = tuple(kind for kind, tokens in SPECIAL_TOKENS_OF.items() if tokens is BERT)
CLASS_OF = {
    "bert": "BertTokenizer",
    "distilbert": "DistilBertTokenizer",
    "electra": "ElectraTokenizer",
    "convbert": "ConvBertTokenizer",
    "mobilebert": "MobileBertTokenizer",
    "deberta-v2": "DebertaV2Tokenizer",
    "albert": "AlbertTokenizer",
    "fnet": "FNetTokenizer",
    "roberta": "RobertaTokenizer",
    "xlm-roberta": "XLMRobertaTokenizer",
    "camembert": "CamembertTokenizer",
    "gpt2": "GPT2Tokenizer",
    "whisper": "WhisperTokenizer",
}


def resolve_tokenizer_class(config: Mapping[str, Any], model: Mapping[str, Any]) -> str | None:
    """The class of tokenizers that a tokenizer_config.json names, or a model's config.json.

    Else it is that of the kind of model; where that has none here, the kind itself. None where
    nothing is said.
    """
    named = config.get("tokenizer_class") or model.get("tokenizer_class")
    if named:
        return str(named).removesuffix("Fast")
    kind = model.get("model_type")
    return CLASS_OF.get(kind, kind) if isinstance(kind, str) else None


def default_special_tokens(config: Mapping[str, Any]) -> Mapping[str, str]:
    """The roles in the class that a tokenizer_config.json names; {} for one that isn't known."""
    return SPECIAL_TOKENS_OF.get(resolve_tokenizer_class(config, {}) or "", {})
