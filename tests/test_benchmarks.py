"""The tool that measures: what it refuses, that the peers agree, and what it writes. Times are not looked at."""

import dataclasses
import functools
import importlib.util
import json
import math
import re
import subprocess
import sys

import keras
import numpy as np
import pytest

from benchmarks import __main__ as command
from benchmarks import backend, measure, models, page, run, targets, torch_mapping, workloads

TINY = workloads.Workload("T1", "LSTM", 2, 5, 3, 4, workloads.MODES)
MODULE = backend.peers_module()
QUICK = run.Settings(seconds=0.0, least_rounds=1)


def agreed(workload, mode, leave_out="XLA"):
    """The names of the peers, all of which agreed."""
    makers = MODULE.peers(workloads.Problem.of(workload), mode)
    makers = {name: make for name, make in makers.items() if leave_out not in name}
    peers, first_calls, refused, _ = measure.agreeing(makers, 1e-5)
    assert refused == {}
    assert first_calls.keys() == peers.keys()
    return set(peers)


# The peers


@pytest.mark.parametrize("layer", workloads.GATES)
def test_all_peers_agree(layer):
    found = agreed(dataclasses.replace(TINY, layer=layer), "gradient")
    others = {"torch.nn", "torch._VF"} if importlib.util.find_spec("torch") else set()
    others = {"lax.scan"} if keras.config.backend() == "jax" else others
    assert {"keras", "ours"} | others <= found


def test_peers_agree_in_inference():
    agreed(dataclasses.replace(TINY, layer="GRU", units=16, features=16), "forward")


def test_peers_agree_under_masks_and_in_both_directions():
    agreed(dataclasses.replace(TINY, padding="left"), "gradient")
    agreed(dataclasses.replace(TINY, bidirectional=True), "gradient")


@pytest.mark.skipif(keras.config.backend() != "tensorflow", reason="the others have no peers of that kind")
def test_peers_agree_under_xla_and_eagerly():
    small = dataclasses.replace(TINY, layer="SimpleRNN")
    assert agreed(small, "gradient", leave_out="torch") >= {"keras, XLA", "ours, XLA"}
    for mode in ("unsaid gradient", "eager gradient", "eager forward"):
        makers = MODULE.peers(workloads.Problem.of(small), mode)
        assert makers.keys() == {"keras", "ours"}
        assert measure.agreeing(makers, 1e-5)[2] == {}


@pytest.mark.skipif(keras.config.backend() != "tensorflow", reason="the choices are those of its block loop")
def test_other_choices_change_no_number_and_leave_nothing_behind():
    from keras_rnn_ext.engine.tensorflow import block_loops

    own = block_loops.block_of, block_loops.BLOCK_BYTES
    for mode in workloads.CHOICES:
        makers = MODULE.peers(workloads.Problem.of(dataclasses.replace(TINY, steps=23)), mode)
        assert {"ours", "one loop", "a loop a core", "before it"} <= makers.keys()
        peers, _, refused, _ = measure.agreeing(makers, 1e-5)
        assert (peers.keys(), refused) == (makers.keys(), {})
    assert (block_loops.block_of, block_loops.BLOCK_BYTES) == own


@pytest.mark.parametrize("layer", workloads.GATES)
def test_weights_go_to_torch_and_back(layer):
    weights = workloads.Problem.of(dataclasses.replace(TINY, layer=layer, bidirectional=True)).weights
    there = torch_mapping.to_torch(layer, weights)
    assert len(there) == 8
    for back, weight in zip(torch_mapping.to_keras(layer, there), weights, strict=True):
        np.testing.assert_array_equal(back, weight)


def test_operations_are_those_of_the_products():
    # An LSTM's step: one row of 3 features and 4 units, times 16 columns, a multiplication and an addition each.
    assert TINY.flops("forward") == 2 * 5 * 2 * (3 + 4) * 16
    assert TINY.flops("gradient") == TINY.flops("eager gradient") == 3 * TINY.flops("forward")


# What is refused


def peer(**arrays):
    return measure.Peer(lambda: arrays, lambda found: found)


def wrong_values(name, value):
    """Why a peer is refused that gives `value`."""
    right = np.arange(4.0)
    makers = {"keras": lambda: peer(loss=right), "ours": lambda: peer(loss=right + 1e-7), name: lambda: peer(**value)}
    peers, _, refused, apart = measure.agreeing(makers, 1e-4)
    assert set(peers) == {"keras", "ours"}
    assert apart == pytest.approx(1e-7 / 3, rel=1e-3)
    return refused[name]


def test_other_values_are_refused():
    reason = wrong_values("other", {"loss": np.arange(4.0) + 0.03})
    assert reason == "Differs: other is 1.0e-02 apart in loss, and 1e-04 are allowed"
    assert "inf apart in loss" in wrong_values("other", {"loss": np.array([0.0, 1.0, 2.0, math.nan])})
    assert "the shape (2,) instead of (4,)" in wrong_values("other", {"loss": np.arange(2.0)})
    assert "instead of ['loss']" in wrong_values("other", {"gain": np.arange(4.0)})


def test_peer_that_fails_is_refused():
    def fail():
        raise RuntimeError("no such kernel")

    right = np.arange(4.0)
    _, first_calls, refused, _ = measure.agreeing({"keras": lambda: peer(loss=right), "other": fail}, 1e-4)
    assert refused == {"other": "RuntimeError: no such kernel"}
    assert first_calls.keys() == {"keras"}


def test_nothing_is_timed_where_our_gradient_is_wrong(monkeypatch):
    right = MODULE.with_weights

    def wrong(layer, problem):
        if type(layer).__name__.startswith("My"):
            weights = [1.01 * weight for weight in problem.weights]
            problem = dataclasses.replace(problem, weights=weights)
        return right(layer, problem)

    monkeypatch.setattr(MODULE, "with_weights", wrong)
    # On JAX a peer gets its weights with each call.
    monkeypatch.setattr(MODULE, "our_layer", lambda workload: workloads.our_layer(workload, use_bias=False))
    monkeypatch.setattr(run, "WORKLOADS", (TINY,))
    job = run.jobs(["T1"])[0]
    result = job.result(run.Settings(0.0, ("none",), least_rounds=1))
    assert result["peers"] == {}
    assert "ours" in result["refused"]


# Turns


def test_peers_take_turns():
    calls = []
    peers = {name: measure.Peer(lambda name=name: calls.append(name)) for name in ("keras", "ours")}
    times = measure.take_turns(peers, 0.0, 3)
    assert [len(taken) for taken in times.values()] == [3, 3]
    turns = [name for place, name in enumerate(calls) if place == 0 or calls[place - 1] != name]
    # Each once to see how long it takes, then to and fro.
    assert turns == ["keras", "ours", "keras", "ours", "keras", "ours"]


def test_ratios_are_to_ours():
    timings = measure.summarize({"keras": [3.0, 4.0, 8.0], "ours": [2.0, 2.0, 2.0]}, {"keras": 70.0})
    assert (timings["keras"].median, timings["keras"].ratio, timings["keras"].rounds) == (4.0, 2.0, 3)
    assert timings["keras"].ratio_quartiles == (1.75, 3.0)
    assert (timings["keras"].first_call, timings["ours"].first_call) == (70.0, None)


def test_peak_memory_is_seen():
    code = (
        "import numpy; from benchmarks.memory import peak; before = peak(); numpy.ones(2**23); print(peak() - before)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=page.ROOT)
    assert 60 < float(done.stdout) < 80  # 64 MiB


# Whole models


def tiny_model():
    def build(layers):
        sequence = [layers.Embedding(9, 3), layers.SimpleRNN(4, dropout=0.5), layers.Dense(1, activation="sigmoid")]
        return keras.Sequential([keras.Input((6,), dtype="int32"), *sequence])

    def data(random, batches):
        return random.integers(0, 9, (batches * 2, 6)), random.integers(0, 2, (batches * 2, 1))

    return models.Model("tiny", build, models.MODELS["W11-000"].compile, data, 2, 2)


def test_models_are_trained_alike_and_timed(monkeypatch):
    monkeypatch.setattr(models, "FIRST_EPOCHS", 1)
    timings, apart = models.measure(tiny_model(), 0.0, 1)
    assert timings.keys() == {"keras", "ours"}
    assert all(timing.first_call > 0 and timing.rounds == 1 for timing in timings.values())
    assert 0.0 <= apart < 1e-4


def test_models_that_are_trained_otherwise_are_refused(monkeypatch):
    ours = models.LAYERS["ours"]
    monkeypatch.setattr(ours, "SimpleRNN", functools.partial(ours.SimpleRNN, activation="sigmoid"))
    with pytest.raises(measure.Differs, match="ours is .* apart in weight"):
        models.measure(tiny_model(), 0.0, 1)


# The command and the page


def made_up(backend_name, **ratios):
    """A run, with made-up ratios to Keras by workload."""
    timing = {"quartiles": [1.0, 1.0], "rounds": 7, "ratio_quartiles": None, "first_call": 5.0, "memory": None}
    results = [
        {
            "workload": workload,
            "mode": "gradient",
            "title": "some layer",
            "apart": 1e-7,
            "refused": {},
            "peers": {
                "keras": {**timing, "median": 2.0 * ratio, "ratio": ratio},
                "ours": {**timing, "median": 2.0, "ratio": 1.0, "share": 0.25},
            },
        }
        for workload, ratio in ratios.items()
    ]
    return {"about": {**backend.about(), "backend": backend_name}, "results": results}


def test_page_has_means_targets_and_what_was_not_measured():
    run_of_six = made_up("tensorflow", W1=1.0, W2=2.0, W3=4.0, W4=1.0, W5=2.0, W6=4.0)
    run_of_six["results"][0]["refused"] = {"torch.nn": "Differs: by far"}
    text = page.text([run_of_six])
    assert "| W1-W6, with gradient | geometric mean ≥ 1.45 | 2.00 | met |" in text
    assert "| W1-W6, with gradient | each ≥ 1 | 1.00 (W1) | met |" in text
    assert "| W1, with gradient | ≥ 1.8 | 1.00 | **missed** |" in text
    assert "| W1-W6, forward | geometric mean ≥ 1.2 | not measured |  |" in text
    assert "| W1-W6 | geometric mean |  |  | **2.00** |" in text
    assert "| W3 | some layer | 2 | 25% | 4.00 |" in text
    assert "- W1, gradient, torch.nn: Differs: by far" in text
    assert "### Why some were missed\n\n- **W1, with gradient, ≥ 1.8**: " in text
    assert "## JAX\n\nNot measured.\n" in text
    assert "## GPU\n\nNot measured. " in text


def test_the_page_is_that_of_the_results():
    runs = [page.load(path) for path in sorted(page.RESULTS.glob("*.json"))]
    assert page.PAGE.read_text(encoding="utf-8") == page.text(runs), (
        "run: python -m benchmarks --page benchmarks/results/*.json"
    )


def test_page_says_which_workloads_are_missing():
    text = page.text([made_up("jax", W1=1.0, W2=1.0)])
    assert "| W1-W6, with gradient | geometric mean ≥ 1.15 | not measured: W3, W4, W5, W6 |  |" in text
    assert "**1.00**" not in text


def test_later_run_replaces_an_earlier_one():
    text = page.text([made_up("torch", W1=1.0), made_up("torch", W1=3.5)])
    assert "| W1 | some layer | 2 | 25% | 3.50 |" in text
    assert "| 1.00 |" not in text


def test_every_target_can_be_measured():
    jobs = {(job.workload, job.mode) for job in run.jobs()}
    for target in targets.TARGETS:
        if target.backend == keras.config.backend():
            assert {(workload, target.mode) for workload in target.workloads} <= jobs, target.title
    assert tuple(models.MODELS) == targets.MODELS


def test_measure_write_and_make_the_page(monkeypatch, tmp_path, capsys):
    # Noise too: what is compared is the same layer without.
    noisy = dataclasses.replace(TINY, id="W7", modes=("gradient",), recurrent_dropout=0.5)
    monkeypatch.setattr(run, "WORKLOADS", (dataclasses.replace(TINY, modes=("gradient",), id="W3"), noisy))
    monkeypatch.setattr(run, "PRODUCT", 64)
    file, made = tmp_path / "run.json", tmp_path / "page.md"
    arguments = ["W3", "W7", "--peers", "none", "--seconds", "0.01", "--json", str(file)]
    assert command.main(arguments) == 0
    assert "[2/2] W7 gradient" in capsys.readouterr().out
    results = json.loads(file.read_text())
    assert results["about"]["versions"]["keras"] == keras.__version__
    assert [set(each["peers"]) for each in results["results"]] == [{"keras", "ours"}] * 2
    assert all(each["peers"]["ours"]["share"] > 0 for each in results["results"])
    assert command.main(["--page", str(file), "--page-to", str(made)]) == 0
    assert "| W7 | LSTM 2 x 5 x 3 x 4, recurrent_dropout=0.5 |" in made.read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["page.md", "run.json"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["W99"], "expected workloads among W1, .*, got W99"),
        (["--seconds", "0"], "expected seconds above zero, got '0'"),
        (["W3", "--json", "no/such/folder/x.json"], "--json: expected a file in a folder that exists"),
        (["--page", "no_such.json"], "expected a file written by .*, got 'no_such.json'"),
    ],
)
def test_what_cannot_be_used_ends_with_a_message(arguments, message, capsys):
    with pytest.raises(SystemExit) as stop:
        command.main(arguments)
    assert stop.value.code == 2
    assert re.search(message, capsys.readouterr().err)
