"""MegatronBERT's tokenizer: BERT's, also where a folder names no class."""

from dataclasses import replace

from inarch.text.word_piece_json import BERT

TOKENIZERS = (replace(BERT, model_types=("megatron-bert",)),)
