"""The table of exports: what is tried, what is refused, and what the page says."""

import keras

from benchmarks import export_page, exports
from benchmarks.export_models import KINDS, ROWS, STEPS, Ours, example

FORMAT = "torch.export" if keras.config.backend() == "torch" else "SavedModel"


def test_an_export_is_used_without_the_package():
    found = exports.tried(keras.config.backend(), "masked", "ours", FORMAT)
    assert "failed" not in found, found
    assert found["error"] < exports.TOLERANCE
    assert found["bytes"] > 1000
    # PyTorch writes the steps out one by one.
    assert found["other_shapes"] == ("batch" if FORMAT == "torch.export" else True)


def test_failures_have_their_reason():
    found = exports.tried(keras.config.backend(), "nothing", "ours", FORMAT)
    assert found == {"failed": "export: KeyError: 'nothing'"}


def test_every_kind_can_be_made():
    for kind in KINDS.values():
        for layers in (Ours(), keras.layers)[: 1 + kind.in_keras]:
            model = kind.build(layers)
            arrays = example(model, ROWS, STEPS, kind.ids)
            assert [len(array) for array in arrays] == [ROWS] * len(model.inputs)


def made_up():
    good, fixed = {"error": 1e-7, "other_shapes": True}, {"error": 1e-7, "other_shapes": "ValueError: 3 rows"}
    batch, refused = {"error": 1e-7, "other_shapes": "batch"}, {"failed": "export: Error: node_7 in /somewhere/a.py"}
    litert = {"error": 1e-7, "other_shapes": None, "bytes": 12345}
    return {
        "versions": {"keras": "3"},
        "results": {
            "tensorflow | lstm | ours | SavedModel": good,
            "tensorflow | lstm | keras | SavedModel": refused,
            "tensorflow | lstm | ours | ONNX": {"failed": "use: outputs are 1.0e-01 apart"},
            "tensorflow | lstm | keras | ONNX": fixed,
            "tensorflow | lstm | ours | LiteRT": {**litert, "seconds": 3.0},
            "tensorflow | lstm | keras | LiteRT": {**litert, "seconds": 1.5},
            "tensorflow | masked | ours | LiteRT": refused,
            "tensorflow | masked | ours | LiteRT, Select operators": good,
            "tensorflow | masked | keras | LiteRT": {"failed": "export: Error: node_81 in /elsewhere/b.py"},
            "tensorflow | large_step | ours | LiteRT, int8": {**litert, "error": 0.0123},
            "torch | lru | ours | torch.export": {"failed": "not tried: torch is not installed"},
            "torch | lstm | ours | torch.export": batch,
            "torch | lstm | keras | torch.export": batch,
        },
    }


def test_formats_on_the_page():
    text = export_page.measured(made_up())
    assert "| `LSTM` | yes / no (1) | no (2) / fixed shapes (3) | yes |" in text
    assert "| `LSTM` | any batch | not tried |" in text
    assert "| `LRU` | not tried | not tried |" in text
    assert text.endswith("Versions: keras 3.\n")


def test_a_reason_is_told_once_and_without_paths():
    text = export_page.measured(made_up())
    assert "| ids with padding | not tried | not tried | Select / no (1) |" in text
    assert "1. `export: Error: node_7 in ...`\n2. `use: outputs are 1.0e-01 apart`\n3. `ValueError: 3 rows`\n" in text


def test_conversion_and_weights_on_the_page():
    text = export_page.measured(made_up())
    assert "The median of the ratios is 2.0." in text
    assert "| `LSTM` | 3.0 | 1.5 | 2.0 |" in text
    assert "| step model of two layers of 64 units | ours | int8 | yes | 12,345 | 1e-02 |" in text


def test_what_keras_can_and_ours_cannot_is_found():
    assert exports.worse(made_up()["results"]) == ["tensorflow | lstm | ours | ONNX"]


def test_the_page_has_its_marks():
    page = export_page.PAGE.read_text(encoding="utf-8")
    assert page.index(export_page.BEGIN) < page.index(export_page.END)
