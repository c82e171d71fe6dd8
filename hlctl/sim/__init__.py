"""The simulated exchange: Hyperliquid's leaderboard and wallet states over HTTP on loopback, for demo and tests.

    with sim.serve(sim.World.generate(seed=1, rows=2000)) as exchange:
        ...  # ask exchange.url and exchange.leaderboard_url, then read exchange.journal

`python -m hlctl.sim` runs it as a process of its own.
"""

from hlctl.sim.catalogue import CATALOGUE, Misdeed
from hlctl.sim.faults import INFO_LEADERBOARD, LEADERBOARD, Fault
from hlctl.sim.ledger import Served
from hlctl.sim.server import Exchange, serve
from hlctl.sim.world import World

__all__ = ["CATALOGUE", "INFO_LEADERBOARD", "LEADERBOARD", "Exchange", "Fault", "Misdeed", "Served", "World", "serve"]
