"""A world of recorded answers, read from a folder of real data.

The folder holds `clearinghouse/index.json` with the bodies it names, `leaderboard/derived_*.json.gz` (somebody's
digest of real wallets: floats, unsigned sizes) and `leaderboard/*rows*.json` (pieces of real leaderboards).

What is served, best source first, and what had to be filled in:

- a state is a recorded body, byte for byte but for its time, where there is one for the wallet (several take turns by
  the minute); a body whose wallet was not recorded gets a stand-in address made from its file's name;
- else it is written from the digest in the modern shape: the digest knows size, direction, entry, leverage, value,
  profit and liquidation price; every position is called cross, maxLeverage repeats the leverage, funding is zero;
- a leaderboard row is a recorded one where there is one (the newest), its values unchanged;
- else it is written from the digest: its daily and weekly figures are the windows of these names, the weekly (else the
  daily) ones stand for the month too, which was not recorded, and allTime is zero;
- else, for a wallet known from a body alone, the month's PnL is the sum of the body's unrealized profits.

Recorded rows of wallets whose positions nobody recorded are left out: an address without a state answers all zero, and
the record would then say that these real wallets were flat.
"""

import gzip
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from hashlib import blake2b
from pathlib import Path
from typing import Any

from hlctl.sim.states import EMPTY

_TIME = re.compile(rb'"time"\s*:\s*(\d+)')
_WINDOWS = ("day", "week", "month", "allTime")


@dataclass(frozen=True, slots=True)
class _Body:
    """A state cut where its time goes."""

    before: bytes
    after: bytes


class Recorded:
    """Answers of a recorded world; only a state's time follows the clock. `addresses` have a recorded state."""

    def __init__(self, states: Mapping[str, tuple[_Body, ...]], leaderboard: bytes) -> None:
        self._states = states
        self._leaderboard = leaderboard
        self.addresses = tuple(states)

    def leaderboard(self) -> Iterator[bytes]:
        """Give the leaderboard document, in one piece, sorted by falling month volume like the real one."""
        yield self._leaderboard

    def state(self, address: str, time_ms: int) -> bytes:
        """Give the state of an address (lower case) at a time; one that was not recorded is all zero."""
        bodies = self._states.get(address)
        if bodies is None:
            return b"%b%d}" % (EMPTY, time_ms)
        body = bodies[time_ms // 60_000 % len(bodies)]
        return b"%b%d%b" % (body.before, time_ms, body.after)


def load(folder: Path) -> Recorded:
    """Read a folder of recorded data; ValueError says what is missing or unreadable."""
    try:
        return _load(folder)
    except (AttributeError, ArithmeticError, LookupError, TypeError) as exc:
        raise ValueError(f"recorded data: {folder} is not laid out as expected: {exc!r}") from exc


def _load(folder: Path) -> Recorded:
    bodies = _bodies(folder)
    digest = _digest(folder)
    states: dict[str, tuple[_Body, ...]] = {address: (_cut(_state(wallet)),) for address, wallet in digest.items()}
    states |= {address: tuple(map(_cut, raws)) for address, raws in bodies.items()}
    rows = {address: _row_of_body(address, raws[-1]) for address, raws in bodies.items()}
    rows |= {address: _row(address, wallet) for address, wallet in digest.items()}
    rows |= {address: row for address, row in _recorded_rows(folder).items() if address in states}
    ordered = sorted(rows.values(), key=_month_volume, reverse=True)
    document = json.dumps({"leaderboardRows": ordered}, ensure_ascii=False, separators=(",", ":"))
    return Recorded(states, document.encode())


def stand_in(name: str) -> str:
    """Address given to the wallet of a recorded body whose real one is not known."""
    return "0x" + blake2b(name.encode(), digest_size=20).hexdigest()


def _read(path: Path) -> Any:  # noqa: ANN401 - whatever the JSON holds
    try:
        raw = path.read_bytes()
        return json.loads(gzip.decompress(raw) if path.suffix == ".gz" else raw)
    except (OSError, EOFError, ValueError) as exc:
        raise ValueError(f"recorded data: cannot read {path}: {exc}") from exc


def _found(folder: Path, pattern: str) -> list[Path]:
    paths = sorted(folder.glob(pattern))
    if not paths:
        raise ValueError(f"recorded data: no {pattern} in {folder}")
    return paths


def _bodies(folder: Path) -> dict[str, list[bytes]]:
    """Give the recorded main-dex bodies by wallet, oldest first."""
    index = _read(folder / "clearinghouse" / "index.json")
    bodies: dict[str, list[bytes]] = {}
    for entry in sorted(index, key=lambda entry: str(entry["file"])):  # file names are numbered by date within a wallet
        if not entry.get("dex"):
            path = folder / entry["file"]
            _read(path)  # so that what is served is JSON
            address = str(entry.get("user") or stand_in(path.name)).lower()
            bodies.setdefault(address, []).append(path.read_bytes().rstrip())
    return bodies


def _cut(raw: bytes) -> _Body:
    """Cut a body at the digits of its time; the oldest shape has none and gets one at its end."""
    found = list(_TIME.finditer(raw))
    if len(found) > 1:
        raise ValueError(f"recorded data: a body with {len(found)} times")
    if found:
        return _Body(raw[: found[0].start(1)], raw[found[0].end(1) :])
    return _Body(raw[:-1] + b',"time":', raw[-1:])


def _digest(folder: Path) -> dict[str, dict[str, Any]]:
    """Wallets of the digest by address, with `daily` and `weekly` set where it has these figures."""
    wallets: dict[str, dict[str, Any]] = {}
    for path in _found(folder / "leaderboard", "derived_*.json.gz"):
        tracker = _read(path)["whaleTracker"]
        for window in ("daily", "weekly"):
            for entry in tracker[window]:
                wallets.setdefault(entry["address"].lower(), entry)[window] = entry
        partial: dict[str, dict[str, Any]] = {}  # wallets known by their biggest positions alone
        for position in tracker["biggestPositions"]:
            address = position["traderAddress"].lower()
            if address not in wallets:
                named = {"displayName": position["traderName"], "accountValue": position["traderAccountValue"]}
                partial.setdefault(address, {**named, "positions": []})["positions"].append(position)
        wallets |= partial
    return wallets


def _recorded_rows(folder: Path) -> dict[str, dict[str, Any]]:
    """Give the recorded leaderboard rows by address, the newest of each; file names carry the date."""
    rows: dict[str, dict[str, Any]] = {}
    paths = _found(folder / "leaderboard", "*rows*.json")
    for path in sorted(paths, key=lambda path: re.findall(r"\d{4}-\d\d-\d\d", path.name)):
        rows.update({row["ethAddress"].lower(): row for row in _read(path)["leaderboardRows"]})
    return rows


def _month_volume(row: Mapping[str, Any]) -> Decimal:
    return Decimal(dict(row["windowPerformances"])["month"]["vlm"])


def _text(number: float | Decimal) -> str:
    """Print a number of the digest without an exponent, with at most ten decimals."""
    exact = Decimal(repr(number)) if isinstance(number, float) else number
    printed = f"{round(exact, 10):f}".rstrip("0")
    return printed + "0" if printed.endswith(".") else printed


def _row(address: str, wallet: Mapping[str, Any]) -> dict[str, Any]:
    day, week = wallet.get("daily"), wallet.get("weekly")
    windows = zip(_WINDOWS, (day, week, week or day, None), strict=True)
    return {
        "ethAddress": address,
        "accountValue": _text(wallet["accountValue"]),
        "windowPerformances": [[name, _window(figures or {})] for name, figures in windows],
        "prize": 0,
        "displayName": wallet["displayName"],
    }


def _window(figures: Mapping[str, Any]) -> dict[str, str]:
    names = {"pnl": "pnl", "roi": "roi", "vlm": "volume"}
    return {name: _text(float(figures.get(theirs, 0.0))) for name, theirs in names.items()}


def _row_of_body(address: str, raw: bytes) -> dict[str, Any]:
    state = json.loads(raw)
    profit = sum(Decimal(held["position"]["unrealizedPnl"]) for held in state["assetPositions"])
    row = _row(address, {"accountValue": 0.0, "displayName": None})
    row["accountValue"] = state["marginSummary"]["accountValue"]
    row["windowPerformances"][2][1]["pnl"] = _text(Decimal(profit) + Decimal("0.0"))
    return row


def _state(wallet: Mapping[str, Any]) -> bytes:
    """Write a state in the modern shape from a wallet of the digest."""
    account = Decimal(repr(wallet["accountValue"]))
    signed = value = margin = Decimal("0.0")
    positions = []
    for held in wallet["positions"]:
        sign = -1 if held["direction"] == "Short" else 1
        worth = Decimal(repr(held["positionValue"]))
        used = round(worth / int(held["leverage"]), 6)
        signed, value, margin = signed + sign * worth, value + worth, margin + used
        positions.append({"type": "oneWay", "position": _position(held, sign=sign, used=used)})
    summary = {
        "accountValue": account,
        "totalNtlPos": value,
        "totalRawUsd": account - signed,
        "totalMarginUsed": margin,
    }
    figures = {name: _text(figure) for name, figure in summary.items()}
    state = {
        "marginSummary": figures,
        "crossMarginSummary": figures,
        "crossMaintenanceMarginUsed": _text(margin / 2),
        "withdrawable": _text(max(Decimal("0.0"), account - margin)),
        "assetPositions": positions,
        "time": 0,
    }
    return json.dumps(state, separators=(",", ":")).encode()


def _position(held: Mapping[str, Any], *, sign: int, used: Decimal) -> dict[str, Any]:
    profit = Decimal(repr(held["unrealizedPnl"]))
    return {
        "coin": held["coin"],
        "szi": _text(sign * Decimal(repr(held["size"]))),
        "leverage": {"type": "cross", "value": int(held["leverage"])},
        "entryPx": held["entryPx"],
        "positionValue": _text(held["positionValue"]),
        "unrealizedPnl": _text(profit),
        "returnOnEquity": _text(profit / used if used else Decimal("0.0")),
        "liquidationPx": held["liquidationPx"],
        "marginUsed": _text(used),
        "maxLeverage": int(held["leverage"]),
        "cumFunding": {"allTime": "0.0", "sinceOpen": "0.0", "sinceChange": "0.0"},
    }
