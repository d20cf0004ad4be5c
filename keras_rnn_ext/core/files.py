"""Files that are whole, or not there."""

import contextlib
import os


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
