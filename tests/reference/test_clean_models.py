"""Right models, many and random, raise no alarm."""

import numpy as np
import pytest

from .clean_models import CONFIGS, KINDS, SEEDS, config_of, reports
from .conftest import transformers

pytestmark = [pytest.mark.reference, pytest.mark.turns(9)]


# Every fourth, which takes in every class, and of these a ninth on each backend; `clean_models.py`
# itself tries them all.
@pytest.mark.parametrize("number", range(0, CONFIGS, 4))
@pytest.mark.parametrize("architecture", KINDS)
def test_a_right_model_raises_no_alarm(architecture, number):
    done = [*reports(architecture, number)]
    assert len(done) == SEEDS
    for report in done:
        assert report.findings == ()
        assert report.worst < report.threshold
        assert max(m.local_ratio for m in report.measures) < report.threshold
        assert 0.3 < np.median([m.ratio for m in report.measures if m.ratio]) < 3
        assert report.about["reference class"] == config_of(architecture, number)[0]


@pytest.mark.parametrize("architecture", KINDS)
def test_the_configs_differ_and_take_part_in_every_class(architecture):
    configs = [config_of(architecture, number) for number in range(CONFIGS)]
    assert {kind for kind, _ in configs} == set(KINDS[architecture])
    assert len({str(config) for config in configs}) == CONFIGS
    assert all(hasattr(transformers, kind) for kind, _ in configs)
