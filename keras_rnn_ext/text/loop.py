"""The loop that reads and writes: one compiled program for a model, a sampler and a number of rows."""

import functools

import keras
import numpy as np
from keras import ops

from keras_rnn_ext import MyEmbedding
from keras_rnn_ext.streaming.programs import BLOCK, compiled, fingerprint
from keras_rnn_ext.streaming.step import take_apart

# In the place of a given token: one that is to be chosen, and one behind the end of the text.
FREE, OVER = -1, -2


class Loop:
    """A model that is run step by step, its programs compiled when they are first needed.

    Args:
        model: as for `step_model`.

    Raises:
        TypeError, ValueError: as `step_model`; or if the model has several inputs, or writes more than it can read.
    """

    def __init__(self, model):
        inputs = keras.tree.flatten(getattr(model, "inputs", None) or [])
        if len(inputs) > 1:
            raise ValueError(
                f"Model {model.name!r} must have one input, the ids. Received: a model with the inputs "
                f"{[each.name for each in inputs]}. If some are states, leave them out: they are handed on without it."
            )
        self.step = take_apart(model)
        self.tokens = self.step.model.outputs[0].shape[-1]
        self.fingerprint = fingerprint(model)
        self.programs = {}
        layers = self.step.model.layers
        self.masks_zero = any(getattr(layer, "mask_zero", False) for layer in layers)
        sizes = [layer.input_dim for layer in layers if isinstance(layer, (MyEmbedding, keras.layers.Embedding))]
        if min(sizes, default=self.tokens) < self.tokens:
            raise ValueError(
                f"Model {model.name!r} cannot read all that it writes: it gives {self.tokens} outputs a step, and its "
                f"embedding has input_dim={min(sizes)}."
            )

    def start(self, first, width):
        """What the loop starts with, `width` rows for each prompt.

        Args:
            first: int32 array `(prompts,)`, the first token of each prompt.
            width: how many texts are followed for each prompt.

        Returns:
            The list that `run` takes and gives: tokens `(rows,)`, scores and ends `(prompts, width)`, states.
        """
        first = np.asarray(first, "int32")
        scores = np.where(np.arange(width) == 0, 0.0, -np.inf) + np.zeros((len(first), 1))
        ended = np.zeros((len(first), width), bool)
        arrays = [np.repeat(first, width), scores.astype("float32"), ended]
        states = self.step.initial_states(width * len(first))
        return [*map(ops.convert_to_tensor, arrays), *map(ops.stop_gradient, states)]

    def run(self, sampler, is_softmax, carry, given, uniform, stops, bias):
        """Up to `BLOCK` steps; fewer if all texts end before.

        Args:
            sampler: a `Sampler`.
            is_softmax: whether the model gives probabilities instead of logits.
            carry: what `start` or the last `run` gave.
            given: int32 array `(steps, prompts)`, the next token of each prompt, `FREE` or `OVER`.
            uniform: float32 array `(steps, prompts)`, random numbers in [0, 1).
            stops: boolean array `(tokens,)`, which tokens end a text.
            bias: float32 array `(tokens,)`, added to the logits.

        Returns:
            `(tokens, origin, carry)`: arrays `(rows, steps made)` of the tokens and `(rows,)` of the rows that they
            continue, and what the next `run` takes.
        """
        steps, prompts = given.shape
        rows = prompts * sampler.width
        key = (sampler, is_softmax, rows)
        if key not in self.programs:
            self.programs[key] = self._compiled(sampler, is_softmax, prompts)
        blank = ((0, BLOCK - steps), (0, 0))
        arrays = [np.pad(given, blank), np.pad(uniform, blank), stops, bias, np.asarray(steps, "int32")]
        result = self.programs[key](carry, *map(ops.convert_to_tensor, arrays))
        made, tokens, origin, *carry = result
        return ops.convert_to_numpy(tokens)[: int(made)].T, ops.convert_to_numpy(origin), carry

    def _compiled(self, sampler, is_softmax, prompts):
        program = functools.partial(self._loop, sampler, is_softmax, prompts)
        return compiled(program, self.step.model, prompts * sampler.width)

    def _loop(self, sampler, is_softmax, prompts, carry, given, uniform, stops, bias, count):
        model, width = self.step.model, sampler.width
        rows, input_dtype = prompts * width, model.inputs[0].dtype
        places = ops.arange(width, dtype="int32")[None]

        def goes_on(time, buffer, origin, tokens, scores, ended, *states):
            return ops.logical_and(time < count, ops.logical_not(ops.all(ended)))

        def turn(time, buffer, origin, tokens, scores, ended, *states):
            outputs, *states = model([ops.cast(tokens[:, None], input_dtype), *states], training=False)
            logits = ops.reshape(ops.cast(outputs, "float32"), (prompts, width, self.tokens))
            logits = (ops.log(logits) if is_softmax else logits) + bias
            now = ops.take(given, time, axis=0)[:, None]
            free = now == FREE
            chosen, parents, new_scores = sampler.choose(logits, ops.take(uniform, time, axis=0), scores, ended)
            chosen = ops.where(free, chosen, ops.maximum(now, 0))
            scores = ops.where(free, new_scores, scores)
            if width > 1:
                parents = ops.where(free, parents, places)
                ended = ops.take_along_axis(ended, parents, axis=1)
                source = ops.reshape(ops.arange(prompts, dtype="int32")[:, None] * width + parents, (rows,))
                buffer, origin = ops.take(buffer, source, axis=1), ops.take(origin, source)
                states = [ops.take(state, source, axis=0) for state in states]
            ended = ops.logical_or(ended, ops.logical_and(free, ops.take(stops, chosen)))
            tokens = ops.reshape(chosen, (rows,))
            buffer = ops.where(ops.arange(BLOCK, dtype="int32")[:, None] == time, tokens, buffer)
            return time + 1, buffer, origin, tokens, scores, ended, *states

        nothing = ops.zeros((BLOCK, rows), dtype="int32")
        origin = ops.arange(rows, dtype="int32")
        return ops.while_loop(goes_on, turn, (ops.zeros((), dtype="int32"), nothing, origin, *carry))
