"""Private parts of Keras are touched in one module, where a new release is adapted to."""

import re
from pathlib import Path

import inarch

PRIVATE = re.compile(
    r"keras\.src|\b(?!self\b|cls\b|np\b)\w+\._(?:layers|flatten_layers|trainable_variables|kernel|"
    r"embeddings|initialize\w*|deferred_initialize|value\b|is_quantized|jax_state|remat_mode)|"
    r"def _(?:run_through_graph|get_jax_state)"
)


def test_private_keras_is_touched_in_one_module():
    root = Path(inarch.__file__).parent
    found = {p.relative_to(root).as_posix(): PRIVATE.findall(p.read_text("utf-8"))
             for p in root.rglob("*.py")}  # fmt: skip
    assert {name for name, uses in found.items() if uses} == {"keras_private.py"}
