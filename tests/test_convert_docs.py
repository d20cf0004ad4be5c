"""The page on conversion runs, and names all that converts."""

import pathlib
import re

import pytest

from keras_rnn_ext import convert

PAGE = (pathlib.Path(__file__).parents[1] / "docs" / "convert.md").read_text(encoding="utf-8")


def run(fences, names):
    blocks = re.findall(rf"^```(?:{fences})\n(.*?)^```", PAGE, re.S | re.M)
    assert blocks
    exec(compile("\n".join(blocks), "convert.md", "exec"), names)
    return names


def test_examples_run_without_torch():
    assert run("python", {})["model"].output_shape == (None, None, 8)


def test_examples_run_with_torch():
    pytest.importorskip("torch", reason="torch is not installed")
    pytest.importorskip("torchrecurrent", reason="torchrecurrent is not installed")
    assert run("python|py", {})["back"].batch_first


def test_every_function_is_on_the_page():
    # The ways back are named where they differ from the ways here.
    assert not [name for name in convert.__all__ if name.startswith("from_") and f"convert.{name}(" not in PAGE]
    assert "convert.model(" in PAGE


@pytest.mark.parametrize("function", [convert.from_tf1, convert.from_tfa, convert.from_torchrecurrent])
def test_every_kind_is_on_the_page(function):
    with pytest.raises(ValueError, match="must be one of") as error:
        function({}, "")
    kinds = re.findall(r"'(\w+)'", str(error.value))
    assert len(kinds) > 4
    assert not [kind for kind in kinds if f"`{kind}`" not in PAGE]
