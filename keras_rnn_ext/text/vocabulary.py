"""Which id stands for which token: words or characters. A layer, so that it is saved with the model."""

import collections

import keras
import numpy as np

from keras_rnn_ext.core.compat import Untracked
from keras_rnn_ext.text.lookup import make_lookup, read_lookup


@keras.saving.register_keras_serializable(package="keras_rnn_ext")
class Vocabulary(keras.layers.Layer):
    """Turns text into ids and ids into text, and goes with the model into its file.

    As a layer it gives back the ids that it gets. Put it before the embedding: then `load_model` brings it back, and
    `generate` finds it and needs nothing else.

    At the level `"word"`, words are what white space separates, and the end of a line is a word of its own, as in
    the language-model literature. At the level `"character"`, each code point is a token. Nothing else is done to a
    text: no lower case, no punctuation cut off.

    Args:
        tokens: the tokens, each once, in the order of their ids. At the level `"character"` each is one character,
            except for `unknown` and `padding`.
        level: `"word"` or `"character"`. Default `"word"`.
        unknown: the one of `tokens` that stands for all that are not among them. Default None: such a token is an
            error.
        line_end: the one of `tokens` that stands for the end of a line at the level `"word"`. Default None: the end
            of a line is white space like any other.
        padding: the token with the id 0, which no text has, for an embedding with `mask_zero=True`. Default None.
        **kwargs: `name` and the other arguments of every Keras layer.

    Call arguments:
        ids: tensor of any shape.

    Returns:
        `ids`.

    Raises:
        TypeError: if `tokens` are no strings.
        ValueError: if tokens come twice, are no single characters or words, or the special ones are not among them.

    >>> from keras_rnn_ext.text import Vocabulary
    >>> vocabulary = Vocabulary.of_words("the cat sat\\nthe dog sat\\n")
    >>> vocabulary.tokens
    ('<unk>', '<eos>', 'sat', 'the', 'cat', 'dog')
    >>> vocabulary.encode("the dog ran")
    array([3, 5, 0], dtype=int32)
    >>> vocabulary.decode([3, 4, 2, 1, 3])
    'the cat sat\\nthe'
    """

    def __init__(self, tokens, level="word", unknown=None, line_end=None, padding=None, **kwargs):
        super().__init__(**kwargs)
        if level not in ("word", "character"):
            raise ValueError(f"Argument `level` must be 'word' or 'character'. Received: level={level!r}")
        self.tokens, self.level = tuple(tokens), level
        self.unknown, self.line_end, self.padding = unknown, line_end, padding
        self._check()
        self._ids = Untracked({token: place for place, token in enumerate(self.tokens)})
        # Ids are no numbers to be rounded to the compute dtype.
        self.autocast = False
        self.supports_masking = True

    def _check(self):
        odd = [token for token in self.tokens if not isinstance(token, str)]
        if odd or not self.tokens:
            received = f"{odd[0]!r} (of type {type(odd[0]).__name__})" if odd else "none"
            raise (TypeError if odd else ValueError)(f"Argument `tokens` must hold strings. Received: {received}")
        twice = [token for token, count in collections.Counter(self.tokens).items() if count > 1]
        if twice:
            raise ValueError(f"Argument `tokens` must hold each token once. Received more than once: {_some(twice)}")
        for name in ("unknown", "line_end"):
            token = getattr(self, name)
            if token is not None and token not in self.tokens:
                raise ValueError(f"Argument `{name}` must be one of `tokens`. Received: {name}={token!r}")
        if self.padding is not None and self.tokens[0] != self.padding:
            raise ValueError(
                f"Argument `padding` must be the first of `tokens`. Received: padding={self.padding!r}, the first of "
                f"`tokens` is {self.tokens[0]!r}"
            )
        if self.level == "character" and self.line_end is not None:
            raise ValueError(
                "Argument `line_end` is for words: among characters, the end of a line is the character '\\n'. "
                f"Received: line_end={self.line_end!r}"
            )
        plain = [token for token in self.tokens if token not in (self.unknown, self.padding)]
        if self.level == "character":
            wrong, kind = [token for token in plain if len(token) != 1], "single characters"
        else:
            wrong, kind = [token for token in plain if token.split() != [token]], "words without white space"
        if wrong:
            raise ValueError(
                f"Argument `tokens`, at the level {self.level!r}, must hold {kind}, except for `unknown` and "
                f"`padding`. Received: {_some(wrong)}"
            )

    # Made from text, and from Keras's own layers

    @classmethod
    def of_words(cls, text, size=None, unknown="<unk>", line_end="<eos>", padding=None, **kwargs):
        """The words of a text: the special ones first, then by how often they come; equals in code-point order.

        Args:
            text: the training text.
            size: how many tokens to keep, special ones included, an integer. Default None: all.
            unknown, line_end, padding: as for the class, or None; those not None are added to the words.
                `unknown` stands first, behind `padding`. Default `"<unk>"`, `"<eos>"`, None.
            **kwargs: `name` and the other arguments of every Keras layer.

        Returns:
            A `Vocabulary`.

        Raises:
            ValueError: if the text has no words, or `size` is too small for a word besides the special ones.
        """
        counts = collections.Counter(_words(text, line_end))
        if not counts:
            raise ValueError("Argument `text` must hold at least one word. Received: a text without words")
        special = [token for token in (padding, unknown) if token is not None]
        ends = [] if line_end is None else [line_end]
        least = len(special) + len(ends) + 1
        if size is not None and size < least:
            raise ValueError(f"Argument `size` must leave room for a word: {least} or more. Received: size={size!r}")
        words = sorted(counts.keys() - {*special, *ends}, key=lambda word: (-counts[word], word))
        kept = words if size is None else words[: size - least + 1]
        ordered = sorted([*kept, *ends], key=lambda word: (-counts[word], word))
        return cls([*special, *ordered], "word", unknown, line_end, padding, **kwargs)

    @classmethod
    def of_characters(cls, text, unknown=None, padding=None, **kwargs):
        """The characters of a text in code-point order, behind the special ones.

        Args:
            text: the training text.
            unknown, padding: as for the class, or None; those not None are added to the characters. Default None.
            **kwargs: `name` and the other arguments of every Keras layer.

        Returns:
            A `Vocabulary`.

        Raises:
            ValueError: if the text is empty.
        """
        special = [token for token in (padding, unknown) if token is not None]
        tokens = sorted(set(text) - set(special))
        if not tokens:
            raise ValueError("Argument `text` must hold at least one character. Received: an empty text")
        return cls([*special, *tokens], "character", unknown, None, padding, **kwargs)

    @classmethod
    def of_lookup(cls, layer, line_end=None, **kwargs):
        """The vocabulary of one of Keras's layers that make ids of strings, with the same ids.

        Args:
            layer: an adapted `keras.layers.StringLookup`, which looks up words, or `keras.layers.TextVectorization`
                with `standardize=None` that splits at white space or into characters.
            line_end: as for the class. Default None.
            **kwargs: `name` and the other arguments of every Keras layer.

        Returns:
            A `Vocabulary`.

        Raises:
            TypeError: if `layer` is no such layer.
            ValueError: if it changes the text or splits it in another way, has no ids as output, or several tokens
                for what is unknown.
        """
        return cls(**read_lookup(layer), line_end=line_end, **kwargs)

    def lookup(self):
        """One of Keras's own layers with the same ids, for a `tf.data` pipeline.

        Returns:
            A `keras.layers.StringLookup`. It looks up tokens; to split a text is another layer's work.

        Raises:
            ValueError: if `unknown` is not the first of the tokens, or the first behind `padding`.
        """
        return make_lookup(self.tokens, self.unknown, self.padding)

    # To and fro

    def __len__(self):
        return len(self.tokens)

    def split(self, text):
        """The tokens of a text, as a list of strings, known or not."""
        return list(_words(text, self.line_end) if self.level == "word" else text)

    def encode(self, text):
        """The ids of a text.

        Args:
            text: a string.

        Returns:
            An int32 array `(tokens,)`.

        Raises:
            TypeError: if `text` is no string.
            ValueError: naming the tokens that the vocabulary lacks, if it has no `unknown`.
        """
        if not isinstance(text, str):
            raise TypeError(f"Argument `text` must be a string. Received: {text!r} (of type {type(text).__name__})")
        ids, tokens = self._ids.value, self.split(text)
        if self.unknown is None:
            missing = [token for token in dict.fromkeys(tokens) if token not in ids]
            if missing:
                raise ValueError(
                    f"The text has tokens that the vocabulary lacks: {_some(missing)}. Leave them out, or make the "
                    "vocabulary with a token for what is `unknown`."
                )
        return np.array([ids.get(token, ids.get(self.unknown)) for token in tokens], "int32")

    def decode(self, ids):
        """The text of ids; padding is left out.

        Args:
            ids: integers, an array or list of one dimension.

        Returns:
            A string: characters side by side, words with a space between them and line ends as line ends.

        Raises:
            ValueError: if there are more dimensions, or an id is none of the vocabulary's.
        """
        ids = np.asarray(ids)
        if ids.ndim != 1 or (ids.size and not (ids.min() >= 0 and ids.max() < len(self))):
            received = f"a shape of {ids.shape}" if ids.ndim != 1 else f"ids from {ids.min()} to {ids.max()}"
            raise ValueError(
                f"Argument `ids` must have one dimension and hold ids from 0 to {len(self) - 1}. Received: {received}"
            )
        tokens = [self.tokens[place] for place in ids if self.padding is None or place != 0]
        if self.level == "character":
            return "".join(tokens)
        lines = [[]]
        for token in tokens:
            if self.line_end is not None and token == self.line_end:
                lines.append([])
            else:
                lines[-1].append(token)
        return "\n".join(map(" ".join, lines))

    # The layer

    def call(self, ids):
        return ids

    def compute_output_spec(self, ids):
        return keras.KerasTensor(ids.shape, dtype=ids.dtype)

    def get_config(self):
        own = {"tokens": list(self.tokens)}
        own |= {name: getattr(self, name) for name in ("level", "unknown", "line_end", "padding")}
        return {**super().get_config(), **own}


def _words(text, line_end):
    lines = text.split("\n")
    for place, line in enumerate(lines):
        yield from line.split()
        if line_end is not None and place < len(lines) - 1:
            yield line_end


def _some(tokens, most=10):
    """The first of many tokens, for an error."""
    shown = ", ".join(repr(token) for token in tokens[:most])
    return shown if len(tokens) <= most else f"{shown} and {len(tokens) - most} more"
