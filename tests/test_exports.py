"""The table of exports: what is tried, what is refused, and what the page says."""

import keras

from benchmarks import exports

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
    for kind in exports.KINDS.values():
        for layers in (exports._Ours(), keras.layers)[: 1 + kind.in_keras]:
            model = kind.build(layers)
            arrays = exports.example(model, exports.ROWS, exports.STEPS, kind.ids)
            assert [len(array) for array in arrays] == [exports.ROWS] * len(model.inputs)


def made_up():
    good, fixed = {"error": 1e-7, "other_shapes": True}, {"error": 1e-7, "other_shapes": "ValueError"}
    batch = {"error": 1e-7, "other_shapes": "batch"}
    return {
        "versions": {"keras": "3"},
        "results": {
            "tensorflow | lstm | ours | SavedModel": good,
            "tensorflow | lstm | keras | SavedModel": {"failed": "export: no"},
            "tensorflow | lstm | ours | ONNX": {"failed": "use: outputs are 1.0e-01 apart"},
            "tensorflow | lstm | keras | ONNX": fixed,
            "torch | lru | ours | torch.export": {"failed": "not tried: torch is not installed"},
            "torch | lstm | ours | torch.export": batch,
        },
    }


def test_table():
    text = exports.table(made_up())
    assert "| `LSTM` | yes / no | no / fixed shapes | not tried / not tried | not tried / not tried |" in text
    assert "| `LRU` | not tried | not tried |" in text
    assert "| `LSTM` | not tried / not tried | any batch / not tried |" in text
    assert text.endswith("Versions: keras 3.\n")


def test_what_keras_can_and_ours_cannot_is_found():
    assert exports.worse(made_up()["results"]) == ["tensorflow | lstm | ours | ONNX"]


def test_the_page_has_its_marks():
    page = exports.PAGE.read_text(encoding="utf-8")
    assert page.index(exports.BEGIN) < page.index(exports.END)
