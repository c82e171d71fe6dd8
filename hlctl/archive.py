"""The folder of an archive: a day is `date=YYYY-MM-DD/` with a file of cells and a manifest (docs/archive.md).

A final name appears only when all that it names is on the disk: files are written under a hidden name beside it,
flushed and renamed, the manifest last.
"""

import fcntl
import hashlib
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from hlctl import __version__
from hlctl.cellfile import COLUMNS, NAMES, Written
from hlctl.errors import ArchiveError, BusyError

MANIFEST = "_manifest.json"
"""Readers of a folder of Parquet files pass over names that begin with an underscore or a dot."""

SCHEMA_VERSION = 1
_PIECE = 2**20


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a manifest says that is compared later."""

    day: date
    kind: str  # parquet, csv
    rows: int
    minutes: int
    bytes: int  # of the file
    sha256: str  # of the file
    content_sha256: str  # of the cells as lines of CSV, whatever the format
    previous: tuple[date, str] | None  # the day before it in the archive then, and the SHA-256 of that manifest

    @property
    def file(self) -> str:
        """Return the name of the day's file."""
        return NAMES[self.kind]


def folder_of(directory: Path, day: date) -> Path:
    """Return the folder of a day."""
    return directory / f"date={day}"


def file_of(directory: Path, manifest: Manifest) -> Path:
    """Return where a day's file is."""
    return folder_of(directory, manifest.day) / manifest.file


def list_days(directory: Path) -> list[date]:
    """Return the days that have a folder with something in it, oldest first; raises ArchiveError."""
    return sorted(day for day in _look(directory).values() if day)


def list_no_days(directory: Path) -> list[str]:
    """Return the folders with something in them that are named like a day and are none; raises ArchiveError."""
    return sorted(name for name, day in _look(directory).items() if not day)


def _look(directory: Path) -> dict[str, date | None]:
    """Return the folders with something in them that are named like a day, and which day it is."""
    found: dict[str, date | None] = {}
    with _explained(directory):
        for folder in directory.iterdir():
            if re.fullmatch(r"date=\d{4}-\d\d-\d\d", folder.name, re.ASCII) and _has_something(folder):
                found[folder.name] = None
                with suppress(ValueError):  # 2026-02-30 is no day, and no folder of ours
                    day = date.fromisoformat(folder.name[5:])
                    found[folder.name] = day if day < date.max else None  # the last has no day after it, where it ends
    return found


def _has_something(folder: Path) -> bool:
    """Tell whether a folder has more than drafts; if it cannot be looked into, whoever reads that day hears why."""
    try:
        return any(not file.name.startswith(".") for file in folder.iterdir())
    except NotADirectoryError:
        return False
    except OSError:
        return True


def read_manifest(directory: Path, day: date) -> Manifest | None:
    """Return the manifest of a day, None if it has none; raises ArchiveError if it is none of ours."""
    path = folder_of(directory, day) / MANIFEST
    try:
        found = json.loads(path.read_bytes())
        (file,) = found["files"]
        (kind,) = (kind for kind, name in NAMES.items() if name == file["name"])
        previous = found["previous"]
        if previous is not None:
            previous = date.fromisoformat(previous["day"]), previous["sha256"]
        if (found["schema_version"], found["day"], found["columns"]) != (SCHEMA_VERSION, str(day), list(COLUMNS)):
            raise ValueError("another day or another version")  # noqa: TRY301 - one of the ways to be none of ours
        rows, minutes, size = found["rows"], found["minutes"], file["bytes"]
        digest, content = file["sha256"], found["content_sha256"]
        words = (digest, content, previous[1] if previous else "")
        if not (all(type(n) is int for n in (rows, minutes, size)) and all(isinstance(word, str) for word in words)):
            raise TypeError  # noqa: TRY301 - as above; True is an int to Python
        return Manifest(day, kind, rows, minutes, size, digest, content, previous)
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise ArchiveError(f"cannot read {path}: {exc.strerror}") from None
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ArchiveError(f"{path} is no manifest of this version of hlctl") from None


def manifest_sha256(directory: Path, day: date) -> str | None:
    """Return the SHA-256 of a day's manifest, None if it has none."""
    path = folder_of(directory, day) / MANIFEST
    with _explained(path):
        return sha256(path) if path.exists() else None


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
    return digest.hexdigest()


def is_whole(directory: Path, manifest: Manifest) -> bool:
    """Tell whether the day's file is what its manifest says."""
    path = file_of(directory, manifest)
    with _explained(path):
        return path.exists() and path.stat().st_size == manifest.bytes and sha256(path) == manifest.sha256


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Make the directory, and keep other exports out of it; raises BusyError if one is at work, or ArchiveError."""
    with _explained(directory):
        directory.mkdir(parents=True, exist_ok=True)
        handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise BusyError(f"another export writes to {directory}") from None
        _sweep(directory)
        yield
    finally:
        os.close(handle)


def _sweep(directory: Path) -> None:
    """Delete the drafts of exports that were killed, whose days may never be exported again."""
    with _explained(directory):
        for left in directory.glob("date=*/.*.tmp"):
            left.unlink()
            with suppress(OSError):
                left.parent.rmdir()  # if nothing else came of it


@contextmanager
def draft(directory: Path, day: date, kind: str) -> Iterator[Path]:
    """Give a hidden path for the day's file; none stays."""
    folder = folder_of(directory, day)
    path = folder / f".{NAMES[kind]}.tmp"
    with _explained(folder):
        folder.mkdir(exist_ok=True)
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)
            with suppress(OSError):
                folder.rmdir()  # if nothing came of it


def link(directory: Path, day: date) -> tuple[date, str] | None:
    """Return the day before this one in the archive and the SHA-256 of its manifest, None if there is none."""
    before = max((other for other in list_days(directory) if other < day), default=None)
    digest = before and manifest_sha256(directory, before)
    return (before, digest) if before and digest else None


def keep(directory: Path, day: date, kind: str, path: Path, written: Written) -> Manifest:
    """Give a draft its name, and the day its manifest, which is linked to the day before it in the archive."""
    folder = folder_of(directory, day)
    with _explained(folder):
        manifest = Manifest(
            day, kind, written.rows, written.minutes, path.stat().st_size, sha256(path), written.content_sha256,
            link(directory, day),
        )  # fmt: skip
        _flush(path)
        path.replace(folder / manifest.file)
        for other in NAMES.values():
            if other != manifest.file:
                (folder / other).unlink(missing_ok=True)
        _flush(folder)
        hidden = folder / f".{MANIFEST}.tmp"
        hidden.write_text(_text(manifest))
        _flush(hidden)
        hidden.replace(folder / MANIFEST)
        _flush(folder)
        _flush(directory)
    return manifest


def _text(manifest: Manifest) -> str:
    file = {
        "name": manifest.file, "bytes": manifest.bytes, "sha256": manifest.sha256, "rows": manifest.rows
    }  # fmt: skip
    previous = manifest.previous and {"day": str(manifest.previous[0]), "sha256": manifest.previous[1]}
    content = {
        "schema_version": SCHEMA_VERSION,
        "day": str(manifest.day),
        "rows": manifest.rows,
        "minutes": manifest.minutes,
        "columns": COLUMNS,
        "content_sha256": manifest.content_sha256,
        "files": [file],
        "previous": previous,
        "hlctl_version": __version__,
    }
    return json.dumps(content, indent=2) + "\n"


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn what a file system refuses into one line."""
    try:
        yield
    except OSError as exc:
        raise ArchiveError(f"cannot use {exc.filename or path}: {exc.strerror or type(exc).__name__}") from None
