"""Coverage says which rows of a model's tables its inputs reach."""

import pytest

from inarch.verify.coverage import table_coverage

from .faults import GOLDENS, read, subjects

READ = {path.stem: path for path in GOLDENS}


@pytest.mark.parametrize("name", ["bert", "distil_bert", "roberta", "whisper"])
def test_a_token_is_reached_where_it_stands_and_is_no_padding(name):
    model, inputs = subjects(READ[name])[""].model, read(READ[name]).runs[""].inputs
    prefix = "decoder_" if "decoder_token_ids" in inputs else ""
    ids = inputs[f"{prefix}token_ids"][inputs[f"{prefix}padding_mask"] != 0]
    (found,) = [c for c in table_coverage(model, inputs) if "token_embedding" in c.table]
    assert {*range(found.rows)} - {*found.untouched} == {*ids.tolist()}


def test_a_distance_is_reached_only_in_rows_that_are_long_enough():
    subject, inputs = subjects(READ["deberta_v3"])[""], read(READ["deberta_v3"]).runs[""].inputs
    cut = {name: value[:, :3] for name, value in inputs.items()}
    whole, short = (
        [c for c in table_coverage(subject.model, fed) if "relative" in c.table]
        for fed in (inputs, cut)
    )
    assert len(short[0].untouched) == short[0].rows - 5  # distances from -2 to 2
    assert len(whole[0].untouched) < len(short[0].untouched)
