"""Make the reference vectors that `inarch demo` checks itself against.

    python benchmarks/make_demo_reference.py FOLDER

FOLDER holds all-MiniLM-L6-v2 (the demo prints where it found it). The vectors are the reference
implementation's, torch and transformers, computed in float64: mean over the tokens, then divided
by the length, as the model's `modules.json` has it. Needs the extra `verify`. The file written is
the same to the byte on every run of the same versions; between versions the numbers agree to
about 1e-15.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import torch
import transformers

DATA = Path(__file__).parents[1] / "inarch" / "cli" / "data"

LONG = "The river rose through the night, and in the morning the lower street was under water. "

# Short, long, cut off at 256 tokens, not English, odd characters, nothing at all.
SENTENCES = [
    "A leaf turns sunlight, water and air into sugar.",
    "How do plants make their food?",
    "Yes.",
    "",
    "Crème brûlée, naïve façade, Straße, 東京の天気, ☃ and 🙂!",
    "Is 3.14 <= pi? f(x) = x**2 + 1; see https://example.org/a?b=c#d",
    LONG * 6,
    LONG * 40,
]


def main(folder: Path) -> None:
    settings = json.loads((folder / "sentence_bert_config.json").read_text("utf-8"))
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModel.from_pretrained(folder, dtype=torch.float64).eval()
    vectors = []
    for sentence in SENTENCES:
        inputs = tokenizer(
            sentence, truncation=True, max_length=settings["max_seq_length"], return_tensors="pt"
        )
        with torch.inference_mode():
            tokens = model(**inputs).last_hidden_state[0]
        mean = tokens.mean(0)
        vectors.append((mean / mean.norm()).numpy())
    path = DATA / "reference.npz"
    np.savez(path, sentences=np.array(SENTENCES), vectors=np.array(vectors, np.float64))
    print(f"{path}: {len(SENTENCES)} vectors, {path.stat().st_size:,} bytes")
    print(f"torch {torch.__version__}, transformers {transformers.__version__}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
