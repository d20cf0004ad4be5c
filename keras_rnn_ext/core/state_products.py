"""How the state enters a step of a gated cell: the product that is all there is between the states and `gate`.

Each of them owns the shape of `recurrent_kernel`, the product, the dropout mask and the way back, so that no cell
writes a gradient by hand. `values` below is what enters: the first state, or those that a product reads, side by side.
"""

import abc
import functools

from keras import ops

from keras_rnn_ext.core.dropout_products import gradient_through, product

# Up to so many units one product with a matrix that is zero beside its blocks is faster than one for each block.
MOST_DENSE = 256


class StateProduct(abc.ABC):
    """Abstract: a linear function of states, with weights.

    Args:
        reads: names of the states that enter, side by side. Default: the first state of the cell.
    """

    # The weights that it reads.
    names: tuple[str, ...] = ("recurrent_kernel",)

    # Whether it takes kernel and mask in parts, one for each gate.
    takes_parts = False

    def __init__(self, *reads):
        self.reads = reads

    def places(self, cell):
        """Which of the cell's states enter."""
        return [cell.state_names.index(name) for name in self.reads] or [0]

    def size(self, cell):
        """How wide what enters is: `units` for each state, unless the cell declares something else."""
        return sum(cell.state_sizes[place] for place in self.places(cell))

    @abc.abstractmethod
    def shape(self, cell):
        """The shape of `recurrent_kernel`."""

    @abc.abstractmethod
    def multiply(self, values, weights, noise):
        """The product `(..., batch, gates * units)` of values `(..., batch, size)`."""

    def ready(self, weights):
        """The weights as a loop reads them fastest."""
        return weights

    def transposed(self, weights):
        """What `back` reads of the weights: made once, before the loop."""
        return {name: ops.transpose(weights[name]) for name in self.names}

    @abc.abstractmethod
    def back(self, gradient, transposed, noise):
        """The gradient of the values from that of the product, for one step."""


class Dense(StateProduct):
    """A matrix: $h\\,U$ with $U$ of shape `(units, gates * units)`; with two states that enter $[y, z]\\,U$, and so on.

    A weight `recurrent_bias`, where a cell has one, is added.
    """

    takes_parts = True

    def shape(self, cell):
        return (self.size(cell), cell.recurrent_width)

    def multiply(self, values, weights, noise):
        multiplied = product(values, weights["recurrent_kernel"], noise)
        return multiplied + weights["recurrent_bias"] if "recurrent_bias" in weights else multiplied

    def transposed(self, weights):
        kernel = weights["recurrent_kernel"]
        return [ops.transpose(part) for part in kernel] if isinstance(kernel, list) else ops.transpose(kernel)

    def back(self, gradient, transposed, noise):
        return gradient_through(gradient, transposed, noise)


class Diagonal(StateProduct):
    """A vector for each gate, `(gates, units)`: $u \\odot h$. Each unit sees itself alone."""

    def shape(self, cell):
        return (cell.recurrent_width // cell.units, cell.units)

    def multiply(self, values, weights, noise):
        values, vectors = _masked(values, noise), ops.unstack(weights["recurrent_kernel"], axis=0)
        parts = [values * vector for vector in vectors]
        return parts[0] if len(parts) == 1 else ops.concatenate(parts, axis=-1)

    def transposed(self, weights):
        return ops.unstack(weights["recurrent_kernel"], axis=0)

    def back(self, gradient, transposed, noise):
        parts = ops.split(gradient, len(transposed), axis=-1) if len(transposed) > 1 else [gradient]
        through = [part * vector for part, vector in zip(parts, transposed, strict=True)]
        return _masked(functools.reduce(ops.add, through), noise)


class Heads(StateProduct):
    """Blocks on a diagonal: the units of a head see those of the same head alone.

    `recurrent_kernel` is `(heads, units / heads, gates * units / heads)`, in each head gate by gate.

    Args:
        count: name of the cell's argument that is the number of heads.
        reads: as for every product.
    """

    def __init__(self, count, *reads):
        super().__init__(*reads)
        self._count = count

    def shape(self, cell):
        heads = getattr(cell, self._count)
        return (heads, cell.units // heads, cell.recurrent_width // heads)

    def multiply(self, values, weights, noise):
        kernel = weights["recurrent_kernel"]
        if len(kernel.shape) == 2:
            return product(values, kernel, noise)
        return _by_head(_masked(values, noise), kernel, 1, kernel.shape[2] // kernel.shape[1])

    def ready(self, weights):
        kernel = weights["recurrent_kernel"]
        is_small = kernel.shape[0] * kernel.shape[1] <= MOST_DENSE
        return {**weights, "recurrent_kernel": _dense(kernel)} if is_small else weights

    def transposed(self, weights):
        kernel = weights["recurrent_kernel"]
        return ops.transpose(kernel, (1, 0) if len(kernel.shape) == 2 else (0, 2, 1))

    def back(self, gradient, transposed, noise):
        if len(transposed.shape) == 2:
            return gradient_through(gradient, transposed, noise)
        return _masked(_by_head(gradient, transposed, transposed.shape[1] // transposed.shape[2], 1), noise)


class LowRank(StateProduct):
    """A matrix of low rank: $(h\\,U)\\,V$ with `recurrent_kernel` $U$ `(units, rank)`.

    Args:
        rank: name of the cell's argument that is the rank.
        second: name of the cell's weight $V$ `(rank, gates * units)`, which the cell declares.
        reads: as for every product.
    """

    def __init__(self, rank, second, *reads):
        super().__init__(*reads)
        self._rank = rank
        self.names = ("recurrent_kernel", second)

    def shape(self, cell):
        return (self.size(cell), getattr(cell, self._rank))

    def multiply(self, values, weights, noise):
        first, second = (weights[name] for name in self.names)
        return product(product(values, first, noise), second)

    def back(self, gradient, transposed, noise):
        first, second = (transposed[name] for name in self.names)
        return _masked(product(product(gradient, second), first), noise)


def _masked(values, noise):
    return values if noise is None else values * noise


def _dense(kernel):
    """The blocks `(heads, size, gates * size)` on the diagonal of a matrix `(units, gates * units)`, gate by gate."""
    heads, size, columns = kernel.shape
    blocks = ops.reshape(kernel, (heads, size, columns // size, 1, size))
    own = ops.reshape(ops.eye(heads, dtype=kernel.dtype), (heads, 1, 1, heads, 1))
    return ops.reshape(blocks * own, (heads * size, heads * columns))


def _by_head(values, kernel, gates, new_gates):
    """`(..., gates * units)` times the blocks `(heads, gates * size, new_gates * size)`: `(..., new_gates * units)`."""
    heads, width, new_width = kernel.shape
    rows = ops.reshape(values, (-1, gates, heads, width // gates))
    rows = ops.reshape(ops.transpose(rows, (2, 0, 1, 3)), (heads, -1, width))
    made = ops.reshape(ops.matmul(rows, kernel), (heads, -1, new_gates, new_width // new_gates))
    return ops.reshape(ops.transpose(made, (1, 2, 0, 3)), (*ops.shape(values)[:-1], heads * new_width))
