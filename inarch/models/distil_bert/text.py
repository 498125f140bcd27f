"""DistilBERT's tokenizer: BERT's under another name."""

from dataclasses import replace

from inarch.text.word_piece_json import BERT

TOKENIZERS = (replace(BERT, tokenizer_class="DistilBertTokenizer", model_types=("distilbert",)),)
