"""Files that are whole, or not there."""

import contextlib
import errno
import os
import stat
import zipfile

import numpy as np

_KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}


def open_file(path):
    """Opens a file for reading, as bytes.

    Raises:
        TypeError: if `path` is no path.
        OSError: if there is no such file, or it is a folder, a pipe, whose end may never come, or a device, which may
            have none.
    """
    try:
        path = os.fspath(path)
    except TypeError:
        raise TypeError(
            f"Argument `path` must be the path of a file. Received: {path!r} (type {type(path).__name__})"
        ) from None
    try:
        return open(path, "rb", opener=_opened)
    except ValueError as error:
        # A name with a NUL in it.
        raise OSError(errno.EINVAL, str(error), path) from error


def _opened(path, flags):
    # A pipe without a writer would be waited for; a file does not care.
    number = os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
    kind = _KINDS.get(stat.S_IFMT(os.fstat(number).st_mode))
    if kind is None:
        return number
    os.close(number)
    raise OSError(errno.EINVAL, f"it is {kind}; copy what it holds into a file", path)


@contextlib.contextmanager
def open_arrays(path):
    """Opens an archive of NumPy, which is held against its checksums where it is read.

    Raises:
        TypeError, OSError: as `open_file`.
        ValueError: if it is something else.
    """
    with open_file(path) as file:
        # NumPy takes anything else for a pickle, and says how to load one.
        if file.read(2) != b"PK":
            raise ValueError("it is no NumPy archive")
        file.seek(0)
        with np.load(file, allow_pickle=False) as archive:
            yield archive


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
        TypeError: if `path` is no path.
        FileNotFoundError: if there is none.
        ValueError: if it is no such archive, or damaged; names the first damaged part.
    """
    try:
        with open_file(path) as file, zipfile.ZipFile(file) as archive:
            damaged = archive.testzip()
    except (FileNotFoundError, TypeError):
        raise
    except Exception as error:
        raise ValueError(
            f"Argument `path` must be a `.keras` file or another zip archive. Received: {os.fspath(path)!r}, which is "
            f"damaged or something else: {error}"
        ) from error
    if damaged is not None:
        raise ValueError(
            f"Argument `path` must be a whole file. Received: {os.fspath(path)!r}, of which {damaged!r} is damaged."
        )
