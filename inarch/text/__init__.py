"""Text to token ids and back: tokenizers in Rust, loaded from and saved as a checkpoint's files."""

from inarch.text.byte_pair import BytePairTokenizer
from inarch.text.ctc import CTCTokenizer
from inarch.text.encoding import Encoding
from inarch.text.fast_bpe_tokenizer import FastBpeTokenizer
from inarch.text.piece_dictionary_tokenizer import PieceDictionaryTokenizer
from inarch.text.sentence_piece_tokenizer import SentencePieceTokenizer
from inarch.text.tokenizer import Tokenizer
from inarch.text.whisper import WhisperTokenizer
from inarch.text.word_piece import WordPieceTokenizer

__all__ = [
    "BytePairTokenizer",
    "CTCTokenizer",
    "Encoding",
    "FastBpeTokenizer",
    "PieceDictionaryTokenizer",
    "SentencePieceTokenizer",
    "Tokenizer",
    "WhisperTokenizer",
    "WordPieceTokenizer",
]
