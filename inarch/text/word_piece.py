"""WordPiece made from a vocabulary, for a model that is trained from scratch."""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from inarch.errors import CheckpointFileError, InputError, InputTypeError
from inarch.json_fields import json_text
from inarch.text.files import (
    CONFIG_FILE,
    TOKENIZER_JSON,
    VOCABULARY_FILE,
    WHITE_SPACE,
    check_vocabulary,
    decode_text,
    parse_vocabulary,
)
from inarch.text.tokenizer import Tokenizer
from inarch.text.word_piece_json import word_piece_json
from inarch.validation import shown


class WordPieceTokenizer(Tokenizer):
    """BERT's tokenizer (Devlin et al., 2018, arXiv:1810.04805) over a vocabulary of one's own.

    Args:
        vocabulary: tokens by id, a mapping of token to id, or the path of a vocab.txt.
        lowercase: whether the text is lowercased.
        strip_accents: whether accents are removed; None does what `lowercase` does.
        split_on_cjk: whether each Chinese character is a separate word.
        unk_token, cls_token, sep_token, pad_token, mask_token: special tokens, each one in the
            vocabulary. All but the first may be None.
        suffix_indicator: what marks a piece that continues a word.

    `save` writes tokenizer.json, vocab.txt and tokenizer_config.json, which transformers loads.

    Raises:
        CheckpointError: a blank or repeated token, or a special token that isn't there.
    """

    def __init__(
        self,
        vocabulary: Sequence[str] | Mapping[str, int] | str | os.PathLike,
        lowercase: bool = True,
        strip_accents: bool | None = None,
        split_on_cjk: bool = True,
        unk_token: str = "[UNK]",
        cls_token: str | None = "[CLS]",
        sep_token: str | None = "[SEP]",
        pad_token: str | None = "[PAD]",
        mask_token: str | None = "[MASK]",
        suffix_indicator: str = "##",
    ):
        tokens = _tokens(vocabulary)
        special_tokens = {
            "unk_token": unk_token,
            "cls_token": cls_token,
            "sep_token": sep_token,
            "pad_token": pad_token,
            "mask_token": mask_token,
        }
        for role, token in special_tokens.items():
            if token is not None and token not in tokens:
                raise InputError(
                    f"the vocabulary of {len(tokens)} tokens has no {role} {token!r}; add it to "
                    f"the vocabulary, or name the right token: {role}=..."
                )
        config = {
            "do_lower_case": lowercase,
            "strip_accents": strip_accents,
            "tokenize_chinese_chars": split_on_cjk,
            **special_tokens,
        }
        # transformers' BERT class rebuilds the tokenizer, and has no other mark than "##".
        usual = suffix_indicator == "##" and cls_token is not None and sep_token is not None
        config["tokenizer_class"] = "BertTokenizer" if usual else "PreTrainedTokenizerFast"
        spec = word_piece_json(tokens, config, suffix_indicator)
        text = json.dumps(spec, ensure_ascii=False)
        files = {
            TOKENIZER_JSON: text.encode("utf-8"),
            VOCABULARY_FILE: "".join(f"{token}\n" for token in tokens).encode("utf-8"),
            CONFIG_FILE: json_text(config).encode(),
        }
        super().__init__(text, config=config, files=files)


def _tokens(vocabulary: Sequence[str] | Mapping[str, int] | str | os.PathLike) -> list[str]:
    """Return the tokens by id, checked."""
    if isinstance(vocabulary, str | os.PathLike):
        path = Path(vocabulary)
        try:
            data = {path.name: path.read_bytes()}
        except OSError as error:
            raise CheckpointFileError(f"the vocabulary {path} can't be read: {error}") from error
        return parse_vocabulary(decode_text(data, path.name), path.name)
    if isinstance(vocabulary, Mapping):
        if sorted(vocabulary.values()) != list(range(len(vocabulary))):
            raise InputError(
                f"the {len(vocabulary)} ids of the vocabulary should be 0 to "
                f"{len(vocabulary) - 1}, each once; fill gaps with tokens such as [unused0]."
            )
        tokens = sorted(vocabulary, key=vocabulary.__getitem__)
    elif isinstance(vocabulary, Iterable):
        tokens = list(vocabulary)
    else:
        raise InputTypeError(
            f"vocabulary is {shown(vocabulary)}; give tokens by id, token to id, or a path."
        )
    for index, token in enumerate(tokens):
        if not isinstance(token, str):
            raise InputTypeError(
                f"vocabulary[{index}] is of type {type(token).__name__}, not a string."
            )
        if token != token.strip(WHITE_SPACE) or len(token.splitlines()) > 1:
            raise InputError(f"vocabulary[{index}] is {token!r}; a token has no white space ends.")
    check_vocabulary(tokens, lambda index: f"vocabulary[{index}]")
    return tokens
