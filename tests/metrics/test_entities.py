"""Metrics of entities, against what seqeval and conlleval give for the same labels."""

import pytest

from inarch.errors import InputError
from inarch.metrics.entities import entity_scores, entity_spans, span_scores

SPANS = [
    (["B-PER", "I-PER", "O", "B-LOC"], [("PER", 0, 2), ("LOC", 3, 4)]),
    (["I-PER", "I-PER", "I-LOC", "I-LOC"], [("PER", 0, 2), ("LOC", 2, 4)]),
    (["B-PER", "B-PER", "I-LOC"], [("PER", 0, 1), ("PER", 1, 2), ("LOC", 2, 3)]),
    (["B-PER", "I-PER", "E-PER", "S-PER", "O"], [("PER", 0, 3), ("PER", 3, 4)]),
    (["E-PER", "I-PER", "E-PER", "E-PER"], [("PER", 0, 1), ("PER", 1, 3), ("PER", 3, 4)]),
    (["O", "O"], []),
    ([], []),
    (["NOUN", "NOUN", "VERB"], [("NOUN", 0, 2), ("VERB", 2, 3)]),
    (["B-a-b", "I-a-b"], [("a-b", 0, 2)]),
]


@pytest.mark.parametrize(("labels", "spans"), SPANS)
def test_entities_are_the_runs_that_labels_begin_and_end(labels, spans):
    assert entity_spans(labels) == spans


def test_an_entity_is_found_where_its_place_and_its_kind_are_right():
    # The example of seqeval's own documentation, whose F1 is 0.5.
    true = [["O", "O", "O", "B-MISC", "I-MISC", "I-MISC", "O"], ["B-PER", "I-PER", "O"]]
    found = [["O", "O", "B-MISC", "I-MISC", "I-MISC", "I-MISC", "O"], ["B-PER", "I-PER", "O"]]
    scores = entity_scores(true, found)
    kinds = scores.pop("labels")
    assert scores == {"precision": 0.5, "recall": 0.5, "f1": 0.5, "support": 2}
    assert kinds["PER"] == {"precision": 1.0, "recall": 1.0, "f1": 1.0, "support": 1}
    assert kinds["MISC"] == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 1}


def test_shares_are_over_all_texts_and_a_share_of_nothing_is_0():
    true = [["B-PER", "O", "O"], ["B-PER", "O", "B-LOC"], ["O"]]
    found = [["B-PER", "B-PER", "B-LOC"], ["O", "O", "O"], ["O"]]
    scores = entity_scores(true, found)
    assert (scores["precision"], scores["recall"]) == (pytest.approx(1 / 3), pytest.approx(1 / 3))
    assert entity_scores([["O"]], [["O"]])["f1"] == 0.0


def test_spans_of_one_text_are_not_those_of_another():
    assert span_scores([[("PER", 0, 1)], []], [[], [("PER", 0, 1)]])["f1"] == 0.0


def test_other_numbers_of_labels_are_refused():
    with pytest.raises(InputError, match="y_true has 1 texts and y_pred 2"):
        entity_scores([["O"]], [["O"], ["O"]])
    with pytest.raises(InputError, match="text 0 has 1 labels in y_true and 2 in y_pred"):
        entity_scores([["O"]], [["O", "O"]])
