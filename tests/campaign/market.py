"""A small exchange in memory: it answers as told, and keeps a journal of what it told, read by the second reader."""

import json
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

from hlctl.model import MissingReason, Source
from hlctl.sim.market import stream
from hlctl.transport import RequestFailedError
from tests.campaign.stage import Stage
from tests.e2e.oracle import read

COINS = ("HYPE", "BTC", "ETH")
SPOILT: dict[str, Callable[[bytes, datetime], bytes]] = {
    "truncated": lambda body, _now: body[: len(body) // 2],
    "bad_shape": lambda _body, _now: b'{"assetPositions": {}}',
    "bad_number": lambda body, _now: body.replace(b'"szi":"', b'"szi":"1e'),
    "duplicate_coin": lambda body, _now: body.replace(b'"ETH"', b'"BTC"'),
    "stale": lambda body, now: _dated(body, now - timedelta(seconds=90)),
}
"""How a body is spoilt so that its wallet is missing for that reason. A wallet that holds nothing may stay readable."""
FAILING = ("dns", "connect", "tls", "timeout", "reset", "http_4xx", "http_5xx", "rate_limited", "redirect", "too_big")


def _dated(body: bytes, at: datetime) -> bytes:
    return json.dumps({**json.loads(body), "time": round(at.timestamp() * 1000)}, separators=(",", ":")).encode()


class Market:
    """What every wallet holds and how it answers: `moods` says how in this minute, by address or for all (None)."""

    def __init__(self, stage: Stage, seed: str, wallets: int) -> None:
        self.stage = stage
        self.rng = stream(seed)
        self.pool = [f"0x{self.rng.getrandbits(160):040x}" for _ in range(wallets * 3)]
        self.size = wallets
        self.listed = self.pool[:wallets]
        self.held: dict[str, dict[str, int]] = {
            address: {coin: self.rng.choice((0, self.rng.randint(-900, 900))) for coin in COINS}
            for address in self.pool
        }
        self.moods: dict[str | None, str] = {}
        self.journal: list[tuple[float, tuple[Any, ...]]] = []  # when, and a cell that was told then
        self.asked: list[tuple[float, str]] = []  # when, and by whom
        self.hits: set[str] = set()
        self.board = "good"

    def close(self) -> None:
        """Nothing is open."""

    def drift(self) -> None:
        """Let a minute pass: a few sizes change a little."""
        for address in self.rng.sample(self.pool, 3):
            coin = self.rng.choice(COINS)
            self.held[address][coin] += self.rng.randint(-9, 9)

    def state(self, address: str, *, seconds: float) -> bytes:
        """Answer, or raise RequestFailedError, after a while; a position may change at any moment."""
        if (actor := self.stage.current) is not None:
            self.asked.append((self.stage.elapsed, actor.name))
        self.held[address][self.rng.choice(COINS)] += self.rng.choice((0, 0, 0, 1, -1))
        mood = self.moods.get(address) or self.moods.get(None) or "good"
        if mood != "good":
            self.hits.add(mood)
        took = seconds if mood == "timeout" else 30.0 if mood == "late" else self.rng.uniform(0.02, 0.2)
        self.stage.sleep(min(took, seconds))
        if mood in FAILING or (mood == "late" and took > seconds):
            raise RequestFailedError(MissingReason(mood if mood != "late" else "timeout"), "simulated")
        if mood == "internal":
            raise ValueError(mood)
        body = self._body(self.listed[0] if mood == "swapped" else address, mood)
        if mood in SPOILT:
            body = SPOILT[mood](body, self.stage.now())
        if mood != "stale" and (found := read(body)) is not None:
            self.journal += [(self.stage.elapsed, (address, coin, *terms)) for coin, terms in found.items()]
        return body

    def _body(self, address: str, mood: str) -> bytes:
        entries: list[dict[str, Any]] = []
        for coin, held in self.held[address].items():
            size = 0 if mood == "zeros" else held * 100 if mood == "jump" else held
            if size:
                leverage = {"type": "cross" if held % 2 else "isolated", "value": 3}
                terms = {"szi": str(size), "entryPx": "12.5", "liquidationPx": None, "marginUsed": f"{abs(held)}.25"}
                entries.append({"position": {"coin": coin, "leverage": leverage, **terms}})
        now = round(self.stage.now().timestamp() * 1000)
        return json.dumps({"assetPositions": entries, "time": now}, separators=(",", ":")).encode()

    def leaderboard(self, source: Source, *, seconds: float | None = None) -> Iterator[bytes]:  # noqa: ARG002
        """Give the leaderboard of the wallets listed."""
        self.stage.sleep(self.rng.uniform(0.1, 2.0))
        if self.board == "away":
            raise RequestFailedError(MissingReason.CONNECT, "simulated")
        rows = [
            {
                "ethAddress": address,
                "accountValue": "10.5",
                "windowPerformances": [["month", {"pnl": str(10_000 - rank), "roi": "0.5", "vlm": "1"}]],
            }
            for rank, address in enumerate(self.listed)
        ]
        text = json.dumps({"leaderboardRows": rows}).encode()
        yield text[: len(text) // 2] if self.board == "cut" else text

    def churn(self, share: float) -> None:
        """Replace that share of the list by others."""
        count = max(1, round(share * self.size))
        others = [address for address in self.pool if address not in self.listed]
        kept = self.listed[count:]
        self.rng.shuffle(kept)
        self.listed = self.rng.sample(others, min(count, len(others))) + kept
