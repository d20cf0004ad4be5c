"""The matrix-memory LSTM of xLSTM, by Beck et al. (2024)."""

import keras
from keras import ops

from keras_rnn_ext.custom import Flag, Integer, ProjectedCell, State, Weight, define_cell, layer_of

# The logarithm of a weight that is zero: below all that a stabilizer can be, and finite in float32.
_NOTHING = -1e38

# Less than the logarithm of anything that counts, and how finely a coarse part divides what is above it: sums of 64
# such parts are exact in float32.
_LEAST, _GRAIN = -128.0, 1024.0

# Stabilizers are taken for no larger than this when they bound a divisor: its square is then a float32 number.
_LARGEST = 40.0


@define_cell(
    "mlstm",
    "Beck, Pöppel, Spanring, Auer, Prudnikova, Kopp, Klambauer, Brandstetter, Hochreiter 2024, xLSTM: extended long "
    "short-term memory, arXiv 2405.04517, equations 19 to 27 with the stabilizer of 15 to 17; several steps at once as "
    "in Beck, Pöppel, Lippe, Hochreiter 2025, Tiled flash linear attention, arXiv 2503.14376, section 2. As $m$ starts "
    "far below all gates, the first step needs no rule of its own. $\\exp(-m)$ is held between $\\exp(\\pm 40)$, so "
    "that a query of zeros has a gradient; the authors' code adds 1e-6 to the divisor, divides $b_k$ by $\\sqrt d$ as "
    "well, and has $C$ transposed. Weights and biases of the gates start as in that code, where the gates see q, k and "
    "v; here they see $x$, as in the paper. With `exponential_forget_gate` their bias starts at the logarithm of what "
    "the gate else is.",
    variants=({}, {"heads": 2}, {"exponential_forget_gate": True}, {"use_bias": False}),
    multiple=2,
)
class MLSTMCell(ProjectedCell):
    r"""One step of an LSTM whose memory is a matrix: it stores values under keys, and reads them with queries.

    In each head, with $d$ = units / heads,

    $$\begin{aligned}
    q_t &= x_t W_q + b_q, \quad k_t = x_t W_k / \sqrt d + b_k, \quad v_t = x_t W_v + b_v \\
    [\tilde i_t, \tilde f_t] &= x_t W_g + b_g, \quad \log f_t = \log\sigma(\tilde f_t) \text{ or } \tilde f_t \\
    m_t &= \max(\log f_t + m_{t-1}, \tilde i_t) \\
    i'_t &= \exp(\tilde i_t - m_t), \quad f'_t = \exp(\log f_t + m_{t-1} - m_t) \\
    C_t &= f'_t\,C_{t-1} + i'_t\,v_t^\top k_t, \quad n_t = f'_t\,n_{t-1} + i'_t\,k_t \\
    h_t &= \sigma(x_t W_o + b_o) \odot \frac{q_t\,C_t^\top}{\max(|q_t n_t^\top|, \exp(-m_t))}
    \end{aligned}$$

    The columns of `kernel` and `bias` stand in the order q, k, v, o, each head by head; those of `gate_kernel`
    `(features, 2 heads)` and `gate_bias` in the order i, f. The gates have their bias whatever `use_bias` says. The
    states are $[C_t, n_t, m_t]$ of the shapes `(heads, d, d)` (values by keys), `(heads, d)` and `(heads,)`, and stay
    in float32 where a layer computes in 16 bits. The output $h_t$ is none of them. No step waits for the output of the
    one before, so that a layer takes many steps at once.
    """

    gates = 4
    states = (
        State("C", ("heads", "size", "size"), wide=True, mixes=False),
        State("n", ("heads", "size"), wide=True, mixes=False),
        State("m", ("heads",), initial=-1e30, wide=True, mixes=False),
    )
    pure = True

    heads = Integer(1, "the number of heads, which divides `units`")
    exponential_forget_gate = Flag(False, "whether the forget gate is exponential too")
    gate_kernel = Weight(("features", "2 * heads"), "$W_g$", initializer="zeros")
    gate_bias = Weight(("2 * heads",), "$b_g$", initializer=None)

    @property
    def size(self):
        """$d$, the units of a head."""
        return self.units // self.heads

    @property
    def chunk_length(self):
        """How many steps are taken at once: about as many as a memory has rows, where that was fastest."""
        return min(64, max(32, self.size))

    def check(self):
        if self.units % self.heads:
            raise ValueError(f"Argument `heads` must divide `units`. Received: heads={self.heads}, units={self.units}")

    def initializer_of(self, name):
        return self._gate_bias if name == "gate_bias" else super().initializer_of(name)

    def _gate_bias(self, shape, dtype=None):
        input_gate = keras.random.normal((self.heads,), 0.0, 0.1, dtype=dtype, seed=self.seed_generator)
        forget_gate = ops.linspace(3.0, 6.0, self.heads, dtype=dtype)
        forget_gate = ops.log_sigmoid(forget_gate) if self.exponential_forget_gate else forget_gate
        return ops.concatenate([input_gate, forget_gate])

    def derive(self, weights):
        """All products as one, in the order q, k, v, o, i, f; with the scale of the keys in it."""
        query, key, *rest = ops.split(weights["kernel"], 4, axis=-1)
        kernel = ops.concatenate([query, key / self.size**0.5, *rest, weights["gate_kernel"]], axis=-1)
        bias = weights["bias"] if "bias" in weights else ops.zeros((self.width,), dtype=kernel.dtype)
        return {"kernel": kernel, "bias": ops.concatenate([bias, weights["gate_bias"]])}

    def _parts(self, projected, dtype):
        """Queries, keys and values `(..., 3, heads, d)`, output gates, and logarithms of the other gates."""
        places = [3 * self.units, 4 * self.units, 4 * self.units + self.heads]
        by_head, output_gate, input_gate, forget_gate = ops.split(ops.cast(projected, dtype), places, axis=-1)
        by_head = ops.reshape(by_head, (*ops.shape(projected)[:-1], 3, self.heads, self.size))
        forget_gate = forget_gate if self.exponential_forget_gate else ops.log_sigmoid(forget_gate)
        return by_head, output_gate, input_gate, forget_gate

    def recur(self, projected, states, weights, noise):
        memory, normalizer, stabilizer = states
        by_head, output_gate, input_gate, forget_gate = self._parts(projected, memory.dtype)
        query, key, value = ops.unstack(by_head, 3, axis=-3)
        kept = forget_gate + stabilizer
        stabilizer = ops.maximum(kept, input_gate)
        input_gate, forget_gate = ops.exp(input_gate - stabilizer)[..., None], ops.exp(kept - stabilizer)[..., None]
        memory = forget_gate[..., None] * memory + (input_gate * value)[..., None] * key[..., None, :]
        normalizer = forget_gate * normalizer + input_gate * key
        read = ops.sum(memory * query[..., None, :], axis=-1)
        along = ops.sum(normalizer * query, axis=-1, keepdims=True)
        hidden = _normalized(read, along, stabilizer[..., None])
        output = ops.sigmoid(output_gate) * ops.reshape(hidden, ops.shape(output_gate))
        return ops.cast(output, projected.dtype), [memory, normalizer, stabilizer]

    def recur_chunk(self, projected, valid, states, weights):
        """As many steps as `projected` has: outputs `(steps, batch, units)`, and the states after the last."""
        effect, rest = self.begin_chunk(projected, valid, weights)
        return self.read_chunk(rest, states, weights), self.move_chunk(effect, states)

    def begin_chunk(self, projected, valid, weights):
        """What steps do to any states, and what reads them: all that needs no state."""
        dtype = self._state_dtype(self.declared_states()[0])
        # What is not finite in one step would spoil the steps before it, too, as a product is made of all of them.
        finite = ops.all(ops.isfinite(projected), axis=-1)
        projected = ops.where(finite[..., None], projected, ops.zeros_like(projected))
        spoils = ops.logical_not(finite if valid is None else ops.logical_or(finite, ops.logical_not(valid)))
        spoiled = ops.cumsum(ops.cast(spoils, "int32"), axis=0) > 0
        sound = ops.where(spoiled, ops.cast(float("nan"), dtype), ops.cast(1.0, dtype))[..., None]  # (steps, batch, 1)
        by_head, output_gate, *gates = self._parts(projected, dtype)
        query, key, value = ops.unstack(by_head, 3, axis=2)
        query, value = (ops.transpose(each, (1, 2, 0, 3)) for each in (query, value))  # (batch, heads, steps, d)
        key = ops.transpose(key, (1, 2, 3, 0))  # (batch, heads, d, steps)
        input_gate, forget_gate = (ops.transpose(gate, (1, 2, 0)) for gate in gates)  # (batch, heads, steps)
        if valid is not None:
            valid = ops.transpose(valid)[:, None]
            input_gate = ops.where(valid, input_gate, ops.cast(_NOTHING, dtype))
            forget_gate = ops.where(valid, forget_gate, ops.cast(0.0, dtype))
        total = ops.stop_gradient(ops.cumsum(forget_gate, axis=-1))
        highest = ops.stop_gradient(input_gate) - total
        highest = ops.max(_of_the_past(highest[..., None, :], _NOTHING), axis=-1)

        # What `read_chunk` says of units and gates is true here too. Units of no step are those of the start.
        unit = ops.where(highest > 0.5 * _NOTHING, total + highest, ops.cast(0.0, dtype))
        nothing = ops.zeros_like(unit[..., :1])
        change = forget_gate + (ops.concatenate([nothing, unit[..., :-1]], axis=-1) - unit)
        later = ops.flip(ops.concatenate([change[..., 1:], nothing], axis=-1), axis=-1)
        kept = input_gate - unit + ops.flip(ops.cumsum(later, axis=-1), axis=-1)
        above = ops.max(kept, axis=-1)
        share = ops.exp(kept - above[..., None])[..., None, :]
        value = ops.concatenate([value, ops.ones_like(value[..., :1])], axis=-1)
        memory, normalizer = ops.split(ops.matmul(key * share, value), [self.size], axis=-1)
        memory, normalizer = ops.swapaxes(memory, -1, -2), ops.squeeze(normalizer, axis=-1)
        # The stabilizer of what is new, also as it would have been at the start: there it compares with the old one.
        at_end, at_start = unit[..., -1] + above, above - ops.sum(change, axis=-1)
        effect = [ops.sum(forget_gate, axis=-1), at_start, at_end, memory, normalizer]
        effect = [each * ops.reshape(sound[-1], (-1, *(1,) * (len(each.shape) - 1))) for each in effect]
        return effect, [query, key, value, output_gate, input_gate, forget_gate, total, highest, sound]

    def move_chunk(self, effect, states):
        """The states after steps with that effect."""
        (total, at_start, at_end, *new), (*old, stabilizer) = effect, states
        highest = ops.maximum(stabilizer, at_start)
        kept, added = ops.exp(stabilizer - highest)[..., None], ops.exp(at_start - highest)[..., None]
        memory = kept[..., None] * old[0] + added[..., None] * new[0]
        stabilizer = ops.where(stabilizer > at_start, total + stabilizer, at_end)
        return [memory, kept * old[1] + added * new[1], stabilizer]

    def read_chunk(self, rest, states, weights):
        r"""The outputs of steps that begin with `states`.

        What step $t$ keeps of step $s$ has the weight $\exp(a_s + e_{s+1} + \dots + e_t)$ with $a_s = \log i'_s$ and
        $e_t = \log f'_t$. Products of queries and keys times these weights stand for the memory that the steps wrote.
        """
        query, key, value, output_gate, input_gate, forget_gate, total, highest, sound = rest
        memory, normalizer, start = states
        # Any unit serves to read, so that this one may be inexact. The gates relative to it are exact, and their
        # logarithms are not above zero but for rounding.
        unit = ops.stop_gradient(total + ops.maximum(highest, start[..., None]))
        before = ops.concatenate([start[..., None], unit[..., :-1]], axis=-1)
        change = ops.maximum(forget_gate + (before - unit), _LEAST)
        # Sums over some steps as differences of sums from the start on: those of the coarse parts are exact, and those
        # of the rests small.
        coarse = ops.stop_gradient(ops.round(change * _GRAIN) / _GRAIN)
        fine, coarse = ops.cumsum(change - coarse, axis=-1), ops.cumsum(coarse, axis=-1)
        fine_and_gate = fine - (input_gate - unit)
        kept = coarse[..., None] - coarse[..., None, :] + (fine[..., None] - fine_and_gate[..., None, :])
        weight = _of_the_past(ops.matmul(query, key), 0.0) * ops.exp(_of_the_past(kept, _NOTHING))
        memory = ops.concatenate([ops.swapaxes(memory, -1, -2), normalizer[..., None]], axis=-1)
        read = ops.exp(coarse + fine)[..., None] * ops.matmul(query, memory) + ops.matmul(weight, value)
        read, along = ops.split(read, [self.size], axis=-1)
        hidden = ops.transpose(_normalized(read, along, unit[..., None]), (2, 0, 1, 3))
        output = ops.sigmoid(output_gate) * ops.reshape(hidden, ops.shape(output_gate))
        return ops.cast(output * sound, self.compute_dtype)


def _of_the_past(values, other):
    """`values`, with `other` where the step of the last axis comes after that of the axis before it."""
    steps = ops.arange(ops.shape(values)[-1])
    return ops.where(steps[:, None] < steps[None], ops.cast(other, values.dtype), values)


def _normalized(read, along, stabilizer):
    return read * (1 / ops.maximum(ops.abs(along), ops.exp(-ops.clip(stabilizer, -_LARGEST, _LARGEST))))


MLSTM = layer_of(MLSTMCell)
