"""Between a vocabulary and Keras's own layers that make ids of strings. These need TensorFlow on every backend."""

import keras


def read_lookup(layer):
    """The arguments of a `Vocabulary` with the ids of one of Keras's layers. See `Vocabulary.of_lookup`."""
    if isinstance(layer, keras.layers.TextVectorization):
        config = layer.get_config()
        level, padding, unknown = "character" if config["split"] == "character" else "word", "", "[UNK]"
        wanted = {"standardize": (None,), "ngrams": (None,), "split": ("whitespace", "character")}
    elif isinstance(layer, keras.layers.StringLookup):
        config = layer.get_config()
        level, padding = "word", config["mask_token"]
        unknown = config["oov_token"] if config["num_oov_indices"] else None
        wanted = {"num_oov_indices": (0, 1), "invert": (False,)}
    else:
        raise TypeError(
            "Argument `layer` must be a keras.layers.StringLookup or keras.layers.TextVectorization. "
            f"Received: {layer!r} (of type {type(layer).__name__})"
        )
    for name, allowed in {**wanted, "output_mode": ("int",)}.items():
        if config[name] not in allowed:
            raise ValueError(
                f"Argument `layer` must have `{name}` {' or '.join(map(repr, allowed))}, or else texts would be read "
                f"in another way than by the layer. Received: {name}={config[name]!r}"
            )
    tokens = [str(token) for token in layer.get_vocabulary()]
    return {"tokens": tokens, "level": level, "unknown": unknown, "padding": padding}


def make_lookup(tokens, unknown, padding):
    """A `keras.layers.StringLookup` with the ids of a vocabulary. See `Vocabulary.lookup`."""
    special = [token for token in (padding, unknown) if token is not None]
    if list(tokens[: len(special)]) != special:
        raise ValueError(f"keras.layers.StringLookup has `padding` and `unknown` first. Received: tokens={tokens[:3]}")
    return keras.layers.StringLookup(
        vocabulary=list(tokens[len(special) :]),
        mask_token=padding,
        oov_token="[UNK]" if unknown is None else unknown,
        num_oov_indices=0 if unknown is None else 1,
    )
