"""Text from a trained model: the states go on from token to token, in one compiled loop."""

import numbers
import random
import weakref

import keras
import numpy as np

from keras_rnn_ext.core.compat import all_layers
from keras_rnn_ext.streaming.programs import BLOCK, fingerprint
from keras_rnn_ext.text.loop import FREE, OVER, Loop
from keras_rnn_ext.text.samplers import Beam, Greedy, Sampler, Temperature, TopK, TopP
from keras_rnn_ext.text.vocabulary import Vocabulary

SAMPLERS = {"greedy": Greedy, "temperature": Temperature, "top_k": TopK, "top_p": TopP, "beam": Beam}

# The loops of the models that are still in use.
_LOOPS: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()


def generate(
    model,
    prompt,
    length,
    sampler="temperature",
    seed=None,
    *,
    stop=(),
    exclude=(),
    vocabulary=None,
    from_logits=None,
    callback=None,
    every=16,
):
    """Lets a model write on from a prompt.

    The model reads the prompt and then its own words, token by token, and the states of its recurrent layers go on from
    one to the next. That is one loop, compiled at the first call and used again for any prompt and length. The number
    of steps that the model was trained on does not matter, nor whether it is stateful; the states that it carries stay
    as they are. A text depends on its prompt, its place among the prompts and the seed, not on the other prompts.

    Args:
        model: as for `step_model`: ids to logits or probabilities of the next token.
        prompt: a string, or the ids of one, or a list of strings or of ids; they may be of different lengths.
        length: how many tokens to add, an integer from 1.
        sampler: a `Sampler`, or `"greedy"`, `"temperature"`, `"top_k"`, `"top_p"` or `"beam"` for one with its
            defaults. Default `"temperature"`: by the model's own probabilities.
        seed: an integer from 0. The same seed gives the same text. Default None: drawn from Python's `random`, which
            `keras.utils.set_random_seed` sets.
        stop: the token, or tokens, strings or ids, that end a text; it is the last of the text then. Default: none.
        exclude: the token, or tokens, strings or ids, that must not be chosen, such as `"<unk>"`. Default: none. The
            vocabulary's padding, and the id 0 of an embedding with `mask_zero=True`, are never chosen.
        vocabulary: a `Vocabulary`. Default None: the one in the model.
        from_logits: whether the model gives logits and not probabilities. Default None: logits, unless its last
            layer is or has a softmax.
        callback: a function that gets each new piece of text as it is made: a string, or a list of strings, empty
            ones included, for a list of prompts; ids where the prompts are ids. With `Beam`, which knows its text
            only at the end, it is called once. Default None.
        every: how many tokens a piece has, from 1 to 256. Default 16.

    Returns:
        The prompt and what was added: a string, or a list of strings; where the prompts are ids, an int32 array or a
        list of arrays.

    Raises:
        TypeError: if `model` is no model, or a prompt neither a string nor ids.
        ValueError: naming the argument: a prompt is empty or has unknown tokens, there is no vocabulary for strings,
            a number is out of its range; or as for `step_model`, or if a layer looks at more than one step.

    >>> import keras
    >>> from keras_rnn_ext import MyDense, MyEmbedding, MyGRU
    >>> from keras_rnn_ext.text import Vocabulary, generate
    >>> words = Vocabulary.of_words("a rose is a rose is a rose")
    >>> model = keras.Sequential([words, MyEmbedding(5, 3), MyGRU(4, return_sequences=True), MyDense(5)])
    >>> _ = model(words.encode("a rose")[None])
    >>> text = generate(model, "a rose", 10, seed=1)
    >>> len(words.encode(text)), text == generate(model, "a rose", 10, seed=1)
    (12, True)
    """
    loop, sampler = _loop(model), _sampler(sampler)
    vocabulary = _vocabulary(model) if vocabulary is None else vocabulary
    prompts, show, is_list = _prompts(prompt, vocabulary)
    _integer("length", length, 1)
    _integer("every", every, 1, BLOCK)
    seed = random.randrange(2**32) if seed is None else _integer("seed", seed, 0)
    if vocabulary is not None and len(vocabulary) != loop.tokens:
        raise ValueError(
            f"Model {model.name!r} gives {loop.tokens} outputs a step, and its vocabulary has {len(vocabulary)} tokens."
        )
    if not all(ids.min() >= 0 and ids.max() < loop.tokens for ids in prompts):
        raise ValueError(f"Argument `prompt` must hold ids from 0 to {loop.tokens - 1}. Received: {prompt!r}")
    if loop.masks_zero and not all(ids.all() for ids in prompts):
        raise ValueError(
            "Argument `prompt` must hold no padding, which is the id 0 in this model. Prompts may be of different "
            f"lengths: give a list. Received: {prompt!r}"
        )
    texts = _Texts(prompts, length, _marked("stop", stop, vocabulary, loop.tokens), sampler)
    bias = _bias(exclude, vocabulary, loop)
    is_softmax = loop.step.is_softmax if from_logits is None else not from_logits
    pieces = _Pieces(callback, prompts, show, is_list)
    given, uniform = _given(prompts, length), _uniform(prompts, length, seed)
    size = every if callback is not None and sampler.width == 1 else BLOCK

    carry = loop.start([ids[0] for ids in prompts], sampler.width)
    for first in range(0, len(given), size):
        block = slice(first, first + size)
        tokens, origin, carry = loop.run(sampler, is_softmax, carry, given[block], uniform[block], texts.stops, bias)
        texts.add(tokens, origin)
        if callback is not None and sampler.width == 1:
            pieces.tell(texts.of(0))
        if tokens.shape[1] < len(given[block]):
            break
    best = texts.of(texts.best(keras.ops.convert_to_numpy(carry[1])))
    if callback is not None:
        pieces.tell(best)
    results = [show(ids) for ids in best]
    return results if is_list else results[0]


class _Texts:
    """What is written so far: `width` rows for each prompt."""

    def __init__(self, prompts, length, stops, sampler):
        self.prompts, self.length, self.stops, self.sampler = prompts, length, stops, sampler
        self.rows = np.zeros((len(prompts) * sampler.width, 0), "int32")

    def add(self, tokens, origin):
        """Takes the tokens `(rows, steps)` that were made, and the rows that they continue."""
        self.rows = np.concatenate([self.rows[origin], tokens], axis=1)

    def _chosen(self, prompt, place):
        """The chosen tokens of one text, up to the first one that ends it."""
        behind = len(self.prompts[prompt]) - 1
        chosen = self.rows[prompt * self.sampler.width + place, behind : behind + self.length]
        ends = np.flatnonzero(self.stops[chosen])
        return chosen[: ends[0] + 1] if len(ends) else chosen

    def of(self, places):
        """The ids of a text of each prompt, prompt included."""
        places = np.broadcast_to(places, len(self.prompts))
        return [np.concatenate([ids, self._chosen(row, places[row])]) for row, ids in enumerate(self.prompts)]

    def best(self, scores):
        """Which of its texts is the best, for each prompt."""
        lengths = [[len(self._chosen(row, place)) for place in range(scores.shape[1])] for row in range(len(scores))]
        return self.sampler.quality(scores, np.array(lengths)).argmax(axis=1)


class _Pieces:
    """Hands to the callback what has come since the last time."""

    def __init__(self, callback, prompts, show, is_list):
        self.callback, self.show, self.is_list = callback, show, is_list
        self.told = [len(show(ids)) for ids in prompts]

    def tell(self, texts):
        shown = [self.show(ids) for ids in texts]
        new = [text[told:] for text, told in zip(shown, self.told, strict=True)]
        self.told = [len(text) for text in shown]
        if any(map(len, new)):
            self.callback(new if self.is_list else new[0])


def _given(prompts, length):
    """What stands at the places from 1 on: `(steps, prompts)`, tokens, `FREE` or `OVER`."""
    given = np.full((max(map(len, prompts)) + length - 1, len(prompts)), OVER, "int32")
    for row, ids in enumerate(prompts):
        given[: len(ids) - 1, row] = ids[1:]
        given[len(ids) - 1 : len(ids) - 1 + length, row] = FREE
    return given


def _uniform(prompts, length, seed):
    """The random numbers `(steps, prompts)`: each prompt has a stream of its own, which starts at its end."""
    uniform = np.zeros((max(map(len, prompts)) + length - 1, len(prompts)), "float32")
    for row, ids in enumerate(prompts):
        drawn = np.random.default_rng([seed, row]).random(length, dtype="float32")
        uniform[len(ids) - 1 : len(ids) - 1 + length, row] = drawn
    return uniform


def _integer(name, value, least, most=None):
    if isinstance(value, numbers.Integral) and not isinstance(value, bool) and least <= value <= (most or value):
        return int(value)
    span = f"from {least}" if most is None else f"from {least} to {most}"
    raise ValueError(f"Argument `{name}` must be an integer {span}. Received: {name}={value!r}")


def _sampler(sampler):
    if isinstance(sampler, Sampler):
        return sampler
    if not isinstance(sampler, str) or sampler not in SAMPLERS:
        raise ValueError(f"Argument `sampler` must be a Sampler or one of {sorted(SAMPLERS)}. Received: {sampler!r}")
    return SAMPLERS[sampler]()


def _vocabulary(model):
    return next((layer for layer in all_layers(model) if isinstance(layer, Vocabulary)), None)


def _loop(model):
    loop = _LOOPS.get(model) if isinstance(model, keras.Model) else None
    if loop is None or loop.fingerprint != fingerprint(model):
        loop = _LOOPS[model] = Loop(model)
    return loop


def _prompts(prompt, vocabulary):
    """The ids of each prompt, how to show ids, and whether several prompts were given."""
    prompt = keras.ops.convert_to_numpy(prompt) if keras.ops.is_tensor(prompt) else prompt
    if not isinstance(prompt, (str, list, tuple, np.ndarray)):
        raise TypeError(f"Argument `prompt` must hold strings, or ids as integers. Received: {prompt!r}")
    # The ids of one prompt are numbers; several prompts are strings, arrays or lists.
    is_list = not isinstance(prompt, str) and len(prompt) > 0 and (isinstance(prompt[0], str) or np.ndim(prompt[0]) > 0)
    each = list(prompt) if is_list else [prompt]
    is_text = isinstance(each[0], str)
    if is_text and vocabulary is None:
        raise ValueError(
            "Argument `prompt` is text, and the model has no Vocabulary in it. Give `vocabulary`, or a prompt of ids. "
            f"Received: prompt={prompt!r}"
        )
    show = vocabulary.decode if is_text else (lambda ids: ids)
    return [_ids(one, vocabulary, is_text) for one in each], show, is_list


def _ids(prompt, vocabulary, is_text):
    ids = vocabulary.encode(prompt) if is_text else np.asarray(prompt)
    if ids.size == 0:
        raise ValueError(f"Argument `prompt` must hold at least one token. Received: {prompt!r}")
    if ids.ndim != 1 or not np.issubdtype(ids.dtype, np.integer):
        raise TypeError(f"Argument `prompt` must hold strings, or ids as integers. Received: {prompt!r}")
    return ids.astype("int32")


def _marked(name, tokens, vocabulary, count):
    """An array `(count,)` of booleans: the tokens that an argument names."""
    marked = np.zeros(count, bool)
    for token in [tokens] if isinstance(tokens, (str, numbers.Integral)) else tokens:
        place = token if isinstance(token, numbers.Integral) else _place(token, vocabulary)
        if not 0 <= place < count:
            raise ValueError(
                f"Argument `{name}` must hold tokens of the vocabulary, or ids from 0 to {count - 1}. "
                f"Received: {token!r}"
            )
        marked[place] = True
    return marked


def _place(token, vocabulary):
    """The id of a token given as a string; -1 if it is none."""
    parts = vocabulary.split(token) if vocabulary is not None and isinstance(token, str) else []
    return vocabulary.tokens.index(parts[0]) if len(parts) == 1 and parts[0] in vocabulary.tokens else -1


def _bias(exclude, vocabulary, loop):
    excluded = _marked("exclude", exclude, vocabulary, loop.tokens)
    excluded[0] |= loop.masks_zero or (vocabulary is not None and vocabulary.padding is not None)
    if excluded.all():
        raise ValueError(f"Argument `exclude` must leave at least one token. Received: exclude={exclude!r}")
    return np.where(excluded, -np.inf, 0.0).astype("float32")
