"""Train a model to answer questions on SQuAD, measure it, and save it for transformers too.

    python examples/question_answering.py train-v2.0.json dev-v2.0.json --output answerer

The files are SQuAD's own, of version 1.1 or 2.0 (https://rajpurkar.github.io/SQuAD-explorer/).
Answers that begin or end within a token of the model are left out of the training.
"""

import argparse
import json
from pathlib import Path

import keras

from inarch import QuestionAnswerer
from inarch.errors import InputError
from inarch.metrics import squad_metrics


def read_squad(path):
    """Return pairs (question, context), and for each the right answers as {"start", "text"}."""
    pairs, answers = [], []
    for article in json.loads(Path(path).read_text("utf-8"))["data"]:
        for paragraph in article["paragraphs"]:
            for entry in paragraph["qas"]:
                pairs.append((entry["question"], paragraph["context"]))
                answers.append(
                    [{"start": a["answer_start"], "text": a["text"]} for a in entry["answers"]]
                )
    return pairs, answers


def training_data(task, pairs, answers):
    """Return the pairs whose first answer the task can give, with that answer, or None for none."""
    chosen, targets = [], []
    for pair, right in zip(pairs, answers, strict=True):
        target = right[0] if right else None
        try:
            task.training_rows([pair], [target], None)
        except InputError as error:
            print(f"left out: {error}")
        else:
            chosen.append(pair)
            targets.append(target)
    return chosen, targets


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("train")
    parser.add_argument("dev")
    parser.add_argument("--preset", default="distil_bert_base_en_uncased")
    parser.add_argument("--output", default="answerer")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--learning-rate", type=float, default=3e-5)
    options = parser.parse_args()

    keras.utils.set_random_seed(0)
    task = QuestionAnswerer.from_preset(options.preset)
    task.compile(optimizer=keras.optimizers.AdamW(options.learning_rate))
    x, y = training_data(task, *read_squad(options.train))
    task.fit(x, y, epochs=options.epochs, batch_size=options.batch_size)

    pairs, answers = read_squad(options.dev)
    found = task.answer(
        [question for question, _ in pairs],
        [context for _, context in pairs],
        handle_impossible_answer=not all(answers),
    )
    scores = squad_metrics(found, [[a["text"] for a in right] for right in answers])
    print({name: round(value, 2) for name, value in scores.items()})
    task.save_to_preset(options.output)


if __name__ == "__main__":
    main()
