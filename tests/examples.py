"""What the tests of examples share."""

import importlib.util
import pathlib

import pytest

FOLDER = pathlib.Path(__file__).parents[1] / "examples"


def load_example(name):
    """An example as a module."""
    pytest.importorskip("matplotlib")
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        # As for a script: its folder comes first.
        patch.syspath_prepend(FOLDER)
        spec.loader.exec_module(module)
    return module


def fails(example, capsys, *arguments):
    """The error message of a run that must end with exit status 2."""
    with pytest.raises(SystemExit) as stop:
        example.main([str(argument) for argument in arguments])
    assert stop.value.code == 2
    return capsys.readouterr().err
