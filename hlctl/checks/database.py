"""The checks of the database and the record in it."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta
from ipaddress import ip_address

from hlctl.checks import Check, CheckId, age, ok, problem, skipped, warning
from hlctl.facts import Health
from hlctl.model import Universe


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """Who a session is and what its server is."""

    role: str
    encoding: str  # of the database
    is_in_recovery: bool  # a standby
    is_read_only: bool  # by default
    pid: int  # of the server's process


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """How much room the record takes."""

    database_bytes: int
    cell_bytes: int  # with indexes
    cells: int  # kept
    cells_a_minute: int  # of the newest minute; 0: there is none
    days_ahead: int | None  # partitions after today's; None: there is none
    misplaced: Sequence[str]  # tables that have a day's name and are not its partition


_SHOWN = 3  # rights, or parts of a schema, named in one line


def database_tls(*, host: str, address: str, mode: str, is_encrypted: bool) -> Check:
    """Judge whether somebody on the way can read along or pose as the server; `host` is a path for a unix socket."""
    if host.startswith("/") or (address and ip_address(address.partition("%")[0]).is_loopback):
        return ok(CheckId.DATABASE_TLS, "the server is on this machine")
    if mode == "verify-full":
        return ok(CheckId.DATABASE_TLS, "encrypted, and the server has proved its name")
    how = "encrypted" if is_encrypted else "not encrypted"
    finding = f"the connection is {how} with sslmode={mode}, and another server could pose as this one"
    remedy = "set sslmode=verify-full in HLCTL_DATABASE_URL, and sslrootcert to the file of your authority"
    return warning(CheckId.DATABASE_TLS, finding, remedy)


def database_version(number: int, words: str, *, oldest: int, newest_major: int) -> Check:
    """Judge the server's version; `number` and `oldest` are libpq's (180004 is 18.4)."""
    if number < oldest:
        finding = f"PostgreSQL {words}: {oldest // 10_000} to {newest_major} are supported"
        return problem(CheckId.DATABASE_VERSION, finding, "upgrade the server, or unset HLCTL_DATABASE_URL")
    if number // 10_000 > newest_major:
        finding = f"PostgreSQL {words} is newer than any hlctl was tested on, {newest_major}"
        return warning(CheckId.DATABASE_VERSION, finding, "upgrade hlctl once it is")
    return ok(CheckId.DATABASE_VERSION, f"PostgreSQL {words}")


def database_encoding(encoding: str) -> Check:
    """Judge the database's encoding."""
    if encoding != "UTF8":
        remedy = "make another one: CREATE DATABASE hlctl ENCODING 'UTF8' TEMPLATE template0"
        return problem(CheckId.DATABASE_ENCODING, f"the database's encoding is {encoding}: it must be UTF8", remedy)
    return ok(CheckId.DATABASE_ENCODING, encoding)


def database_writable(*, is_in_recovery: bool, is_read_only: bool) -> Check:
    """Judge whether the server takes writes; hlctl asks for them in each transaction, whatever the default is."""
    if is_in_recovery:
        remedy = "point HLCTL_DATABASE_URL at the primary; target_session_attrs=read-write finds it among several hosts"
        return problem(CheckId.DATABASE_WRITABLE, "the server is a standby, which takes no writes", remedy)
    if is_read_only:
        return ok(CheckId.DATABASE_WRITABLE, "yes; default_transaction_read_only is on, which is no obstacle")
    return ok(CheckId.DATABASE_WRITABLE, "yes")


def pooler(*, told_pid: int, pids: tuple[int, int]) -> Check:
    """Judge who is at the other end: a pooler tells a process id of its own, and may change the server's."""
    if pids[0] != pids[1]:
        return ok(CheckId.POOLER, "a transaction pooler stands before the server, which is no obstacle")
    if told_pid != pids[0]:
        return ok(CheckId.POOLER, "a pooler stands before the server, which is no obstacle")
    return ok(CheckId.POOLER, "none in the way")


def schema_current(version: int, absent: Sequence[str]) -> Check:
    """Judge whether the schema, which is this hlctl's, is whole."""
    if absent:
        more = len(absent) - _SHOWN
        words = f"{', '.join(absent[:_SHOWN])}{f' and {more} more' if more > 0 else ''}"
        remedy = "bring it back as docs/runbook.md says, under `A part of the schema is gone`"
        return problem(CheckId.SCHEMA, f"version {version}, and this is not there any more: {words}", remedy)
    return ok(CheckId.SCHEMA, f"version {version}")


def tool_version(there: str, here: str) -> Check:
    """Compare the hlctl that migrated the schema last with this one."""
    if _numbers(there) > _numbers(here):
        finding = f"the schema was migrated by hlctl {there}, this is {here}"
        return warning(CheckId.TOOL_VERSION, finding, "upgrade hlctl on this machine")
    return ok(CheckId.TOOL_VERSION, f"hlctl {here}; the schema was migrated by {there}")


def _numbers(version: str) -> list[int]:
    return [int(part) if part.isdecimal() else 0 for part in version.split(".")]


@dataclass(frozen=True, slots=True)
class LackingRight:
    """A right the session's role lacks."""

    words: str  # INSERT on ingest_runs
    needed_by: Collection[str]  # commands; none: it is for people, or a command does without


def rights(role: str, lacking: Sequence[LackingRight], *, reading: Collection[str]) -> Check:
    """Judge whether the session's role may run every command; a reader's rights are enough for those in `reading`."""
    needed = [right for right in lacking if right.needed_by]
    words = ", ".join(right.words for right in (needed or lacking)[:_SHOWN])
    more = len(needed or lacking) - _SHOWN
    finding = f"role {role} lacks {words}{f' and {more} more' if more > 0 else ''}"
    commands = sorted({command for right in needed for command in right.needed_by})
    if commands:
        access = "reader" if set(commands) <= set(reading) else "writer"
        remedy = f"run `hlctl init-db --{access} {role}` as the owner of the tables"
        return problem(CheckId.RIGHTS, f"{finding}, for {', '.join(commands)}", remedy)
    if lacking:
        # It may do all that a writer needs: who was not let in by name is granted nothing by a later init-db.
        return warning(CheckId.RIGHTS, finding, f"run `hlctl init-db --writer {role}` as the owner of the tables")
    return ok(CheckId.RIGHTS, f"role {role} may run every command")


def schema_creators(roles: Sequence[str]) -> Check:
    """Judge whether others than the owner may make functions in the schema, which hlctl could then call for its own."""
    if not roles:
        return ok(CheckId.SCHEMA_CREATORS, "only its owner may create in the schema public")
    names = ", ".join(roles)
    finding = f"{names} may create in the schema public, and so make what another role then runs"
    remedy = (  # where PUBLIC may by default, the schema is a superuser's, and hlctl's owner may only as PUBLIC
        "as the schema's owner or a superuser: GRANT CREATE ON SCHEMA public TO the role that owns hlctl's tables,"
        f" then REVOKE CREATE ON SCHEMA public FROM {names}"
    )
    return warning(CheckId.SCHEMA_CREATORS, finding, remedy)


# The record.


def universe(found: Universe | None, health: Health) -> Check:
    """Judge the universe by what the database says of it."""
    if found is None or health.universe_age is None:
        return problem(CheckId.UNIVERSE, "no universe has been read yet", "run `hlctl refresh-universe`")
    finding = f"{found.size} wallets from {found.source}, {age(abs(health.universe_age))}"
    if health.universe_age < timedelta(0):  # verify finds fault with each minute that is recorded with it
        return warning(
            CheckId.UNIVERSE, f"{finding} ahead of the clock, which was set back", "run `hlctl refresh-universe`"
        )
    finding += " old"
    if "universe_old" in health.reasons:
        return warning(CheckId.UNIVERSE, finding, "look at the runs of `hlctl refresh-universe`, or run it now")
    return ok(CheckId.UNIVERSE, finding)


def recording(health: Health) -> Check:
    """Pass on the database's own judgement."""
    newest = f", the newest minute is {age(health.last_snapshot_age)} old" if health.last_snapshot_age else ""
    finding = f"{health.health_state}{newest}{': ' if health.reasons else ''}{', '.join(health.reasons)}"
    remedy = "`hlctl status` tells more"
    match health.health_state:
        case "healthy":
            return ok(CheckId.RECORDING, finding)
        case "degraded":
            return warning(CheckId.RECORDING, finding, remedy)
    return problem(CheckId.RECORDING, finding, remedy)


_DAYS_AHEAD = 1  # every snapshot makes two days where they are missing; at midnight one is left until the next


def partitions_ahead(days: int | None, misplaced: Sequence[str]) -> Check:
    """Judge for how many days after today there is a partition; None if there is none at all."""
    if misplaced:
        more = f" and {len(misplaced) - 1} more" if len(misplaced) > 1 else ""
        finding = f"{misplaced[0]}{more} is not the partition of its day, so its day has none"
        remedy = "attach, rename or drop it: docs/runbook.md, under `A table is not the partition of its day`"
        return problem(CheckId.PARTITIONS_AHEAD, finding, remedy)
    if days is None or days < 0:
        finding, remedy = (
            "today has no partition: its cells go to the default one",
            "run `hlctl snapshot`, which makes it",
        )
        return problem(CheckId.PARTITIONS_AHEAD, finding, remedy)
    finding = f"{days} {'day' if days == 1 else 'days'} ahead"
    if days < _DAYS_AHEAD:
        remedy = "each `hlctl snapshot` makes two days: see the check of rights, and the log of its runs"
        return warning(CheckId.PARTITIONS_AHEAD, finding, remedy)
    return ok(CheckId.PARTITIONS_AHEAD, finding)


_ENOUGH_CELLS = 10_000  # fewer say more about empty pages than about cells
_USUAL_CELL, _USUAL_MINUTE = 170, 600
_FULL, _FILLING = 3, 14  # days
_RESERVE = 256 * 2**20  # bytes below which the server cannot even recover safely: its log of writes has as many


def bytes_a_day(growth: Growth) -> int:
    """Return how much a day adds: as measured, or as usual while there is little to measure."""
    each = growth.cell_bytes / growth.cells if growth.cells >= _ENOUGH_CELLS else _USUAL_CELL
    return round(each * (growth.cells_a_minute or _USUAL_MINUTE) * 1440)


def disk(growth: Growth | None, free: int | None) -> Check:
    """Judge how long the disk will last; `free` in bytes is known of the embedded server's disk only."""
    if growth is None and free is None:
        return skipped(CheckId.DISK, "neither the database nor its disk can be seen")
    size = f"the database has {_megabytes(growth.database_bytes)}, " if growth else ""
    daily = bytes_a_day(growth) if growth else _USUAL_CELL * _USUAL_MINUTE * 1440
    growing = f"{size}a day adds {_megabytes(daily)}"
    if free is None:
        return ok(CheckId.DISK, f"{growing}; its server's disk cannot be seen from here")
    days = max(0, free - _RESERVE) // daily
    finding = f"{growing}, {_megabytes(free)} are free: {days} {'day' if days == 1 else 'days'}"
    remedy = "make room, or keep fewer days: `hlctl prune`, each night with HLCTL_RETENTION_DAYS set"
    if days < _FULL:
        return problem(CheckId.DISK, finding, remedy)
    return warning(CheckId.DISK, finding, remedy) if days < _FILLING else ok(CheckId.DISK, finding)


def _megabytes(size: int) -> str:
    return f"{size / 10**6:,.0f} MB"


# Clocks.

_HOST_WARNING, _HOST_PROBLEM = 5.0, 15.0  # a start may be so early that the database still has the minute before
_EXCHANGE_WARNING, _EXCHANGE_PROBLEM = 2.0, 5.0  # an answer from 5 s before the minute is stale


def clock_host_database(seconds: float) -> Check:
    """Judge the database's clock minus this machine's, which is the timers'."""
    remedy = "let both keep time with NTP; hlctl goes by the database's clock, its timers by this machine's"
    return _clock(CheckId.CLOCK_HOST_DATABASE, seconds, "this machine's", remedy, (_HOST_WARNING, _HOST_PROBLEM))


def clock_database_exchange(seconds: float) -> Check:
    """Judge the database's clock minus the exchange's, by which an answer is of its minute or stale."""
    limits = (_EXCHANGE_WARNING, _EXCHANGE_PROBLEM)
    remedy = "let the database's machine keep time with NTP"
    return _clock(CheckId.CLOCK_DATABASE_EXCHANGE, seconds, "the exchange's", remedy, limits)


def _clock(check: CheckId, seconds: float, whose: str, remedy: str, limits: tuple[float, float]) -> Check:
    off = abs(seconds)
    amount = f"{off:.1f} s" if off < 120 else age(timedelta(seconds=off))  # noqa: PLR2004 - two minutes
    finding = f"the database's clock is {amount} {'ahead of' if seconds >= 0 else 'behind'} {whose}"
    if off > limits[1]:
        return problem(check, finding, remedy)
    return warning(check, finding, remedy) if off > limits[0] else ok(check, finding)
