"""`export`: past days as files that anybody can read, and whether they still are what was recorded."""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import date, datetime
from functools import partial
from pathlib import Path

from hlctl import access, archive, audit, cellfile, days, db, migrate
from hlctl.answers import ArchiveResult, ExportResult
from hlctl.archive import Manifest
from hlctl.cellfile import Content, TooPreciseError, Written
from hlctl.days import RecordedDay
from hlctl.errors import ArchiveError, ConfigurationError, NoClusterError, UsageError
from hlctl.facts import CheckedDay, ExportedDay
from hlctl.jobs.database import countdown, opened
from hlctl.settings import Settings

Progress = Callable[[int, int], None]
"""Told how many cells are done, and how many there are."""

_PATIENCE = 86_400.0  # seconds for all of it: years of days are no reason to hurry
_DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_LONGEST = 6 * 3600  # seconds to read a day: a file is written meanwhile, and 10,000 wallets have 43 million cells
_SILENCE = 600.0  # seconds until it begins to come, sorted, and between two pieces of it
_NAMED = 3  # minutes named in a finding


def export(
    settings: Settings,
    *,
    wanted: tuple[date | None, date | None],
    directory: Path,
    kind: str,
    force: bool,
    progress: Progress,
) -> ExportResult:
    """Write days as files: those from the first to the last wanted, or, if none is, all that the directory lacks.

    A day that is there with the same cells is left as it is, one with other cells too, unless forced. Raises UsageError
    if a day is not final, ConfigurationError without pyarrow, ArchiveError where files cannot be written, BusyError if
    another export writes there.
    """
    cellfile.require(kind)
    with opened(settings, create=False, left=countdown(_PATIENCE)) as conn:
        with db.transaction(conn, read_only=True):
            access.require(conn, "export")
            migrate.require_current(conn)
            recorded = days.list_recorded(conn)
        chosen = _choose(recorded, *wanted, directory)
        with archive.locked(directory):
            total = _Total(sum(day.cells for day in chosen), progress)
            done = [_export(conn, directory, day, kind, force=force, progress=total.add) for day in chosen]
    return ExportResult(directory=directory.resolve(), format=kind, days=done)


class _Total:
    """Cells done so far."""

    def __init__(self, of: int, progress: Progress) -> None:
        self._done, self._of, self._progress = 0, of, progress

    def add(self, number: int) -> None:
        """Count these too."""
        self._done += number
        self._progress(self._done, self._of)


def _day(word: str) -> date:
    try:
        if _DAY.fullmatch(word):  # a week's day is a date to Python too
            return date.fromisoformat(word)
    except ValueError:
        pass
    raise UsageError(f"{word!r} is no day", remedy="write a day as 2026-01-06")


def _choose(
    recorded: Sequence[RecordedDay], first: date | None, last: date | None, directory: Path
) -> list[RecordedDay]:
    """Return the days to export; raises UsageError if one is still to change."""
    if first is None or last is None:
        return [day for day in recorded if day.is_final and not day.is_pruned and not _is_there(directory, day)]
    newest = max((day.day for day in recorded if day.is_final), default=None)
    if newest is None or last > newest:
        raise UsageError(
            f"{last} is no past day of the record",
            remedy=f"the newest whole day is {newest}" if newest else "there is no whole day yet",
        )
    found = [day for day in recorded if first <= day.day <= last]
    return found or ([RecordedDay(first, cells=0, is_pruned=False, is_final=True)] if first == last else [])


def _is_there(directory: Path, recorded: RecordedDay) -> bool:
    """Tell whether the directory has a day, all of it as far as its manifest says: minutes may have come since.

    More than was published may be there too: the database may be one from an older dump.
    """
    manifest, _is_known = _known(directory, recorded.day)
    if manifest:
        return manifest.rows >= recorded.cells
    # A file without a manifest is of an export that was killed: that day is still lacking.
    return bool(archive.manifest_sha256(directory, recorded.day))


def _export(
    conn: db.Connection,
    directory: Path,
    recorded: RecordedDay,
    kind: str,
    *,
    force: bool,
    progress: Callable[[int], None],
) -> ExportedDay:
    day = recorded.day
    done = partial(ExportedDay, day=day, published=recorded.cells)
    known, is_known = _known(directory, day)
    with archive.draft(directory, day, kind) as path:
        try:
            with _reading(conn), closing(days.copy_cells(conn, day)) as lines:
                written = cellfile.write(kind, path, lines, progress=progress)
        except TooPreciseError:  # of this day alone: the others are not to wait for it for ever
            return done(did="too_precise", format=kind, rows=0, bytes=0)
        if written.rows == 0 and (recorded.is_pruned or not recorded.cells):
            return done(did="empty", format=kind, rows=0, bytes=0)
        if written.rows != recorded.cells:  # somebody changed the record, or this role may not see all of it
            return done(did="incomplete", format=kind, rows=written.rows, bytes=0)
        # Forced, a day with the same cells is written anew too: in another format, or linked to the day before it.
        may_stay = known and (not force or (known.kind, known.previous) == (kind, archive.link(directory, day)))
        if known and may_stay and _is_same(directory, known, kind, path, written):
            return done(did="unchanged", format=known.kind, rows=known.rows, bytes=known.bytes)
        if is_known and not force:
            there = known.kind if known else kind
            return done(did="differs", format=there, rows=written.rows, bytes=path.stat().st_size)
        kept = archive.keep(directory, day, kind, path, written)
    return done(did="exported", format=kind, rows=kept.rows, bytes=kept.bytes)


@contextmanager
def _reading(conn: db.Connection) -> Iterator[None]:
    """Run a transaction in which a day is read, however long it is."""
    with db.transaction(conn, read_only=True, statement_timeout=_LONGEST, transaction_timeout=_LONGEST):
        conn.patience = _SILENCE
        yield


def _is_same(directory: Path, known: Manifest, kind: str, path: Path, written: Written) -> bool:
    """Tell whether the day's file has the cells of a draft; it may be of the other format, or another pyarrow's."""
    if known.content_sha256 != written.content_sha256 or not archive.is_whole(directory, known):
        return False
    if archive.sha256(path) == known.sha256:
        return True
    try:
        there, draft = (
            cellfile.read(of, file, progress=lambda _cells: None)
            for of, file in ((known.kind, archive.file_of(directory, known)), (kind, path))
        )
    except ArchiveError:
        return False
    except ConfigurationError:  # Parquet is there and pyarrow is not, so its manifest is all there is to go by
        return True
    return there == draft


def _known(directory: Path, day: date) -> tuple[Manifest | None, bool]:
    """Return a day's manifest if it can be read, and whether there is one."""
    try:
        manifest = archive.read_manifest(directory, day)
    except ArchiveError:
        return None, True
    return manifest, manifest is not None


def verify(
    settings: Settings, *, wanted: tuple[date | None, date | None], directory: Path, progress: Progress
) -> ArchiveResult:
    """Check files against manifests, manifests against each other, and cells against the database where there is one.

    Raises ArchiveError if there is no archive, or none of the days wanted in it.
    """
    first, last = wanted
    archived = archive.list_days(directory)
    chosen = [day for day in archived if (first is None or first <= day) and (last is None or day <= last)]
    if not chosen:
        raise ArchiveError(f"{directory} has no day to verify", remedy="give the --dir that days were exported to")
    manifests = {day: _known(directory, day)[0] for day in chosen}
    total = _Total(sum(manifest.rows for manifest in manifests.values() if manifest), progress)
    with _database(settings) as conn:
        missing: list[date] = []
        if conn is not None:
            with db.transaction(conn, read_only=True):
                access.require(conn, "export")
                migrate.require_current(conn)
                recorded = {day.day for day in days.list_recorded(conn)}
            missing = sorted(day for day in recorded - set(archived) if chosen[0] < day < chosen[-1])
        checked = [_check(conn, directory, day, archived, progress=total.add) for day in chosen]
    no_days = archive.list_no_days(directory) if first is last is None else []
    return ArchiveResult(directory=directory.resolve(), days=checked, missing=missing, no_days=no_days)


@contextmanager
def _database(settings: Settings) -> Iterator[db.Connection | None]:
    """Open the database; None where none is configured and no embedded one was ever made."""
    try:
        with opened(settings, create=False, left=countdown(_PATIENCE)) as conn:
            yield conn
    except NoClusterError:
        yield None


def _check(
    conn: db.Connection | None, directory: Path, day: date, archived: Sequence[date], *, progress: Callable[[int], None]
) -> CheckedDay:
    against, rows, unsigned, problems = "unreadable", 0, 0, list[str]()
    try:
        manifest = archive.read_manifest(directory, day)
        if manifest is None:
            raise ArchiveError("there is no manifest")  # noqa: TRY301 - one of the ways not to be readable
        problems = _check_link(directory, manifest, archived)
        if not archive.is_whole(directory, manifest):
            problems.append(f"{manifest.file} is missing, or not what its manifest says")
        content = cellfile.read(manifest.kind, archive.file_of(directory, manifest), progress=progress)
        against, rows = "files", content.rows
        if (content.rows, len(content.minutes)) != (manifest.rows, manifest.minutes):
            problems.append(f"{content.rows} rows and {len(content.minutes)} minutes, the manifest says otherwise")
        if conn is not None:
            with _reading(conn):
                against, unsigned, found = _compare(conn, day, content)
            if found and against == "cells" and _is_pruned(conn, day):
                # It was dropped after its runs were read: its cells seem to have been taken away.
                with _reading(conn):
                    against, unsigned, found = _compare(conn, day, content)
            problems += found
    except ArchiveError as exc:
        problems.append(str(exc))
    return CheckedDay(day=day, rows=rows, against=against, without_fingerprint=unsigned, problems=problems)


def _check_link(directory: Path, manifest: Manifest, archived: Sequence[date]) -> list[str]:
    """Say how a day is not linked to the one before it."""
    before = max((day for day in archived if day < manifest.day), default=None)
    if manifest.previous is None:
        return [] if before is None else [f"not linked to {before}, which was exported later"]
    day, digest = manifest.previous
    try:
        found = archive.manifest_sha256(directory, day)
    except ArchiveError as exc:  # no reason not to look at this day's cells
        return [str(exc)]
    if found is None:
        return [f"{day}, which it is linked to, is missing"]
    if found != digest:
        return [f"the manifest of {day} is not the one it is linked to"]
    return [] if day == before else [f"linked to {day} and not to {before}, which was exported later"]


def _is_pruned(conn: db.Connection, day: date) -> bool:
    with _reading(conn):
        published = days.list_published(conn, day).values()
    return bool(published) and all(minute.is_pruned for minute in published)


def _compare(conn: db.Connection, day: date, content: Content) -> tuple[str, int, list[str]]:
    """Compare what a file says with what was published, and with the cells where they are still there.

    Of minutes without a fingerprint, which are counted, only the number of cells was published.
    """
    published, stored = days.list_published(conn, day), days.fingerprint_cells(conn, day)
    if not published and not stored:  # no comparison, which would find fault with everything
        return "unrecorded", 0, ["this database has no record of that day; is it the right one?"]
    unsigned = sum(minute.fingerprint is None for minute in published.values())
    problems = _minutes(
        "not as it was published",
        (
            minute
            for minute in published.keys() | content.minutes.keys()
            if not _is_as_published(published.get(minute), content.minutes.get(minute, (0, 0)))
        ),
    )
    addresses = audit.list_addresses(conn, {wallet_id for wallet_id, _address in content.wallets})
    unknown = content.wallets - addresses.items()
    if unknown:
        problems.append(f"{len(unknown)} wallets have another address in the database")
    if not stored and all(minute.is_pruned for minute in published.values()):
        return "published", unsigned, problems
    problems += _minutes(
        "not as in the database",
        (
            minute
            for minute in stored.keys() | content.minutes.keys()
            if stored.get(minute) != content.minutes.get(minute)
        ),
    )
    marked = {minute for minute, *_rest in days.list_dirty(conn, day) ^ content.dirty}
    return "cells", unsigned, problems + _minutes("marked as dirty otherwise in the database", marked)


def _is_as_published(run: days.Published | None, found: tuple[int, int]) -> bool:
    if run is None:
        return False
    cells, fingerprint = found
    return cells == run.cells and (run.fingerprint is None or not cells or fingerprint == run.fingerprint)


def _minutes(what: str, minutes: Iterator[datetime] | set[datetime]) -> list[str]:
    found = sorted(minutes)
    if not found:
        return []
    named = ", ".join(f"{minute:%H:%M}" for minute in found[:_NAMED])
    return [f"{len(found)} minutes are {what}: {named}{', ...' if len(found) > _NAMED else ''}"]


def ranged(day: str | None, first: str | None, last: str | None) -> tuple[date | None, date | None]:
    """Return the first and the last day that a command line asks for, both None if for all. Raises UsageError."""
    if day is not None and (first is not None or last is not None):
        raise UsageError("--day stands alone", remedy="give --from and --to for several days")
    begins, ends = (None if word is None else _day(word) for word in ((first, last) if day is None else (day, day)))
    if (begins is None) != (ends is None):
        raise UsageError("--from and --to belong together", remedy="give both, or --day")
    if begins and ends and begins > ends:
        raise UsageError(f"--from {begins} is after --to {ends}")
    return begins, ends
