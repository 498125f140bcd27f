"""Record the answers of transformers 4's question-answering pipeline, which transformers 5 hasn't.

Run by a Python that has transformers 4.57 and torch, with inarch on its path:

    python tests/answers/record_answers.py

The model's logits are a formula, so that the answers are decoded from the same numbers everywhere.
"""

import itertools
import json
import random
import tempfile
import types
from pathlib import Path

import numpy as np

FILE = Path(__file__).with_name("answers.json")
WORDS = (
    "the cat sat on mat and a dog ran fast in paris year was born who where when city river of to"
)
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
VOCABULARY = [
    *dict.fromkeys(
        [
            "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS.split(), "word", *LETTERS,
            *(f"##{c}" for c in LETTERS), *".,!?'-(){}:;\"“”—é東京都♥אב", "##ב",
        ]
    )
]  # fmt: skip
SENTENCES = [
    "The cat sat on the mat.",
    "Paris, in the year 1895.",
    "Café in Orléans — cafe\u0301 au lait.",
    "東京都の猫 sat in 東京。",
    "👩\u200d👩\u200d👧 family ♥ 🇫🇷 and a dog",
    "אבב and בב, of the river",
    "a\x07b\tc\u200bd  e\n\nf",
    'don\'t (ever) ran-fast; "the dog" ran to the city!',
    "İstanbul ß ﬁ Ⅷ ½ was a city",
    "the the THE The the the",
]
QUESTIONS = ["Who sat on the mat?", "Where was the dog born?", "when"]
# In place of one answer of at most 15 tokens, on rows of 384 tokens that have 16 in common.
OPTIONS = [
    {},
    {"handle_impossible_answer": True},
    {"align_to_words": False, "top_k": 2, "max_answer_length": 3},
    {"length": 32, "stride": 8, "top_k": 3},
    {"length": 40, "stride": 20, "handle_impossible_answer": True},
    {
        "length": 48, "stride": 0, "max_answer_length": 4, "top_k": 4,
        "handle_impossible_answer": True, "align_to_words": False,
    },
    {"length": 24, "stride": 4},
    {"length": 64, "top_k": 3},
]  # fmt: skip
DEFAULTS = {
    "top_k": 1, "max_answer_length": 15, "handle_impossible_answer": False,
    "align_to_words": True, "length": 384, "stride": 16,
}  # fmt: skip


def logits_of(ids):
    """Float `[tokens, 2]` of a row's ids, which differ from token to token."""
    ids, place = np.asarray(ids, np.float64), np.arange(len(ids))
    start = 4 * np.sin(12.9898 * ids + 7.31 * place)
    end = 4 * np.sin(78.233 * ids + 3.17 * place)
    return np.stack([start, end], axis=-1).astype(np.float32)


def cases(count=200):
    from inarch.verify.corpus import CORPUS

    special = ("[SEP", "[CLS", "[MASK", "<s>", "</s>")  # which transformers reads as such in a text
    empty = ("\x00", "\u20dd\u0489\u1ab0")
    texts = [t for t in CORPUS if t.strip() and t not in empty]
    texts = SENTENCES + [t[:1500] for t in texts if not any(s in t for s in special)]
    pool, chosen = list(texts), random.Random(0)
    while len(texts) < count:
        between = chosen.choice([" ", "\n", ". "])
        texts.append(between.join(chosen.sample(pool, chosen.choice([2, 3, 5, 8])))[:1500])
    pairs = zip(itertools.cycle(QUESTIONS), texts, itertools.cycle(OPTIONS))
    return [{"question": q, "context": c, **DEFAULTS, **own} for q, c, own in pairs]


def main():
    import torch
    import transformers

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "vocab.txt")
        path.write_text("\n".join(VOCABULARY) + "\n", "utf-8")
        tokenizer = transformers.BertTokenizerFast(str(path), model_max_length=512)
    config = transformers.BertConfig(
        vocab_size=len(VOCABULARY), hidden_size=8, num_hidden_layers=1, num_attention_heads=1
    )
    model = transformers.BertForQuestionAnswering(config)

    def forward(self, input_ids=None, **unused):
        logits = torch.tensor(logits_of(input_ids[0].numpy()))[None]
        return {"start_logits": logits[..., 0], "end_logits": logits[..., 1]}

    model.forward = types.MethodType(forward, model)
    pipeline = transformers.pipeline("question-answering", model=model, tokenizer=tokenizer)
    recorded = []
    for case in cases():
        found = pipeline(
            question=case["question"],
            context=case["context"],
            top_k=case["top_k"],
            max_answer_len=case["max_answer_length"],
            handle_impossible_answer=case["handle_impossible_answer"],
            align_to_words=case["align_to_words"],
            max_seq_len=case["length"],
            doc_stride=case["stride"],
        )
        found = [found] if isinstance(found, dict) else found
        # Spans of score 0 begin after their end, where there are too few others.
        spans = [[int(f["start"]), int(f["end"]), f["score"]] for f in found if f["score"]]
        recorded.append(case | {"expected": spans})
    content = {"written_by": f"transformers {transformers.__version__}", "cases": recorded}
    FILE.write_text(json.dumps(content, ensure_ascii=False, indent=0) + "\n", "utf-8")


if __name__ == "__main__":
    main()
