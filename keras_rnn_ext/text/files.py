"""Text from files: plain or gzip, with errors that say what is wrong with the file."""

import contextlib
import gzip
import zlib

from keras_rnn_ext.core.files import open_file


def read_text(path, minimum=1):
    """The text of a file in UTF-8, plain or gzip, with `\\n` at the line ends.

    Args:
        path: the file.
        minimum: how many characters it must have besides white space at both ends. Default 1.

    Returns:
        A string.

    Raises:
        TypeError: if `path` is no path.
        ValueError: naming the file, if it cannot be read, is a folder, pipe or device, is a damaged or truncated gzip
            file, is not UTF-8, holds NUL bytes, or has too few characters.

    The text is read into memory as a whole, however long its lines are. A gzip file of a stranger may unpack to a
    thousand times its size.

    >>> import pathlib, tempfile
    >>> from keras_rnn_ext.text import read_text
    >>> path = pathlib.Path(tempfile.mkdtemp(), "text.txt")
    >>> _ = path.write_text("one\\ntwo\\n")
    >>> read_text(path)
    'one\\ntwo\\n'
    """
    with open_bytes(path) as (lines, _):
        raw = b"".join(lines)
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"expected UTF-8, got other bytes in {str(path)!r}. Convert it first. The first one is "
            f"0x{raw[error.start]:02x} in line {line}."
        ) from error
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise ValueError(
            f"expected text, got NUL bytes in {str(path)!r}, as binary files and UTF-16 have them. Convert it to UTF-8 "
            f"first. The first one is in line {line}."
        )
    length = len(text.strip())
    if length < minimum:
        unit = "character" if minimum == 1 else "characters"
        raise ValueError(f"expected at least {minimum} {unit}, got {length}. Give a longer text. File: {str(path)!r}.")
    return text.replace("\r\n", "\n").replace("\r", "\n")


@contextlib.contextmanager
def open_bytes(path):
    """Opens a file, plain or gzip, for reading line by line.

    Args:
        path: the file.

    Yields:
        `(lines, raw)`: an iterator of lines as bytes, and the file itself, whose `tell()` says how far it is read.

    Raises:
        TypeError: if `path` is no path.
        ValueError: naming the file, if it cannot be opened or read, or is a damaged or truncated gzip file.
    """
    try:
        with open_file(path) as raw:
            is_gzip = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            if is_gzip:
                with gzip.open(raw) as lines:
                    yield lines, raw
            else:
                yield raw, raw
    except EOFError as error:
        raise ValueError(
            f"expected a whole gzip file, got {str(path)!r}, which is truncated. Copy or download it again."
        ) from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(
            f"expected a whole gzip file, got {str(path)!r}, which is damaged ({error}). Copy or download it again."
        ) from error
    except OSError as error:
        raise ValueError(f"expected a readable file, got {str(path)!r}: {error.strerror or error}.") from error
