"""Files that are whole, or not there."""

import contextlib
import os
import zipfile


def write_whole(path, write):
    """Calls `write(file)` with a binary file beside `path`; only a finished one takes the place of an older one.

    What fails, such as a full disk, leaves the older file as it is and nothing beside it.
    """
    path = os.fspath(path)
    partial = f"{path}.partial"
    try:
        with open(partial, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.remove(partial)
        raise
    # The new name, too, shall outlive a loss of power; not every system can.
    with contextlib.suppress(OSError):
        folder = os.open(os.path.dirname(path) or ".", os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def verify_file(path):
    """Holds every part of a `.keras` file, or of another zip archive, against its checksum.

    `keras.models.load_model` and `model.load_weights` read weights without looking at checksums: a few bytes that a
    disk or a download changed load as other numbers, without a word. Call this before, where a file was far away:

    >>> import tempfile
    >>> import keras
    >>> from keras_rnn_ext import MyGRU, verify_file
    >>> path = tempfile.mkdtemp() + "/model.keras"
    >>> keras.Sequential([keras.Input((None, 3)), MyGRU(4)]).save(path)
    >>> verify_file(path)
    >>> model = keras.models.load_model(path)

    Files of NumPy (`.npz`), such as those of `Checkpoint` and `Stream.save`, which are checked whenever they are read,
    can be verified too. A `.weights.h5` file has no checksums; save `.keras` files where that matters.

    Args:
        path: of the file.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: if it is no such archive, or damaged; names the first damaged part.
    """
    path = os.fspath(path)
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except FileNotFoundError:
        raise
    except Exception as error:
        raise ValueError(
            f"Argument `path` must be a `.keras` file or another zip archive. Received: {path!r}, which is damaged or "
            f"something else: {error}"
        ) from error
    if damaged is not None:
        raise ValueError(f"Argument `path` must be a whole file. Received: {path!r}, of which {damaged!r} is damaged.")
