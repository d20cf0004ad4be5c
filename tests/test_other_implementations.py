"""Numbers of our cells against implementations by other people, and the benchmark against torchrecurrent."""

import dataclasses
import importlib
import importlib.util
import json
import re

import pytest

from benchmarks import __main__ as command
from benchmarks import page, torch_cells
from keras_rnn_ext.registry import ROWS
from tests.other_implementations import BOUND, COMPARISONS, SIZES, alone

needs_torchrecurrent = pytest.mark.skipif(
    not importlib.util.find_spec("torchrecurrent"), reason="torchrecurrent is not installed"
)


def named(comparison):
    return f"{comparison.cell}-{comparison.other}-{comparison.settings}".replace(" ", "_")


# PyTorch says for a projection in float32 which of its own kernels it has none for.
@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN:UserWarning")
@pytest.mark.parametrize(
    "size",
    [pytest.param(size, marks=() if place == 0 else pytest.mark.deep) for place, size in enumerate(SIZES)],
    ids=lambda size: "x".join(map(str, size)),
)
@pytest.mark.parametrize("comparison", COMPARISONS, ids=named)
def test_numbers_are_those_of(comparison, size, record_property):
    if comparison.missing:
        pytest.skip(comparison.missing)
    for kind, (error, where) in zip(("values", "gradients"), comparison.errors(size), strict=True):
        record_property(f"largest error of {kind}", error)
        assert error <= BOUND, f"{where}: {error} apart"


def test_every_cell_has_a_comparison_or_is_known_to_have_none():
    assert alone() == [
        "layer_norm_gru",
        "layer_norm_lstm",
        "layer_norm_simple_rnn",
        "lipschitz_rnn",
        "lru",
        "min_lstm",
        "mlstm",
        "slstm",
    ]


@needs_torchrecurrent
def test_no_cell_of_torchrecurrent_is_left_out():
    library = importlib.import_module("torchrecurrent")
    ours = {row.layer.__name__.lower(): row.name for row in ROWS}
    both = {ours[kind.lower()]: kind for kind in library.__all__ if kind.lower() in ours}
    assert both == {name: shared.kind for name, shared in torch_cells.SHARED.items()}


@needs_torchrecurrent
@pytest.mark.parametrize("name", torch_cells.SHARED)
def test_all_entries_are_compared_but_for_those_without_a_counterpart(name):
    expected = {"lem": {"output_recurrent_kernel": 16}, "nas": {"recurrent_kernel": 16, "bias": 4}, "ran": {"bias": 4}}
    shared = torch_cells.pair(name, 3, 4).shared()
    assert {key: (each == 0).sum() for key, each in shared.items() if not each.all()} == expected.get(name, {})


# The benchmark


@pytest.fixture
def tiny(monkeypatch):
    monkeypatch.setattr(torch_cells, "SIZE", (2, 5, 3, 4))


@needs_torchrecurrent
@pytest.mark.parametrize("name", ["lem", "nas"])
def test_what_is_said_to_differ_does(name, tiny, monkeypatch):
    shared = torch_cells.SHARED[name]
    assert "it differs" in shared.note
    assert torch_cells.run(name, 0.0, 1)["peers"].keys() == {"torchrecurrent", "ours"}
    monkeypatch.setitem(torch_cells.SHARED, name, dataclasses.replace(shared, prepare=lambda weights: weights))
    result = torch_cells.run(name, 0.0, 1)
    assert result["peers"] == {}
    assert "Differs: ours is" in result["refused"]["ours"]


@needs_torchrecurrent
def test_measure_go_on_and_make_the_page(tiny, tmp_path, capsys):
    file, made = tmp_path / "run.json", tmp_path / "page.md"
    arguments = ["torchrecurrent", "--seconds", "0.01", "--json", str(file)]
    assert command.main([*arguments, "mgu"]) == 0
    first = json.loads(file.read_text())["results"]
    assert command.main([*arguments, "mgu", "ugrnn"]) == 0
    assert "[1/1] ugrnn" in capsys.readouterr().out
    found = json.loads(file.read_text())
    assert [each["title"] for each in found["results"]] == ["MGU 2 x 5 x 3 x 4", "UGRNN 2 x 5 x 3 x 4"]
    assert found["results"][:1] == first
    assert found["about"]["versions"]["torchrecurrent"]
    assert command.main(["torchrecurrent", "--page", str(file), "--page-to", str(made)]) == 0
    text = made.read_text()
    assert "| `MGU` | `MGU` | " in text
    assert "| geometric mean | ≥ 2 | not measured: antisymmetric_rnn, co_rnn" in text
    # A table is of one machine and of one set of versions.
    found["about"]["versions"]["torch"] = "0.1"
    file.write_text(json.dumps(found))
    with pytest.raises(SystemExit):
        command.main([*arguments, "mgu"])
    assert "is of another machine or of other versions" in capsys.readouterr().err


def made_up(ratio):
    """A run in which every cell has this ratio, and one that was refused."""
    timing = {"quartiles": [1.0, 1.0], "rounds": 7, "ratio_quartiles": [1.0, 2.0], "first_call": 5.0, "memory": None}
    results = [
        {
            "workload": f"torchrecurrent-{name}",
            "mode": "torchrecurrent",
            "title": "MGU 1 x 2",
            "note": "",
            "apart": 3e-7,
            "refused": {},
            "peers": {
                "torchrecurrent": {**timing, "median": 2.0 * ratio, "ratio": ratio},
                "ours": {**timing, "median": 2.0, "ratio": 1.0},
            },
        }
        for name in torch_cells.SHARED
    ]
    about = {**torch_cells.backend.about(), "backend": "tensorflow"}
    return {"about": about, "results": results}


def test_the_page_has_targets_means_and_what_was_refused():
    run = made_up(3.0)
    run["results"][0]["peers"]["torchrecurrent"]["ratio"] = 0.5
    run["results"][0]["peers"]["torchrecurrent"]["median"] = 1.0
    text = torch_cells.text(run)
    assert "| geometric mean | ≥ 2 | 2.72 | met |" in text
    assert "| each cell | ≥ 1 | 0.50 (antisymmetric_rnn) | **missed** |" in text
    assert "| `MGU` | `UGRNN` | 2 | 6 | 3.00 (1.00-2.00) | 3e-07 |  |" in text
    run["results"][0] |= {"peers": {}, "refused": {"ours": "Differs: by far"}}
    text = torch_cells.text(run)
    assert "| each cell | ≥ 1 | not measured: antisymmetric_rnn |  |" in text
    assert "- torchrecurrent-antisymmetric_rnn, torchrecurrent, ours: Differs: by far" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["lstm"], "expected cells among antisymmetric_rnn, .*, got lstm"),
        (["--seconds", "0"], "expected seconds above zero, got '0'"),
        (["--json", "no/such/folder/x.json"], "--json: expected a file in a folder that exists"),
        (["--page", "no_such.json"], "expected a file written by .*, got 'no_such.json'"),
    ],
)
def test_what_cannot_be_used_ends_with_a_message(arguments, message, capsys):
    with pytest.raises(SystemExit) as stop:
        command.main(["torchrecurrent", *arguments])
    assert stop.value.code == 2
    assert re.search(message, capsys.readouterr().err)


def test_the_page_is_that_of_the_results():
    assert torch_cells.PAGE.exists() == torch_cells.RESULTS.exists()
    if torch_cells.RESULTS.exists():
        text = torch_cells.text(page.load(torch_cells.RESULTS))
        assert torch_cells.PAGE.read_text(encoding="utf-8") == text, (
            f"run: python -m benchmarks torchrecurrent --page {torch_cells.RESULTS}"
        )
