"""hlctl and the reference side by side: what each makes of a case, and whether that is the same.

A disagreement is: anything raised but hlctl's own refusal; a value for which the reference has another, or none (a
false cell); no value where the reference has one (a false gap); a reason that is none of what is wrong.
"""

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from ipaddress import ip_address
from itertools import pairwise
from pathlib import Path
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict
from requests import Request
from urllib3.util import parse_url

from hlctl import moments, settings, universe, wire
from hlctl.errors import ConfigurationError, UsageError
from hlctl.jobs import export, prune
from hlctl.minute import judge
from hlctl.model import Held
from tests.fuzz import bodies, lines, reference, spoil, words
from tests.fuzz.reference import Ranking, Refused

MINUTE = datetime.fromtimestamp(spoil.MINUTE_MS / 1000, UTC)
SEEN = MINUTE + timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What hlctl made of a case, and what is wrong with that; None: nothing."""

    outcome: str
    problem: str | None = None


def state(case: bodies.Body) -> Verdict:
    """Compare three cells, digit for digit, or the reason why there are none."""
    wanted = reference.state(case.content, spoil.MINUTE_MS)
    found: reference.Cells | str
    try:
        answer = judge(wire.decode_state(case.content), minute=MINUTE, observed_at=SEEN)
        found = _cells(answer) if isinstance(answer, Held) else answer.value
    except wire.WireError as exc:
        found = exc.reason.value
    if isinstance(found, str):
        return Verdict(found, _refusal(case, found, wanted))
    outcome = "held" if any(found.values()) else "flat"
    if isinstance(wanted, Refused):
        return Verdict(outcome, f"a false cell: {found}, and the reference refuses: {sorted(wanted.reasons)}")
    same = str(found) == str(wanted)  # and not 1.0 for 1
    return Verdict(outcome, None if same else f"a false cell: {found}, and the reference has {wanted}")


def _cells(held: Held) -> reference.Cells:
    found: reference.Cells = dict.fromkeys(reference.ASSETS)
    for asset, p in held.positions.items():
        found[asset.value] = (p.szi, p.entry_px, p.liq_px, p.leverage, p.leverage_type.value, p.margin_used)
    return found


def _refusal(case: bodies.Body, found: str, wanted: object) -> str | None:
    if case.expect:
        return None if found == case.expect else f"the reason is {found}, and it can only be {case.expect}"
    if not isinstance(wanted, Refused):
        return f"a false gap: {found}, and the reference has {wanted}"
    return (
        None if found in wanted.reasons else f"the reason is {found}, and the reference says {sorted(wanted.reasons)}"
    )


def board(case: bodies.Body) -> Verdict:
    """Compare the wallets chosen, in their order and with their figures, or the rule that refuses the leaderboard."""
    wanted = reference.board(case.content, size=case.size, min_valid=bodies.MIN_VALID)
    bounds = (0, *case.cuts, len(case.content))
    pieces = (case.content[one:other] for one, other in pairwise(bounds))
    try:
        chosen = universe.select(wire.read_leaderboard(pieces), size=case.size, min_valid=bodies.MIN_VALID)
    except (wire.LeaderboardError, universe.RefusedError) as exc:
        rule = str(exc).partition(":")[0]
        return Verdict(rule, _refusal(case, rule, wanted))
    if case.expect:
        return Verdict("accepted", f"accepted, and it must be refused: {case.expect}")
    rows = [(row.address, row.month_pnl, row.month_roi, row.month_volume, row.account_value) for row in chosen.members]
    found = Ranking(tuple(rows), chosen.rows_seen, chosen.rows_rejected)
    same = str(found) == str(wanted)
    return Verdict("accepted", None if same else f"a false universe: {found}, and the reference has {wanted}")


_folder = tempfile.TemporaryDirectory(prefix="hlctl-fuzz-")  # removed when the process ends


def file(case: lines.File) -> Verdict:
    """Load a settings file: every setting as its lines say, or one line that names no secret."""
    path = Path(_folder.name) / f"{os.getpid()}.env"  # several processes share the folder
    path.write_bytes(case.content)
    try:
        loaded = settings.load(path)
    except ConfigurationError as exc:
        return Verdict("refused", _leak(exc) or _wrongly_refused(case))
    plain = _plain(case)
    for name, value in plain.items() if plain is not None else ():
        if name in words.BOUNDS:
            found = getattr(loaded, name.removeprefix(settings.PREFIX).lower())
            if words.is_in_bounds(name, value) is False:
                return Verdict("accepted", f"{name} is out of bounds and accepted as {found}")
            if found != type(found)(Decimal(value)):
                return Verdict("accepted", f"{name} is {found}")
    return Verdict("accepted")


def _plain(case: lines.File) -> dict[str, str] | None:
    try:
        return words.settings(case.content.decode())
    except UnicodeDecodeError:
        return None


def _wrongly_refused(case: lines.File) -> str | None:
    plain = _plain(case)
    shares = {"HLCTL_COVERAGE_SUCCESS", "HLCTL_COVERAGE_FAILED"}  # which must also be in order
    if len(case.content) > 2**16 or plain is None or plain.keys() & shares or not plain.keys() <= words.BOUNDS.keys():
        return None
    good = all(words.is_in_bounds(name, value) is True for name, value in plain.items())
    return "refused, and every line of it is good" if good else None


def _leak(exc: ConfigurationError) -> str | None:
    said = f"{exc} {exc.remedy}"
    if lines.CANARY in said:
        return f"the message shows a secret: {said}"
    return None if said.isprintable() else f"the message is more than a line of printable text: {said!r}"


def address(case: lines.Address) -> Verdict:
    """Take an address as a setting, and ask who will use it where it leads."""
    given = settings.Sources({case.setting: settings.Given(case.value, "environment")}, {})
    try:
        settings.checked(given)
    except ConfigurationError as exc:
        return Verdict("refused", _leak(exc) or ("refused, and it is encoded as it must be" if case.parts else None))
    return Verdict("accepted", _database(case) if case.setting == "HLCTL_DATABASE_URL" else _web(case.value))


def _web(value: str) -> str | None:
    asked = Request("POST", f"{value.rstrip('/').removesuffix('/info')}/info").prepare().url or ""
    leads = parse_url(asked)
    host = (leads.host or "").strip("[]").partition("%")[0].lower().removesuffix(".")
    written = value.partition("//")[2].partition("/")[0].rpartition("@")[2]
    seen = written[1:].partition("]")[0].partition("%")[0] if written[:1] == "[" else written.partition(":")[0]
    if seen.isascii() and host != seen.lower().removesuffix("."):
        return f"leads to {host}, not to {seen}"
    return None if leads.scheme == "https" or _is_near(host) else f"leads to {host} without TLS"


def _is_near(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


_UNSEEN = frozenset(("user", "password", "port"))


def _database(case: lines.Address) -> str | None:
    try:
        parts = conninfo_to_dict(case.value)
    except (psycopg.ProgrammingError, UnicodeError):  # what db.dial makes one line of
        return "libpq cannot read it, and it is encoded as it must be" if case.parts else None
    # Without its colon a password is the user's name, without the @ behind it a host's or database's: nobody can tell.
    # A port that is no number goes nowhere.
    is_closed = "@" in case.value.partition(lines.CANARY)[2]
    astray = sorted(name for name, part in parts.items() if lines.CANARY in str(part) and name not in _UNSEEN)
    if astray and is_closed:
        return f"a piece of the password is libpq's {astray}"
    wrong = [name for name, part in (case.parts or {}).items() if parts.get(name, part) != part]
    return f"libpq reads another {wrong}" if wrong else None


def options(case: lines.Words) -> Verdict:
    """Read options as their command does."""
    found: Any
    wanted: Any
    try:
        if case.command == "keep":
            wanted = words.keep(case.given[0] or "")
            found = prune._kept(case.given[0], settings.Settings())
        elif case.command == "days":
            wanted = words.days(*case.given)
            found = export.ranged(*case.given)
        else:
            wanted = words.minutes(*case.given)
            asked = moments.wanted(*case.given)
            found = (asked.minute, asked.span, asked.since, asked.until)
    except UsageError:
        return Verdict("refused", f"refused, and the reference has {wanted}" if wanted else None)
    return Verdict("accepted", None if found == wanted else f"taken for {found}, and the reference has {wanted}")


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of case: who makes it by seed and number, who compares, and what every long run must meet."""

    make: Callable[[int, int], Any]
    compare: Callable[[Any], Verdict]
    outcomes: frozenset[str]
    tags: frozenset[str]


def _made(kind: str) -> Callable[[int, int], bodies.Body]:
    return lambda seed, index: bodies.make(kind, seed, index)


_STEPS = {kind: {step.__name__ for step in (*steps, *spoil.BYTES)} for kind, steps in spoil.TREES.items()}
_SOURCES = {"simulated", "grammar", "anything"}  # and "recorded", where the recordings are

KINDS = {
    "state": Kind(
        _made("state"),
        state,
        frozenset(("held", "flat", "bad_shape", "bad_number", "duplicate_coin", "truncated", "stale", "too_big")),
        frozenset(_STEPS["state"] | _SOURCES | {"many"}),
    ),
    "board": Kind(
        _made("board"),
        board,
        frozenset(
            ("accepted", "bad_shape", "truncated", "no_rows", "too_many_rejected", "too_few_valid", "no_ranking")
        ),
        frozenset(_STEPS["board"] | _SOURCES | {"long_row"}),
    ),
    "config": Kind(
        lines.make_file,
        file,
        frozenset(("accepted", "refused")),
        frozenset(("figure", "other", "line", "spoilt", "cut", "flip", "splice", "lead", "encode", "long")),
    ),
    "url": Kind(
        lines.make_address,
        address,
        frozenset(("accepted", "refused")),
        frozenset(("web", "encoded", "raw", "spoilt")),
    ),
    "minute": Kind(
        lines.make_words,
        options,
        frozenset(("accepted", "refused")),
        frozenset(("minutes", "keep", "days", "spoilt")),
    ),
}


def judged(kind: str, case: Any) -> Verdict:
    """Compare a case; whatever is raised is a disagreement."""
    try:
        return KINDS[kind].compare(case)
    except Exception as exc:  # noqa: BLE001 - that is what is looked for
        return Verdict("raised", f"{type(exc).__name__} was raised: {str(exc)[:200]}")
