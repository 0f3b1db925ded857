import importlib.util
from pathlib import Path

import pytest

_BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "export_parity.py"


@pytest.fixture(scope="module")
def benchmark():
    for package in ("tf2onnx", "onnxruntime"):
        pytest.importorskip(package)
    spec = importlib.util.spec_from_file_location("export_parity", _BENCHMARK)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("backbone", "options", "formats"),
    [
        ("mobilenet", {"alpha": 0.25}, ["saved_model", "litert", "onnx", "keras"]),
        # its Normalization layer keeps constants outside the graph, which tf2onnx took for inputs
        ("efficientnet_b0", {}, ["onnx"]),
    ],
)
def test_families_answer_alike_in_every_format(benchmark, backbone, options, formats):
    compared = benchmark.measure(backbone, 32, formats, rows=8, **options)
    for name, parity in compared.items():
        assert 0 <= parity.relative < 1e-3, (name, parity)
        assert parity.agreement == 1
