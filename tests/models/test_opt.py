"""OPT's graph in its two forms: that of most sizes, and that of opt-350m."""

import numpy as np
import pytest
from keras import ops

from inarch.models.opt.backbone import OPTBackbone
from inarch.models.variables import named_variables, set_value

pytestmark = pytest.mark.turns(3)

NARROW = {"embedding_dim": 12}
FORMS = [{}, NARROW, {"normalize_first": False}, NARROW | {"normalize_first": False}]


@pytest.mark.parametrize("form", FORMS)
def test_cached_steps_give_the_whole_sequence(form):
    model = OPTBackbone(29, 2, 4, 16, 20, max_sequence_length=14, **form)
    random = np.random.default_rng(0)
    for name, variable in named_variables(model).items():
        value = random.normal(size=tuple(variable.shape))
        set_value(variable, 1 + 0.3 * value if name.endswith("gamma") else value)
    ids = random.integers(1, 29, (3, 6)).astype("int32")
    whole = ops.convert_to_numpy(model({"token_ids": ids, "padding_mask": np.ones_like(ids)}))
    assert whole.shape == (3, 6, form.get("embedding_dim", 16))
    stack = model.decoder_stack()
    assert len(stack.variables) == len(model.variables)
    caches, found = stack.init_cache(3, 6), []
    for i in range(6):
        context = {"positions": np.array([[i]]), "cache_index": i}
        tokens = ops.convert_to_tensor(ids[:, i : i + 1])
        x, caches = stack.step(tokens, caches, context)
        found.append(ops.convert_to_numpy(x))
    np.testing.assert_allclose(np.concatenate(found, 1), whole, rtol=1e-3, atol=1e-4)
    table = ops.convert_to_numpy(stack.token_embedding.embeddings)
    logits = ops.convert_to_numpy(stack.logits(x))
    np.testing.assert_allclose(logits, found[-1] @ table.T, rtol=1e-4, atol=1e-4)
