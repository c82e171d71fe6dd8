"""The second reader: what the exchange's journal says a wallet held, and what the record says of it.

It shares nothing with hlctl's decoder. A body that is odd in any way says nothing, so no stored value may rest on it.
"""

import json
import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache
from typing import Any

from hlctl import sim

ASSETS = ("HYPE", "BTC", "ETH")

Rows = Callable[..., list[tuple[Any, ...]]]
Terms = tuple[Any, ...]
"""(szi, entry_px, liq_px, leverage, leverage_type, margin_used), as stored."""

_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?", re.ASCII)
_HELD = """
    SELECT snapshot_ts, address, asset::text, position_szi, entry_px, liq_px, leverage, leverage_type::text, margin_used
      FROM v_positions WHERE missing_reason IS NULL AND (%s::timestamptz IS NULL OR snapshot_ts = %s)
"""


def universe(rows: Rows) -> list[str]:
    """Return the addresses in force, best first."""
    return [address for (address,) in rows("SELECT address FROM v_universe ORDER BY rank")]


@cache
def read(body: bytes) -> dict[str, Terms] | None:
    """Return the terms of each asset, or None if the body says nothing that can be trusted."""
    try:
        entries = [entry["position"] for entry in json.loads(body, parse_constant=_refuse)["assetPositions"]]
        coins = [p["coin"] for p in entries]
        if len(coins) != len(set(coins)):
            return None
        found: dict[str, Terms] = {asset: (Decimal(0), *[None] * 5) for asset in ASSETS}
        for p in entries:
            if p["coin"] in ASSETS and (size := _number(p["szi"])):
                lever = p["leverage"]
                prices = [None if p.get(name) is None else _number(p[name]) for name in ("entryPx", "liquidationPx")]
                terms = (Decimal(str(lever["value"])), lever["type"], _number(p["marginUsed"]))
                found[p["coin"]] = (size, *prices, *terms)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    return found


def _refuse(name: str) -> None:
    raise ValueError(name)


def _number(text: Any) -> Decimal:
    if not isinstance(text, str) or not _NUMBER.fullmatch(text):
        raise ValueError(text)
    return Decimal(text)


def cells(entries: Iterable[sim.Served]) -> set[tuple[Any, ...]]:
    """Return every cell these entries of the journal may stand behind: (minute, address, asset, *terms)."""
    found = set()
    for entry in entries:
        minute = datetime.fromtimestamp(entry.at // 60 * 60, UTC)
        for asset, terms in (read(entry.body) or {}).items():
            found.add((minute, entry.address, asset, *terms))
    return found


def served(exchange: sim.Exchange, minute: datetime | None = None) -> set[tuple[Any, ...]]:
    """Return every cell the exchange served, of one minute or of all."""
    return cells(exchange.served_states(None if minute is None else int(minute.timestamp()) // 60))


def known(rows: Rows, minute: datetime | None = None) -> set[tuple[Any, ...]]:
    """Return every stored cell that has a value, of one minute or of all."""
    return set(rows(_HELD, minute, minute))


def assert_nothing_false(rows: Rows, exchange: sim.Exchange) -> None:
    """Check that every stored value, zeros included, was served in that very minute."""
    assert known(rows) <= served(exchange)


def assert_whole(rows: Rows, exchange: sim.Exchange, minute: datetime, *, wallets: int = 200) -> None:
    """Check that the minute is a success, that each cell is known, and that each is what was served in it."""
    run = rows("SELECT status, wallets_succeeded, missing FROM ingest_runs WHERE snapshot_ts = %s", minute)
    assert run == [("success", wallets, {})], run
    assert len(known(rows, minute)) == wallets * len(ASSETS)
    assert known(rows, minute) <= served(exchange, minute)


def after(minute: datetime) -> datetime:
    """Return the minute after."""
    return minute + timedelta(minutes=1)
