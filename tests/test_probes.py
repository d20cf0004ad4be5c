"""Which cell learns what: the tasks, the choice of units, resuming, the page. What a cell learns is not looked at."""

import importlib.util
import json
import math
import re
import threading
import time

import numpy as np
import pytest

from benchmarks import __main__ as command
from benchmarks import probe_page, probe_tasks, probe_training, probes
from benchmarks.probes import Run
from keras_rnn_ext.registry import ROWS, get

TASKS = probe_tasks.tasks()
HELD_OUT = {name: task.held_out() for name, task in TASKS.items()}


def one_hot(classes, count):
    """Logits that are sure of these classes."""
    return 50.0 * np.eye(count)[np.maximum(classes, 0)]


# The tasks


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_batches_have_the_shapes_that_the_task_says(task):
    inputs, answers = task.batches(0)(3)
    size = (3, probe_tasks.ROWS, task.length)
    assert inputs.shape == (size if task.ids else (*size, task.features))
    assert answers.shape == ((3, probe_tasks.ROWS, 1) if task.last else size)
    if task.ids:
        assert 0 <= inputs.min() <= inputs.max() < task.features
    if not task.last:
        assert probe_tasks.IGNORED <= answers.min() <= answers.max() == task.outputs - 1
    assert len(HELD_OUT[task.name][0]) == probe_tasks.HELD_OUT_ROWS


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_batches_go_on_and_depend_on_the_seed_alone(task):
    some, again, other = task.batches(3), task.batches(3), task.batches(4)
    first, second = some(2)[0], some(2)[0]
    np.testing.assert_array_equal(first, again(2)[0])
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, other(2)[0])
    np.testing.assert_array_equal(HELD_OUT[task.name][0], task.held_out()[0])


def test_adding_marks_one_number_in_each_half():
    inputs, sums = HELD_OUT["adding"]
    numbers, marks = inputs[..., 0], inputs[..., 1]
    assert (marks[:, :100].sum(1) == 1).all()
    assert (marks[:, 100:].sum(1) == 1).all()
    np.testing.assert_allclose(sums[:, 0], numbers[marks == 1].reshape(-1, 2).sum(1), rtol=1e-6)
    assert 0 <= numbers.min() < 0.01 < 0.99 < numbers.max() <= 1
    # Always answering 1 leaves the variance of the sum of two uniform numbers.
    _, many = probe_tasks.adding(20_000, np.random.default_rng(0), 10)
    assert TASKS["adding"].score(np.ones_like(many), many) == pytest.approx(1 / 6, rel=0.03)


def test_copy_memory_asks_for_the_symbols_at_the_end():
    inputs, answers = HELD_OUT["copy"]
    assert inputs.shape[1] == 120
    np.testing.assert_array_equal(answers[:, -10:], inputs[:, :10])
    assert set(np.unique(inputs[:, :10])) == set(range(8))
    assert (answers[:, :-10] == probe_tasks.BLANK).all()
    # 99 blanks, the delimiter, ten blanks.
    assert (inputs[:, 10:109] == probe_tasks.BLANK).all()
    assert (inputs[:, 109] == probe_tasks.DELIMITER).all()
    assert (inputs[:, 110:] == probe_tasks.BLANK).all()


def test_parity_is_that_of_all_bits_so_far():
    inputs, answers = HELD_OUT["parity"]
    np.testing.assert_array_equal(answers, np.logical_xor.accumulate(inputs[..., 0] == 1, axis=1))
    assert answers.mean() == pytest.approx(0.5, abs=0.02)


def test_noisy_echo_is_the_bit_before_the_noise():
    inputs, answers = HELD_OUT["echo"]
    lag = probe_tasks.LAG
    assert (answers[:, :lag] == probe_tasks.IGNORED).all()
    noise = inputs[:, :-lag, 0] - (2 * answers[:, lag:] - 1)
    assert noise.mean() == pytest.approx(0, abs=0.02)
    assert noise.std() == pytest.approx(probe_tasks.NOISE, rel=0.02)


def test_characters_ask_for_the_next_one_and_hold_the_end_out():
    inputs, answers = TASKS["characters"].batches(0)(1)
    np.testing.assert_array_equal(inputs[..., 1:], answers[..., :-1])
    train, held_out = probe_tasks.text_parts()
    assert len(held_out) == pytest.approx(0.05 * (len(train) + len(held_out)), abs=1)
    np.testing.assert_array_equal(np.concatenate([train, held_out]), probe_tasks.text_ids()[0])
    ends = "".join(np.unique(list(probe_tasks.python_prose()))[HELD_OUT["characters"][0][0]])
    assert ends in probe_tasks.python_prose()[len(train) :]
    # Order tells something, and the next character is not certain.
    assert 2 < TASKS["characters"].chance < 4


def test_text_is_that_of_the_example():
    from tests.examples import load_example

    assert probe_tasks.python_prose() == load_example("char_generation").python_prose()


def solution(name, inputs):
    """What one who knows the task answers, as a model would."""
    if name == "adding":
        return (inputs[..., 0] * inputs[..., 1]).sum(1, keepdims=True)
    if name == "copy":
        answers = np.full(inputs.shape, probe_tasks.BLANK)
        answers[:, -10:] = inputs[:, :10]
    elif name == "parity":
        answers = inputs[..., 0].cumsum(1).astype(int) % 2
    else:
        answers = np.roll(inputs[..., 0] > 0, probe_tasks.LAG, axis=1).astype(int)
    return one_hot(answers, TASKS[name].outputs)


@pytest.mark.parametrize("name", ["adding", "copy", "parity", "echo"])
def test_one_who_knows_the_task_solves_it_and_one_without_memory_does_not(name):
    task, (inputs, answers) = TASKS[name], HELD_OUT[name]
    assert task.solves(task.score(solution(name, inputs), answers))
    random = np.random.default_rng(0)
    guess = np.ones_like(answers) if task.last else random.random((*answers.shape, probe_tasks.SYMBOLS))
    guess = guess if task.last else guess[..., : min(task.outputs, probe_tasks.SYMBOLS)]
    blind = task.score(guess, answers)
    assert not task.solves(blind)
    assert blind == pytest.approx(task.chance, rel=0.1)


def test_bits_are_those_of_the_chances():
    task, (_, answers) = TASKS["characters"], HELD_OUT["characters"]
    assert task.score(np.zeros((*answers.shape, task.outputs)), answers) == pytest.approx(math.log2(task.outputs))
    assert task.score(one_hot(answers, task.outputs), answers) == pytest.approx(0, abs=1e-6)
    assert not task.solves(0.0)


def test_threshold_is_reached_from_the_right_side():
    adding, copy = TASKS["adding"], TASKS["copy"]
    assert [adding.solves(value) for value in (0.02, 0.01, 0.0, math.nan)] == [False, True, True, False]
    assert [copy.solves(value) for value in (0.98, 0.99, 1.0, math.nan)] == [False, True, True, False]


# Units


@pytest.mark.parametrize("name", ["simple_rnn", "lstm", "ind_rnn", "lru", "esn", "mlstm", "janet", "projected_lstm"])
def test_units_are_the_most_that_fit(name):
    task = TASKS["copy"]
    units, count = probe_training.units_for(name, 1_000, task)
    step = probe_training.multiple(name)
    assert units % step == 0
    assert count == probe_training.parameters(name, units, task) <= 1_000
    assert probe_training.parameters(name, units + step, task) > 1_000
    layer = get(name).layer(units, **probe_training.options(name, units, task))
    layer.build((None, 5, probe_training.WIDTH))
    assert layer.count_params() == count


def test_every_cell_takes_its_options_and_fits():
    for row in ROWS:
        units, count = probe_training.units_for(row.name, probes.PARAMETERS, TASKS["adding"])
        assert 0.8 * probes.PARAMETERS < count <= probes.PARAMETERS, (row.name, units, count)
        for task in TASKS.values():
            row.layer(units, **probe_training.options(row.name, units, task))


def test_cell_that_cannot_be_small_enough_is_named():
    with pytest.raises(ValueError, match=r"--parameters: lstm of 1 units has 72 weights, and 50 are allowed"):
        probe_training.units_for("lstm", 50, TASKS["copy"])


def test_every_option_is_of_a_cell_that_there_is():
    assert probe_training.every_option(4, TASKS["copy"]).keys() <= {row.name for row in ROWS}


# A run


class Scores:
    """A program whose model scores as told, one look after the other."""

    chunk, seconds = 100, 0.0

    def __init__(self, *values):
        self.values = list(values)

    def train(self, state, inputs, answers):
        assert inputs.shape[0] == self.chunk
        return state, np.zeros(1)

    def predict(self, state, inputs):
        error = math.sqrt(self.values.pop(0)) if self.values[0] == self.values[0] else math.nan
        return HELD_OUT["adding"][1] + error


def test_run_ends_when_the_task_is_solved_twice_in_a_row():
    found = probe_training.train(Scores(0.2, 0.009, 0.02, 0.008, 0.007, 0.001), [], TASKS["adding"], 0, 10_000)
    assert (found["solved"], found["steps"], found["trained_steps"]) == (True, 400, 500)
    assert (found["best"], found["last"]) == (0.007, 0.007)


def test_run_ends_at_the_limit_and_once_is_not_enough():
    found = probe_training.train(Scores(0.2, 0.02, 0.009), [], TASKS["adding"], 0, 300)
    assert (found["solved"], found["steps"], found["seconds"], found["trained_steps"]) == (False, None, None, 300)
    assert found["best"] == 0.009


def test_run_ends_where_there_is_no_number_any_more():
    found = probe_training.train(Scores(0.2, math.nan, 0.009), [], TASKS["adding"], 0, 300)
    assert (found["solved"], found["best"], found["last"], found["trained_steps"]) == (False, 0.2, None, 200)


def test_run_ends_when_its_time_is_up():
    found = probe_training.train(Scores(*[0.2] * 9), [], TASKS["adding"], 0, 900, most_seconds=1e-9)
    assert found["stopped"]
    assert 100 <= found["trained_steps"] < 900
    assert not probe_training.train(Scores(0.2, 0.2), [], TASKS["adding"], 0, 200)["stopped"]


# Many runs: what is written, where it goes on, how long it takes

LIMITS = dict.fromkeys(TASKS, 100)


def made_up(steps=None, value=0.5, wall=10.0, units=7, date="2026-01-01", stopped=False):
    """A result."""
    return {
        "units": units,
        "parameters": 4_900,
        "solved": steps is not None,
        "steps": steps,
        "seconds": None if steps is None else steps / 100,
        "best": value,
        "last": value,
        "stopped": stopped,
        "trained_steps": 1_000,
        "trained_seconds": 8.0,
        "compile_seconds": 1.0,
        "wall_seconds": wall,
        "date": date,
    }


class FakeWorker:
    """Answers at once, and keeps what it was asked."""

    def __init__(self, answer=None):
        self.answer, self.orders, self.closed = answer or (lambda order: made_up(300)), [], False

    def __call__(self, order):
        self.orders.append(order)
        return self.answer(order)

    def close(self):
        self.closed = True


def some_runs(seeds=2):
    return probes.wanted(["copy", "parity"], ["lstm", "gru"], seeds, [0.003])


def done_in(path, workers, runs, budget=math.inf):
    """Does what is missing in a file, and gives what was printed and what is left."""
    results, shown = probes.Results(path, probes.Settings(4_000, LIMITS, 60.0)), []
    left = probes.do(runs, results, workers, budget, shown.append)
    return shown, left


def test_every_run_is_done_once_and_written_at_once(tmp_path):
    path, seen = tmp_path / "probes.json", []

    def answer(order):
        seen.append(len(json.loads(path.read_text())["runs"]) if path.exists() else 0)
        return made_up(300)

    workers = [FakeWorker(answer)]
    shown, left = done_in(path, workers, some_runs())
    assert (left, seen) == (0, list(range(8)))
    assert shown[0].startswith(
        "[1/8] copy, lstm, seed 0, rate 0.003, 7 units: solved at step 300 after 3 s  about 1 min"
    )
    assert shown[-1].startswith("[8/8] ")
    assert workers[0].closed
    assert workers[0].orders[0]["parameters"] == 4_000
    assert workers[0].orders[0]["limit"] == 100
    # One cell on one task after the other: they share a program.
    assert [(order["task"], order["cell"]) for order in workers[0].orders[::2]] == [
        ("copy", "lstm"), ("copy", "gru"), ("parity", "lstm"), ("parity", "gru")
    ]  # fmt: skip
    assert sorted(each.name for each in tmp_path.iterdir()) == ["probes.json"]


def test_goes_on_where_it_stopped(tmp_path):
    path = tmp_path / "probes.json"
    failing = FakeWorker(lambda order: {"error": "no luck"} if order["cell"] == "gru" else made_up())
    done_in(path, [failing], some_runs())
    before = path.read_text()
    again = FakeWorker()
    done_in(path, [again], [*some_runs(), Run("adding", "lstm", 0, 0.003)])
    # What failed, and what is new.
    assert [(order["task"], order["cell"]) for order in again.orders] == [("copy", "gru")] * 2 + [
        ("parity", "gru")
    ] * 2 + [("adding", "lstm")]
    kept = probes.load(path)
    assert len(kept["runs"]) == 9
    assert not any("error" in each for each in kept["runs"])
    assert [each["solved"] for each in kept["runs"] if each["cell"] == "lstm"] == [True] + [False] * 4
    assert "no luck" in before
    done_in(path, [never := FakeWorker()], some_runs())
    assert never.orders == []


def test_another_learning_rate_is_tried_where_the_first_does_not_solve(tmp_path):
    path, runs = tmp_path / "probes.json", probes.wanted(["copy"], ["lstm", "gru"], 2, [0.003, 0.01])
    worker = FakeWorker(lambda order: made_up(300 if order["cell"] == "lstm" or order["seed"] else None))
    _, left = done_in(path, [worker], runs)
    done = [(order["cell"], order["rate"], order["seed"]) for order in worker.orders]
    assert done == [
        ("lstm", 0.003, 0),
        ("lstm", 0.003, 1),
        *(("gru", rate, seed) for rate in (0.003, 0.01) for seed in (0, 1)),
    ]
    assert left == 0
    assert probes.missing(runs, probes.Results(path, probes.Settings(4_000, LIMITS, 60.0)).runs) == []


def test_workers_share_the_groups(tmp_path):
    both = threading.Barrier(2, timeout=20)

    def answer(order):
        if order["seed"] == 0 and order["task"] == "copy":
            both.wait()  # passes only when the two work at the same time
        return made_up()

    workers = [FakeWorker(answer), FakeWorker(answer)]
    shown, left = done_in(tmp_path / "probes.json", workers, some_runs())
    assert (left, len(shown)) == (0, 8)
    assert sum(len(worker.orders) for worker in workers) == 8
    assert all(worker.orders and worker.closed for worker in workers)


def test_no_run_begins_after_the_budget(tmp_path):
    worker = FakeWorker(lambda order: (time.sleep(0.06), made_up())[1])
    _, left = done_in(tmp_path / "probes.json", [worker], some_runs(), budget=0.1)
    assert 1 <= len(worker.orders) <= 2
    assert left == 8 - len(worker.orders)


def test_workers_are_ended_where_the_command_is_interrupted(tmp_path):
    def interrupted(order):
        raise KeyboardInterrupt

    worker = FakeWorker(interrupted)
    with pytest.raises(KeyboardInterrupt):
        done_in(tmp_path / "probes.json", [worker], some_runs())
    assert worker.closed


def test_other_settings_do_not_mix(tmp_path):
    path = tmp_path / "probes.json"
    done_in(path, [FakeWorker()], some_runs())
    with pytest.raises(ValueError, match=r"--json: expected results of the same settings, .*'parameters': 5000"):
        probes.Results(path, probes.Settings(5_000, LIMITS, 60.0))


def test_time_left_is_that_of_the_runs_that_are_done():
    def run(task, cell):
        return Run(task, cell, 0, 0.003)

    assert probes.seconds_left([run("copy", "lstm")], {}, 2) is None
    failed = {run("copy", "lstm"): {"error": "no luck", "wall_seconds": 1.0}}
    assert probes.seconds_left([run("copy", "lstm")], failed, 2) is None
    done = {
        run("copy", "lstm"): made_up(wall=30.0),
        run("copy", "gru"): made_up(wall=10.0),
        run("parity", "gru"): made_up(wall=4.0),
    }
    # Its own time; that of the task where the cell is new; the task's times how slow the cell is elsewhere.
    assert probes.seconds_left([run("copy", "lstm")], done, 1) == pytest.approx(30)
    assert probes.seconds_left([run("copy", "lem")], done, 1) == pytest.approx(20)
    assert probes.seconds_left([run("parity", "lstm")], done, 1) == pytest.approx(4 * 1.5)
    assert probes.seconds_left([run("copy", "lstm"), run("copy", "gru")], done, 2) == pytest.approx(20)
    assert [probes.in_words(each) for each in (None, 610, 7_300)] == ["", "about 10 min left", "about 2.0 h left"]


# The page


def kept(*results, **limits):
    """A file with these runs: (task, cell, seed, result)."""
    runs = [{"task": task, "cell": cell, "seed": seed, "rate": 0.003, **found} for task, cell, seed, found in results]
    machine = {"processor": "P", "cpus": 2, "system": "S", "python": "3", "versions": {"jax": "1"}, "pair_entropy": 3.5}
    return {
        "settings": {"parameters": 5_000, "limits": LIMITS | limits, "seconds": 60.0},
        "machines": [machine],
        "runs": runs,
    }


def of_seeds(task, cell, *found):
    return [(task, cell, seed, each) for seed, each in enumerate(found)]


def test_page_has_steps_scores_and_facts():
    text = probe_page.text(
        kept(
            *of_seeds("copy", "janet", made_up(900, 1.0), made_up(700, 1.0), made_up(None, 0.5)),
            *of_seeds("copy", "lstm", made_up(None, 0.25), made_up(None, 0.2), made_up(None, 0.3)),
            *of_seeds("copy", "simple_rnn", made_up(None, 0.13)),
            *of_seeds("adding", "simple_rnn", made_up(None, 0.166)),
            *of_seeds("adding", "ind_rnn", made_up(600, 0.005)),
            *of_seeds("adding", "lru", made_up(None, 0.1)),
            *of_seeds("copy", "lru", made_up(None, 0.2)),
            *of_seeds("copy", "ltc", made_up(None, 0.2, stopped=True)),
            *of_seeds("characters", "lstm", made_up(None, 2.345)),
            ("parity", "lstm", 0, {"error": "no luck", "date": "2026-02-03"}),
        )
    )
    assert "2026-01-01 to 2026-02-03; P, 2 CPUs, S, Python 3; jax 1." in text
    assert "5,000 weights" in text
    assert "knows the character before and nothing else needs 3.50 bits.\n" in text
    assert "| `JANET` |  | **800** (8 s, 2 of 3) |" in text
    assert "| `MyLSTM` |  | 25.0% |  |  | 2.35 | 7 |  | gated |" in text
    assert "| `IndRNN` | **600** (6 s) |  |  |  |  | 7 | 8.0 | gated |" in text
    assert (
        "| `IndRNN` keeps a memory where a SimpleRNN fails | Adding: **600** (6 s), SimpleRNN 0.166 | holds |" in text
    )
    assert "Copy memory: 20.0%, SimpleRNN 13.0% | **does not hold here** |" in text
    assert "| `LTC` |  | 20.0% at 1,000 |" in text
    assert "| `LEM` keeps a memory where a SimpleRNN fails | not measured | not measured |" in text
    assert "| **800** (8 s, 2 of 3), against 25.0% | holds |" in text
    assert "- lstm, parity: no luck" in text


def test_fact_does_not_hold_where_the_simple_rnn_does_as_well():
    found = probe_page.outcomes(
        kept(
            *of_seeds("adding", "simple_rnn", made_up(900, 0.005)),
            *of_seeds("adding", "lem", made_up(300, 0.005)),
            *of_seeds("copy", "simple_rnn", made_up(None, 0.2)),
            *of_seeds("copy", "lem", made_up(None, 0.5)),
            *of_seeds("copy", "janet", made_up(None, 0.21)),
            *of_seeds("copy", "lstm", made_up(None, 0.2)),
        )
    )
    assert probe_page.keeps_memory("lem", found)[1] is False
    assert probe_page.beats_on_copy("janet", "lstm", found)[1] is False
    assert probe_page.beats_on_copy("lem", "lstm", found)[1] is True


def test_the_best_learning_rate_counts():
    runs = kept(*of_seeds("copy", "lstm", made_up(900, 1.0), made_up(None, 0.5)))
    faster = kept(*of_seeds("copy", "lstm", made_up(300, 1.0), made_up(None, 0.4)))["runs"]
    runs["runs"] += [each | {"rate": 0.01} for each in faster]
    found = probe_page.outcomes(runs)["lstm", "copy"]
    assert (found.rate, found.steps, found.solved, found.seeds) == (0.01, 300, 1, 2)
    assert "the best of the learning rates 0.003, 0.01, of which" in probe_page.text(runs)
    runs["runs"] += kept(("copy", "lstm", 5, made_up(2_000, 1.0)))["runs"]
    assert probe_page.outcomes(runs)["lstm", "copy"].rate == 0.003


def test_fields_are_darker_the_sooner_and_the_more_often():
    found = probe_page.outcomes(
        kept(
            *of_seeds("copy", "lstm", made_up(10, 1.0)),
            *of_seeds("copy", "gru", made_up(90, 1.0)),
            *of_seeds("copy", "janet", made_up(10, 1.0), made_up(None, 0.5)),
            *of_seeds("copy", "lru", made_up(None, 0.5)),
            *of_seeds("characters", "lstm", made_up(None, 2.0)),
            *of_seeds("characters", "gru", made_up(None, 3.0)),
        )
    )
    dark = probe_page.shades(found, LIMITS)
    assert dark["lstm", "copy"] > dark["janet", "copy"] > dark["lru", "copy"] == 0
    assert 1 >= dark["lstm", "copy"] > dark["gru", "copy"] > 0.4
    assert (dark["lstm", "characters"], dark["gru", "characters"]) == (1.0, 0.0)


@pytest.mark.skipif(importlib.util.find_spec("matplotlib") is None, reason="no picture without it")
def test_page_and_figure_are_written(tmp_path):
    page, file = tmp_path / "page.md", tmp_path / "probes.json"
    page.write_text(f"before\n{probe_page.BEGIN}\nold\n{probe_page.END}\nafter\n")
    file.write_text(json.dumps(kept(*of_seeds("copy", "lstm", made_up(90, 1.0), made_up(None, None)))))
    assert command.main(["probes", "--page", "--json", str(file), "--page-to", str(page)]) == 0
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    assert "\nold\n" not in text
    assert "| `MyLSTM` |" in text
    assert (tmp_path / probe_page.FIGURE).read_bytes()[:4] == b"\x89PNG"
    assert command.main(["probes", "--page", "--json", str(file), "--page-to", str(page)]) == 0
    assert page.read_text() == text
    page.write_text("no place for it")
    with pytest.raises(SystemExit):
        command.main(["probes", "--page", "--json", str(file), "--page-to", str(page)])


@pytest.mark.skipif(not probes.RESULTS.exists(), reason="nothing was measured yet")
def test_the_page_is_that_of_the_results():
    page = probe_page.PAGE.read_text(encoding="utf-8")
    assert page == probe_page.filled(page, probes.load(probes.RESULTS)), "run: python -m benchmarks probes --page"
    assert probe_page.PAGE.with_name(probe_page.FIGURE).exists()


# The command


@pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="probes run on JAX")
def test_train_write_and_go_on(tmp_path, capsys):
    file = tmp_path / "probes.json"
    arguments = ["probes", "--cells", "min_gru", "--tasks", "parity", "echo", "--seeds", "2", "--steps", "4"]
    arguments += ["--parameters", "200", "--processes", "1", "--json", str(file)]
    assert command.main(arguments) == 0
    assert "4 runs to do, 1 at a time" in capsys.readouterr().out
    found = probes.load(file)
    assert [(each["task"], each["seed"], each["trained_steps"]) for each in found["runs"]] == [
        ("echo", 0, 4), ("echo", 1, 4), ("parity", 0, 4), ("parity", 1, 4)
    ]  # fmt: skip
    assert all(0.3 < each["best"] < 0.8 and each["parameters"] <= 200 for each in found["runs"])
    assert found["runs"][0]["best"] != found["runs"][1]["best"]
    assert found["machines"][0]["versions"]["keras"]
    assert found["machines"][0]["pair_entropy"] == pytest.approx(TASKS["characters"].chance, abs=0.01)
    assert command.main(arguments) == 0
    assert "0 runs to do" in capsys.readouterr().out


def test_list_has_tasks_and_units(capsys):
    assert command.main(["probes", "--list", "--cells", "lstm", "--parameters", "5000"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"copy +120 steps a sequence", out)
    assert re.search(r"lstm +27 units, 4,752 weights", out)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--cells", "no_such"], "--cells: expected some of .*lstm.*, got no_such"),
        (["--tasks", "no_such"], "--tasks: expected some of adding, copy, .*, got no_such"),
        (["--steps", "0"], "expected a whole number from 1, got '0'"),
        (["--rates", "0"], "expected a number above zero, got '0'"),
        (["--budget-seconds", "nan"], "expected a number above zero, got 'nan'"),
        (["--json", "no/such/folder/x.json"], "--json: expected a file in a folder that exists|not installed"),
        (["--page", "--json", "no_such.json"], "expected a file written by .*, got 'no_such.json'"),
    ],
)
def test_what_cannot_be_used_ends_with_a_message(arguments, message, capsys):
    with pytest.raises(SystemExit) as stop:
        command.main(["probes", *arguments])
    assert stop.value.code == 2
    assert re.search(message, capsys.readouterr().err)
