"""What the simulated exchange answers from: a leaderboard, and the state of every address in every minute."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from hlctl.sim.generated import Generated
from hlctl.sim.recorded import load

MAX_ROWS = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """A world is two functions; tests may bring their own."""

    addresses: tuple[str, ...]  # wallets with a state of their own, lower case
    leaderboard: Callable[[], Iterator[bytes]]  # the document in pieces
    state: Callable[[str, int], bytes]  # address (lower case) and time (ms since the epoch) -> clearinghouse state

    @classmethod
    def generate(cls, *, seed: int = 1, rows: int = 2000, pretty: bool = False) -> "World":
        """Make a world up, its distributions those of recorded wallets; up to MAX_ROWS rows, `pretty` indents them.

        What a wallet holds is a pure function of seed, address and minute; the leaderboard stands still.
        """
        if not 0 <= rows <= MAX_ROWS:
            raise ValueError(f"a world has 0 to {MAX_ROWS} wallets, not {rows}")
        made = Generated(seed=seed, rows=rows, pretty=pretty)
        return cls(addresses=tuple(made.addresses), leaderboard=made.leaderboard, state=made.state)

    @classmethod
    def recorded(cls, folder: Path) -> "World":
        """Serve a folder of recorded data (see `recorded`); ValueError says what is missing or unreadable."""
        read = load(folder)
        return cls(addresses=read.addresses, leaderboard=read.leaderboard, state=read.state)
