"""The kinds of models that `python -m benchmarks.exports` tries to export."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

STEPS, ROWS, FEATURES = 8, 2, 3
UNITS = 64  # of models whose weights are stored in fewer bits: the converter leaves small ones as they are
WEIGHTS = ("LiteRT", "LiteRT, float16 weights", "LiteRT, int8 weights", "LiteRT, int8")
USUAL = ("SavedModel", "ONNX", "LiteRT", "LiteRT, Select operators", "torch.export")


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of model.

    Args:
        title: as the page calls it.
        build: the layers of one package, by their names in Keras -> the model.
        in_keras: whether Keras has it too.
        fixed: whether its shapes are known when it is made.
        ids: whether its inputs are ids.
        only: the formats that are tried; None: those of `USUAL`.
    """

    title: str
    build: Callable[[Any], Any]
    in_keras: bool = True
    fixed: bool = False
    ids: bool = False
    only: tuple[str, ...] | None = None


def _sequential(*make: Callable[[Any], Any], shape: tuple = (None, FEATURES), **options: Any) -> Callable[[Any], Any]:
    def build(layers: Any) -> Any:
        import keras

        given = {"shape": shape} if "batch_shape" not in options else {}
        return keras.Sequential([keras.Input(**given, **options), *(each(layers) for each in make)])

    return build


def _layer(name: str, *arguments: Any, **options: Any) -> Callable[[Any], Any]:
    return lambda layers: getattr(layers, name)(*arguments, **options)


def _own(name: str, units: int = 4, **options: Any) -> Kind:
    """A layer that Keras has not."""
    head = (_layer(name, units, return_sequences=True, **options), _layer("Dense", 2))
    return Kind(f"`{name}`", _sequential(*head), in_keras=False)


def _step(build: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def stepped(layers: Any) -> Any:
        from keras_rnn_ext.streaming import step_model

        return step_model(build(layers))

    return stepped


def _bidirectional(layers: Any) -> Any:
    return layers.Bidirectional(layers.GRU(4, return_sequences=True))


def _stack(layers: Any) -> Any:
    return layers.RNN([layers.LSTMCell(4), layers.GRUCell(3)], return_sequences=True)


def _zoneout(layers: Any) -> Any:
    return layers.RNN(layers.ZoneoutWrapper(layers.LSTMCell(4), 0.1), return_sequences=True)


def _two(units: int, more: int) -> tuple[Callable[[Any], Any], ...]:
    return (
        _layer("LSTM", units, return_sequences=True),
        _layer("GRU", more, return_sequences=True),
        _layer("Dense", 2),
    )


_TWO, _LARGE = _two(4, 3), _two(UNITS, UNITS)
_IDS: dict[str, Any] = {"shape": (None,), "dtype": "int32"}
_MASKED = (_layer("Embedding", 9, 4, mask_zero=True), _layer("LSTM", 4, return_sequences=True), _layer("Dense", 2))
KINDS = {
    "simple_rnn": Kind("`SimpleRNN`", _sequential(_layer("SimpleRNN", 4, return_sequences=True), _layer("Dense", 2))),
    "lstm": Kind("`LSTM`", _sequential(_layer("LSTM", 4, return_sequences=True), _layer("Dense", 2))),
    "gru": Kind("`GRU`", _sequential(_layer("GRU", 4, return_sequences=True), _layer("Dense", 2))),
    "last": Kind("`LSTM`, last output", _sequential(_layer("LSTM", 4), _layer("Dense", 2))),
    "two": Kind("two layers", _sequential(*_TWO)),
    "known": Kind("two layers, known steps", _sequential(*_TWO, batch_shape=(ROWS, STEPS, FEATURES)), fixed=True),
    "masked": Kind("ids with padding", _sequential(*_MASKED, **_IDS), ids=True),
    "bidirectional": Kind("two directions", _sequential(_bidirectional, _layer("Dense", 2))),
    "stateful": Kind(
        "stateful",
        _sequential(_layer("LSTM", 4, stateful=True, return_sequences=True), batch_shape=(ROWS, STEPS, FEATURES)),
        fixed=True,
    ),
    "stack": Kind("cells on top of each other", _sequential(_stack)),
    "step": Kind("step model of two layers", _step(_sequential(*_TWO)), in_keras=False),
    "step_masked": Kind("step model with padding", _step(_sequential(*_MASKED, **_IDS)), in_keras=False, ids=True),
    "zoneout": Kind("`ZoneoutWrapper`", _sequential(_zoneout), in_keras=False),
    "peephole_lstm": _own("PeepholeLSTM"),
    "layer_norm_lstm": _own("LayerNormLSTM"),
    "slstm": _own("SLSTM", heads=2),
    "mlstm": _own("MLSTM", heads=2),
    "min_gru": _own("MinGRU"),
    "lru": _own("LRU"),
    "qrnn": _own("QRNN"),
    "lmu": _own("LMU", order=3, theta=4.0),
    "cfc": _own("CfC"),
    "conv_lstm": Kind(
        "`ConvLSTM2D`",
        _sequential(_layer("ConvLSTM2D", 2, 3, return_sequences=True), shape=(None, 5, 5, 1)),
    ),
    "large": Kind(
        f"two layers of {UNITS} units, known steps",
        _sequential(*_LARGE, batch_shape=(ROWS, STEPS, FEATURES)),
        fixed=True,
        only=WEIGHTS,
    ),
    "large_step": Kind(
        f"step model of two layers of {UNITS} units", _step(_sequential(*_LARGE)), in_keras=False, only=WEIGHTS
    ),
}


class Ours:
    """Our layers, by the names that they have in Keras."""

    def __getattr__(self, name: str) -> Any:
        import keras

        import keras_rnn_ext

        own = getattr(keras_rnn_ext, f"My{name}", None) or getattr(keras_rnn_ext, name, None)
        return own or getattr(keras.layers, name)


def example(model: Any, rows: int, steps: int, ids: bool, seed: int = 0) -> list[np.ndarray]:
    """Inputs of a model, as a flat list."""
    import keras

    random = np.random.default_rng((rows, steps, seed))
    arrays = []
    for place, tensor in enumerate(keras.tree.flatten(model.inputs)):
        shape = [rows, *tensor.shape[1:]]
        shape = [steps if size is None else size for size in shape]
        if ids and place == 0:
            arrays.append(random.integers(0, 9, shape).astype(tensor.dtype))
        else:
            arrays.append(random.normal(size=shape).astype(tensor.dtype))
    return arrays
