"""Files that appear under their name whole, or not at all."""

from __future__ import annotations

import os
import secrets
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from moue.errors import OutputError, UsageError, reason_of

if TYPE_CHECKING:
    from typing_extensions import Self


def part_path(folder: Path) -> Path:
    """A new hidden name in `folder`, for what is not finished yet."""
    return folder / f".moue-{secrets.token_hex(6)}.part"


def user_folder(variable: str, default: str) -> Path:
    """moue's folder among the user's own, as the XDG Base Directory Specification places it.

    Args:
        variable: `XDG_CACHE_HOME` or `XDG_CONFIG_HOME`; counts where it holds an absolute path.
        default: where else, such as `~/.cache`.

    Raises:
        OutputError: the user has no home.
    """
    given = os.environ.get(variable, "")
    root = given if os.path.isabs(given) else os.path.expanduser(default)
    if not os.path.isabs(root):
        raise OutputError(f"this user has no home folder; set {variable} to a folder")
    return Path(root) / "moue"


def check_file(path: Path) -> None:
    """Raises OutputError unless a file could be written, or written anew, at `path`."""
    check_name(path)
    if path.is_dir():
        raise OutputError(f"{path} is a folder; name a file")
    if path.exists() and not path.is_file():
        raise OutputError(f"{path} is not a regular file; name one")
    check_folder(path.parent)


def check_name(path: Path) -> None:
    """Raises OutputError where nothing can be called so: a name that is too long, say."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        pass
    except (OSError, ValueError) as error:
        raise OutputError(f"cannot write {path}: {reason_of(error)}; name another") from None


def check_folder(folder: Path) -> None:
    """Raises OutputError unless a file can be made in `folder`; tries, for permissions mislead."""
    check_name(folder)
    if not folder.is_dir():
        raise OutputError(f"there is no folder {folder}; make it first, or name another")
    part = part_path(folder)
    try:
        part.touch(exist_ok=False)
        part.unlink()
    except OSError as error:
        raise OutputError(
            f"cannot write in the folder {folder.absolute()}: {error.strerror}; name another"
        ) from None


def check_unread(option: str, path: Path, sources: Iterable[str | os.PathLike[str] | None]) -> None:
    """Raises UsageError where what an option says is to be written would overwrite what is read."""
    for source in sources:
        if source is not None and same_file(path, source):
            raise UsageError(f"{option} {path} is what is read; name another file")
        if source is not None and os.path.isdir(path) and same_file(path, Path(source).parent):
            raise UsageError(f"{option} {path} holds what is read, {source}; name another folder")


def same_file(output: Path, source: str | os.PathLike[str]) -> bool:
    """Whether writing `output` would overwrite `source`."""
    return os.path.exists(output) and os.path.exists(source) and output.samefile(source)


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A part file beside `path`, to write to; when the block ends well it takes that name, synced.

    Whatever the block raises, the part file goes and `path` stays as it was.

    Raises:
        OutputError: for any OSError, here or in the block.
    """
    part = part_path(path.parent)
    with disk_failures(path):
        try:
            part.touch(exist_ok=False)
            yield part
            sync(part)
            os.replace(part, path)
            sync(path.parent)
        finally:
            part.unlink(missing_ok=True)


@contextmanager
def disk_failures(path: Path) -> Iterator[None]:
    """Turns an OSError into the OutputError that says what it means for `path`."""
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"could not write {path}: {reason_of(error)}; it was left as it was"
        ) from error


class Closing(ABC):
    """What is closed at the end of the `with` block that it opens."""

    @abstractmethod
    def close(self) -> None: ...

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def sync(path: Path) -> None:
    """Puts a file's bytes, or a folder's names, on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
