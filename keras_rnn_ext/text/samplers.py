"""How the next token is chosen: a base class, and a small class for each way.

A sampler works inside the compiled loop of `generate`. It is made of `keras.ops` and draws no random numbers itself:
it gets one number from 0 to 1 for each prompt and step. They follow from the seed, on every backend the same.
"""

import abc
import dataclasses
import numbers

from keras import ops


class Sampler(abc.ABC):
    """Abstract: how the next token is chosen from the model's logits.

    A sampler of your own is a frozen dataclass with `choose`. Samplers that are equal share a compiled program.
    """

    @property
    def width(self):
        """How many texts are followed side by side for each prompt: 1."""
        return 1

    @abc.abstractmethod
    def choose(self, logits, uniform, scores, ended):
        """The next tokens.

        Args:
            logits: float32 tensor `(prompts, width, tokens)`; minus infinity where a token must not come.
            uniform: float32 tensor `(prompts,)`, random numbers in [0, 1).
            scores: float32 tensor `(prompts, width)`, what the step before gave; at the start 0 for the first text
                of a prompt and minus infinity for the others.
            ended: boolean tensor `(prompts, width)`, whether a text has come to its end.

        Returns:
            `(tokens, parents, scores)`: int32 tensors `(prompts, width)`, the tokens and the numbers, from 0 to
            `width - 1`, of the texts that they continue; and the new scores.
        """

    def quality(self, scores, lengths):
        """The number by which the best text of a prompt is taken.

        Args:
            scores: array `(prompts, width)`, what the last step gave.
            lengths: integer array `(prompts, width)`, how many tokens of each text were chosen.

        Returns:
            Array `(prompts, width)`.
        """
        return scores


def _check(sampler, name, kind, span, holds):
    value = getattr(sampler, name)
    if isinstance(value, bool) or not isinstance(value, kind) or not holds(value):
        noun = "an integer" if kind is numbers.Integral else "a number"
        raise ValueError(
            f"Argument `{name}` of {type(sampler).__name__} must be {noun} {span}. Received: {name}={value!r}"
        )


@dataclasses.dataclass(frozen=True)
class Greedy(Sampler):
    """Always the most probable token.

    >>> from keras_rnn_ext.text import Greedy
    >>> Greedy()
    Greedy()
    """

    def choose(self, logits, uniform, scores, ended):
        tokens = ops.cast(ops.argmax(logits, axis=-1), "int32")
        return tokens, ops.zeros_like(tokens), scores


class Drawing(Sampler):
    """Abstract: draws from the softmax of `logits / temperature`, among those that `candidates` leaves.

    A subclass is a frozen dataclass with a field `temperature`.
    """

    temperature: float

    def __post_init__(self):
        _check(self, "temperature", numbers.Real, "from 1e-6 to 1e6", lambda value: 1e-6 <= value <= 1e6)

    @abc.abstractmethod
    def candidates(self, logits):
        """Which tokens can come.

        Args:
            logits: float32 tensor `(prompts, 1, tokens)`, divided by the temperature.

        Returns:
            `(logits, tokens)`: the logits `(prompts, 1, candidates)`, minus infinity for what cannot come, and the
            int32 tokens that they belong to, or None where these are 0, 1, 2 and so on.
        """

    def choose(self, logits, uniform, scores, ended):
        values, tokens = self.candidates(logits / self.temperature)
        places = _draw(values, uniform)
        if tokens is not None:
            places = ops.take_along_axis(tokens, places[..., None], axis=-1)[..., 0]
        return places, ops.zeros_like(places), scores


def _draw(values, uniform):
    """Places drawn from the softmax of `values (prompts, 1, places)`, by the inverse of its distribution function."""
    weights = ops.exp(values - ops.max(values, axis=-1, keepdims=True))
    cumulative = ops.cumsum(weights, axis=-1)
    reached = ops.logical_and(cumulative > uniform[:, None, None] * cumulative[..., -1:], weights > 0)
    # Rounding may reach nothing: then it is the most probable place, whose weight is 1.
    reached = ops.where(ops.any(reached, axis=-1, keepdims=True), reached, weights >= 1)
    return ops.cast(ops.argmax(ops.cast(reached, "int32"), axis=-1), "int32")


@dataclasses.dataclass(frozen=True)
class Temperature(Drawing):
    r"""Draws a token with the probabilities \(\mathrm{softmax}(z / \tau)\) of the logits \(z\).

    Args:
        temperature: \(\tau\), a number from 1e-6 to 1e6. Below 1 the text is safer, above 1 wilder. Default 1.0.

    Raises:
        ValueError: if it is no such number.

    >>> from keras_rnn_ext.text import Temperature
    >>> Temperature(0.5)
    Temperature(temperature=0.5)
    """

    temperature: float = 1.0

    def candidates(self, logits):
        return logits, None


@dataclasses.dataclass(frozen=True)
class TopK(Drawing):
    """Draws one of the `k` most probable tokens.

    Args:
        k: how many, an integer from 1; all if there are fewer. Default 10.
        temperature: as for `Temperature`. Default 1.0.

    Raises:
        ValueError: if an argument is no such number.

    Source:
        Fan, Lewis, Dauphin 2018, Hierarchical neural story generation, arXiv 1805.04833, section 5.3.

    >>> from keras_rnn_ext.text import TopK
    >>> TopK(5, temperature=0.8)
    TopK(k=5, temperature=0.8)
    """

    k: int = 10
    temperature: float = 1.0

    def __post_init__(self):
        super().__post_init__()
        _check(self, "k", numbers.Integral, "from 1", lambda value: value >= 1)

    def candidates(self, logits):
        return _sorted(logits, min(self.k, logits.shape[-1]))


@dataclasses.dataclass(frozen=True)
class TopP(Drawing):
    """Draws one of the fewest most probable tokens that have the probability `p` together.

    Args:
        p: a number above 0 and up to 1. Default 0.9.
        temperature: as for `Temperature`; it is applied before the tokens are counted. Default 1.0.

    Raises:
        ValueError: if an argument is no such number.

    Source:
        Holtzman, Buys, Du, Forbes, Choi 2020, The curious case of neural text degeneration, arXiv 1904.09751,
        equations 2 and 3.

    >>> from keras_rnn_ext.text import TopP
    >>> TopP(0.95)
    TopP(p=0.95, temperature=1.0)
    """

    p: float = 0.9
    temperature: float = 1.0

    def __post_init__(self):
        super().__post_init__()
        _check(self, "p", numbers.Real, "above 0 and up to 1", lambda value: 0 < value <= 1)

    def candidates(self, logits):
        values, tokens = _sorted(logits, logits.shape[-1])
        probabilities = ops.softmax(values, axis=-1)
        before = ops.cumsum(probabilities, axis=-1) - probabilities
        return ops.where(before < self.p, values, -float("inf")), tokens


def _sorted(logits, count):
    values, tokens = ops.top_k(logits, count, sorted=True)
    return values, ops.cast(tokens, "int32")


@dataclasses.dataclass(frozen=True)
class Beam(Sampler):
    r"""Follows the `beams` most probable beginnings of a text, and gives the best text found.

    At each step, of all beginnings followed and all tokens, the `beams` pairs with the largest sum of log-probabilities
    stay. In the end the text with the largest \(\sum_t \log p_t \,/\, n^{a}\) is taken, with \(n\) the number of its
    chosen tokens and \(a\) the `length_power`. Nothing is drawn: the seed has no effect.

    Args:
        beams: how many, an integer from 1; 1 is `Greedy`. Default 5.
        length_power: \(a\), a number from 0: 0 favours texts that end early, 1 takes the mean. Default 0.0.

    Raises:
        ValueError: if an argument is no such number.

    Source:
        Sutskever, Vinyals, Le 2014, Sequence to sequence learning with neural networks, arXiv 1409.3215, section 3.2.
        `length_power` is not in it.

    >>> from keras_rnn_ext.text import Beam
    >>> Beam(3).width
    3
    """

    beams: int = 5
    length_power: float = 0.0

    def __post_init__(self):
        _check(self, "beams", numbers.Integral, "from 1", lambda value: value >= 1)
        _check(self, "length_power", numbers.Real, "from 0 to 100", lambda value: 0 <= value <= 100)

    @property
    def width(self):
        return self.beams

    def choose(self, logits, uniform, scores, ended):
        count = logits.shape[-1]
        # A text that has ended goes on in one way only, at no cost.
        only_first = ops.where(ops.arange(count) == 0, 0.0, -float("inf"))
        steps = ops.where(ended[..., None], only_first, ops.log_softmax(logits, axis=-1))
        totals = ops.reshape(scores[..., None] + steps, (-1, self.beams * count))
        best, places = ops.top_k(totals, self.beams, sorted=True)
        places = ops.cast(places, "int32")
        return places % count, places // count, best

    def quality(self, scores, lengths):
        return scores / lengths.clip(1) ** self.length_power
