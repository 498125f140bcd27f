"""MPNet's tokenizer: BERT's way to split words, with RoBERTa's special tokens and template."""

from inarch.text.special_tokens import ROBERTA_TOKENS
from inarch.text.word_piece_json import WordPieceFamily

TOKENIZERS = (
    WordPieceFamily(
        tokenizer_class="MPNetTokenizer",
        model_types=("mpnet",),
        special_tokens={**ROBERTA_TOKENS, "unk_token": "[UNK]"},
        template="roberta",
    ),
)
