"""A world made up from a seed: its leaderboard, and its wallets looked at in a minute."""

from collections.abc import Iterator

from hlctl.sim import states
from hlctl.sim.board import Board, Kind
from hlctl.sim.market import COINS, Coin, mark_price
from hlctl.sim.wallets import Plan, draw_plan

_CACHED = 4096  # wallets whose plan and last state are kept; beyond it they are made again


class Generated:
    """Answers of a generated world; `addresses` are its wallets in the leaderboard's order, each with its row."""

    def __init__(self, *, seed: int, rows: int, pretty: bool) -> None:
        self._seed = seed
        self._board = Board(seed=seed, rows=rows, pretty=pretty)
        self.addresses = {self._board.address(row): row for row in range(rows)}
        self._marks: tuple[int, dict[Coin, float]] = (-1, {})
        self._plans: dict[str, Plan] = {}
        self._bodies: dict[str, tuple[int, bytes]] = {}

    def leaderboard(self) -> Iterator[bytes]:
        """Give the leaderboard document in pieces of some hundred rows; it does not change with time."""
        return self._board.chunks()

    def state(self, address: str, time_ms: int) -> bytes:
        """Give the state of an address (lower case) at a time in ms; one that is not in this world is all zero.

        What is held depends on the seed, the address and the minute alone; the rest of the time is only printed.
        """
        minute = time_ms // 60_000
        known, body = self._bodies.get(address, (None, b""))
        if known != minute:
            body = self._body(address, minute)
            if len(self._bodies) >= _CACHED:
                self._bodies.clear()
            self._bodies[address] = (minute, body)
        return b"%b%d}" % (body, time_ms)

    def _body(self, address: str, minute: int) -> bytes:
        row = self.addresses.get(address)
        if row is None:
            return states.EMPTY
        plan = self._plans.get(address)
        if plan is None:
            if len(self._plans) >= _CACHED:
                self._plans.clear()
            plan = self._plans[address] = draw_plan(self._seed, address, vault=self._board.kind(row) is Kind.VAULT)
        return states.body(plan, self._seed, minute, self._prices(minute))

    def _prices(self, minute: int) -> dict[Coin, float]:
        """Mark prices of a minute; the last minute asked for is kept."""
        if self._marks[0] != minute:
            self._marks = (minute, {coin: mark_price(self._seed, coin, minute) for coin in COINS})
        return self._marks[1]
