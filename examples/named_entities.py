"""Train a tagger of named entities on CoNLL files, measure it, and save it for transformers too.

    python examples/named_entities.py train.txt test.txt --output tagger

A file has on each line a word and, in the last column, its label, and an empty line after each
sentence, as those of CoNLL-2003. Labels are of BIO or BIOES.
"""

import argparse
from pathlib import Path

import keras

from inarch import TokenClassifier


def read_conll(path):
    """Return the sentences of a file as lists of words, and their labels."""
    words, labels = [[]], [[]]
    for line in Path(path).read_text("utf-8").splitlines():
        columns = line.split()
        if columns and columns[0] != "-DOCSTART-":
            words[-1].append(columns[0])
            labels[-1].append(columns[-1])
        elif words[-1]:
            words.append([])
            labels.append([])
    kept = [i for i, sentence in enumerate(words) if sentence]
    return [words[i] for i in kept], [labels[i] for i in kept]


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("train")
    parser.add_argument("test")
    parser.add_argument("--preset", default="distil_bert_base_en")
    parser.add_argument("--output", default="tagger")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--learning-rate", type=float, default=5e-5)
    options = parser.parse_args()

    keras.utils.set_random_seed(0)
    x, y = read_conll(options.train)
    names = sorted({label for labels in y for label in labels})
    task = TokenClassifier.from_preset(options.preset, labels=names)
    task.compile(optimizer=keras.optimizers.AdamW(options.learning_rate))
    task.fit(x, y, epochs=options.epochs, batch_size=options.batch_size)

    scores = task.evaluate_entities(*read_conll(options.test))
    for kind, row in {**scores["labels"], "all": scores}.items():
        numbers = (f"{name} {row[name]:.3f}" for name in ("precision", "recall", "f1"))
        print(f"{kind}: {', '.join(numbers)}, {row['support']} entities")
    task.save_to_preset(options.output)


if __name__ == "__main__":
    main()
