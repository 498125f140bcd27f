"""Graphs of OpenVINO take the dtypes that models read."""

import pytest

from inarch.errors import InputError
from inarch.runtime.openvino_graph import openvino_graph


@pytest.mark.parametrize(
    ("dtype", "way_out"), [("int64", "int32"), ("bool", "int32"), ("float64", "float32")]
)
def test_another_dtype_is_refused_by_name_with_the_cast(dtype, way_out):
    with pytest.raises(InputError, match=rf"ids is of dtype {dtype}, .* ids.astype\('{way_out}'\)"):
        openvino_graph(dict, {"ids": ((-1, -1), dtype)})
