"""A day of cells as a file, Parquet or CSV: written from the lines that COPY sends, read back cell by cell.

pyarrow is loaded by who writes or reads Parquet, and by nobody else.
"""

import csv
import gzip
import hashlib
import io
import os
import shlex
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import Any

from hlctl.errors import ArchiveError, ConfigurationError

COLUMNS = (
    "snapshot_ts", "address", "wallet_id", "asset", "position_szi", "entry_px", "liq_px", "leverage", "leverage_type",
    "margin_used", "missing_reason", "observed_at", "is_dirty", "dirty_reason", "attempt", "trailing_zeros",
)  # fmt: skip
"""The columns of a file, in order; docs/archive.md says what they mean."""

NAMES = {"parquet": "cells.parquet", "csv": "cells.csv.gz"}
"""Format -> the name of a day's file."""

DIGITS, DECIMALS = 25, 10
"""What a number in Parquet holds: the 15 digits before the point that a cell may have, and all it prints."""

_LINES = 65_536  # that are held in memory at a time: a row group
_BATCH = 16_384  # cells read at a time
# What Python, zlib and pyarrow, whose errors are of these kinds too, make of a damaged file.
_UNREADABLE = (
    OSError, ValueError, LookupError, TypeError, EOFError, ArithmeticError, NotImplementedError, MemoryError, csv.Error,
    zlib.error,
)  # fmt: skip
_NUMBERS = ("position_szi", "entry_px", "liq_px", "leverage", "margin_used")  # in the order of trailing_zeros
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class TooPreciseError(Exception):
    """A day has a number that no column of these Parquet files holds."""


@dataclass(frozen=True, slots=True)
class Written:
    """What a file came to."""

    rows: int
    minutes: int
    content_sha256: str  # of the lines, whatever the format


@dataclass(slots=True)
class Content:
    """What a file says, as far as it can be compared with the database."""

    rows: int = 0
    minutes: dict[datetime, tuple[int, int]] = field(default_factory=dict)  # minute -> cells, fingerprint
    dirty: set[tuple[datetime, int, str, str]] = field(default_factory=set)  # minute, wallet_id, asset, reason
    wallets: set[tuple[int, str]] = field(default_factory=set)  # wallet_id, address


def require(kind: str) -> None:
    """Raise ConfigurationError if files of this format cannot be written or read here."""
    if kind == "parquet":
        _pyarrow("pyarrow")


def write(kind: str, path: Path, lines: Iterable[bytes], *, progress: Callable[[int], None]) -> Written:
    """Write lines of CSV as a file of a format; `progress` is told how many were added.

    The same lines make the same bytes, as long as pyarrow and zlib stay the same. Raises TooPreciseError if a number
    has more digits than Parquet is given here.
    """
    digest, minutes, rows = hashlib.sha256(), set(), 0
    pending = iter(lines)
    with closing(_ParquetWriter(path) if kind == "parquet" else _CsvWriter(path)) as writer:
        while chunk := list(islice(pending, _LINES)):
            rows += len(chunk)
            minutes |= {line.partition(b",")[0] for line in chunk}
            for line in chunk:
                digest.update(line)
            writer.write(chunk)
            progress(len(chunk))
    return Written(rows, len(minutes), digest.hexdigest())


def read(kind: str, path: Path, *, progress: Callable[[int], None]) -> Content:
    """Read a file back; raises ArchiveError if it is not what this module writes."""
    found = Content()
    try:
        for cells in _read_parquet(path) if kind == "parquet" else _read_csv(path):
            for minute, address, wallet_id, asset, fingerprint, reason in cells:
                count, total = found.minutes.get(minute, (0, 0))
                found.minutes[minute] = (count + 1, total + fingerprint)
                found.wallets.add((wallet_id, address))
                if reason is not None:
                    found.dirty.add((minute, wallet_id, asset, reason))
            found.rows += len(cells)
            progress(len(cells))
    except _UNREADABLE as exc:
        raise ArchiveError(f"{path.name} cannot be read: {_reason(exc)}") from None
    return found


def _reason(exc: Exception) -> str:
    """Say why a file cannot be read, in no words of the file's."""
    if isinstance(exc, OSError) and exc.errno:
        return os.strerror(exc.errno)  # pyarrow's own words name the path
    damaged = "its compressed data is damaged"
    words = {
        zlib.error: damaged, gzip.BadGzipFile: damaged, EOFError: "it ends too early", csv.Error: "it is no CSV"
    }  # fmt: skip
    return words.get(type(exc), type(exc).__name__)


def fingerprint(*values: object) -> int:
    """Return what the database's cell_fingerprint is of these values, each as the database prints it or None."""
    row = ",".join("" if value is None else str(value) for value in values)
    return int(hashlib.md5(f"({row})".encode(), usedforsecurity=False).hexdigest()[:15], 16)


def digits(number: Decimal | None, zeros: int) -> str | None:
    """Return a number as the exchange printed it: exact, with so many zeros at its end."""
    if number is None:
        return None
    text = f"{number:f}"
    whole, _, decimals = text.partition(".")
    decimals = decimals.rstrip("0") + "0" * zeros
    return f"{whole}.{decimals}" if decimals else whole


Cell = tuple[datetime, str, int, str, int, str | None]
"""Minute, address, wallet_id, asset, fingerprint, why it is dirty if it is."""


def _cell(row: Mapping[str, Any], minute: datetime, observed_at: int | None, numbers: Sequence[str | None]) -> Cell:
    """Return a cell of a row's words, and of what had to be read: microseconds, and numbers as printed."""
    szi, entry_px, liq_px, leverage, margin_used = numbers
    epoch = None if observed_at is None else f"{observed_at // 10**6}.{observed_at % 10**6:06}"
    sum_of = fingerprint(
        row["wallet_id"], row["asset"], szi, entry_px, liq_px, leverage, row["leverage_type"], margin_used, epoch,
        row["missing_reason"], row["attempt"],
    )  # fmt: skip
    reason = row["dirty_reason"] if row["is_dirty"] in {True, "true"} else None
    return minute, row["address"], int(row["wallet_id"]), row["asset"], sum_of, reason


# ---- CSV


class _CsvWriter:
    def __init__(self, path: Path) -> None:
        self._raw = path.open("wb")
        self._file = gzip.GzipFile(filename="", mode="wb", fileobj=self._raw, compresslevel=6, mtime=0)
        self._file.write(",".join(COLUMNS).encode() + b"\n")

    def write(self, lines: list[bytes]) -> None:
        self._file.write(b"".join(lines))

    def close(self) -> None:
        self._file.close()
        self._raw.close()


def _read_csv(path: Path) -> Iterator[list[Cell]]:
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        rows = csv.reader(file)
        if tuple(next(rows, ())) != COLUMNS:
            raise ValueError("not these columns")
        while batch := list(islice(rows, _BATCH)):
            yield [_from_text(dict(zip(COLUMNS, row, strict=True))) for row in batch]


def _from_text(line: dict[str, str]) -> Cell:
    row = {name: text or None for name, text in line.items()} | {"dirty_reason": line["dirty_reason"]}
    seen = line["observed_at"]
    observed_at = (datetime.fromisoformat(seen) - _EPOCH) // _MICROSECOND if seen else None
    minute = _EPOCH + (datetime.fromisoformat(line["snapshot_ts"]) - _EPOCH)  # which only a moment can be taken from
    return _cell(row, minute, observed_at, [row[name] for name in _NUMBERS])


# ---- Parquet


def _pyarrow(module: str) -> Any:  # noqa: ANN401 - pyarrow has no types
    try:
        return import_module(module)
    except ImportError:
        raise ConfigurationError(
            "Parquet files need pyarrow, which is not installed",
            remedy=f"run `{shlex.quote(sys.executable)} -m pip install pyarrow`, or give --format csv",
        ) from None


class _ParquetWriter:
    """Encodings every reader knows. What hardly repeats is stored plain, where zstd finds the observation of a wallet's
    three assets, and what lies one minute after the other, as differences."""  # noqa: D205, D209 - one thought

    def __init__(self, path: Path) -> None:
        pa, parquet = _pyarrow("pyarrow"), _pyarrow("pyarrow.parquet")
        self._csv = _pyarrow("pyarrow.csv")
        self._invalid = pa.ArrowInvalid
        number, word = pa.decimal128(DIGITS, DECIMALS), pa.dictionary(pa.int32(), pa.string())
        moment = pa.timestamp("us", "UTC")
        special = {
            "snapshot_ts": moment, "observed_at": moment, "wallet_id": pa.int32(), "attempt": pa.int16(),
            "is_dirty": pa.bool_(), **dict.fromkeys(_NUMBERS, number),
        }  # fmt: skip
        self._types = {name: special.get(name, word) for name in COLUMNS}
        plain = {"snapshot_ts", "observed_at", "liq_px", "margin_used"}
        self._file = parquet.ParquetWriter(
            path,
            pa.schema(list(self._types.items())),
            compression="zstd",
            compression_level=9,
            use_dictionary=[name for name in COLUMNS if name not in plain],
            column_encoding={"snapshot_ts": "DELTA_BINARY_PACKED"},
        )

    def write(self, lines: list[bytes]) -> None:
        try:
            table = self._csv.read_csv(
                io.BytesIO(b"".join(lines)),
                read_options=self._csv.ReadOptions(column_names=COLUMNS),
                parse_options=self._csv.ParseOptions(newlines_in_values=True),
                convert_options=self._csv.ConvertOptions(
                    column_types=self._types,
                    null_values=[""],
                    strings_can_be_null=True,
                    quoted_strings_can_be_null=False,
                ),
            )
        except self._invalid:
            raise TooPreciseError from None
        self._file.write_table(table)

    def close(self) -> None:
        self._file.close()


def _read_parquet(path: Path) -> Iterator[list[Cell]]:
    pa = _pyarrow("pyarrow")
    with _pyarrow("pyarrow.parquet").ParquetFile(path) as file:
        for batch in file.iter_batches(_BATCH):
            columns = {name: batch.column(name) for name in COLUMNS}
            for name in ("snapshot_ts", "observed_at"):
                columns[name] = columns[name].cast(pa.int64())
            rows = zip(*(columns[name].to_pylist() for name in COLUMNS), strict=True)
            yield [_from_values(dict(zip(COLUMNS, row, strict=True))) for row in rows]


def _from_values(row: dict[str, Any]) -> Cell:
    zeros = row["trailing_zeros"] or "0000000000"
    numbers = [digits(row[name], int(zeros[2 * n : 2 * n + 2])) for n, name in enumerate(_NUMBERS)]
    return _cell(row, _EPOCH + row["snapshot_ts"] * _MICROSECOND, row["observed_at"], numbers)
