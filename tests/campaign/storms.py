"""Ten minutes of each kind of storm with 200 wallets: few requests, the truth, and a whole minute right after it."""

import argparse
import os
import platform
import sys
import tempfile
import traceback
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

from hlctl import __version__
from tests.campaign.kill import server
from tests.e2e import killing
from tests.e2e.storms import KINDS, WALLETS, Storm


def main() -> int:
    """Let the storms rage and print the summary; 1 if a promise was broken."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seed", type=int, default=2026, help="of what is drawn by chance")
    options.add_argument("--minutes", type=int, default=10, help="of each storm")
    options.add_argument(
        "--patience", type=float, default=16.0, help="seconds that a run has for its requests, 1 to 16"
    )
    options.add_argument("--only", action="append", choices=KINDS, help="this kind")
    options.add_argument("--at-once", type=int, default=3)
    asked = options.parse_args()
    broken: list[str] = []
    with (
        tempfile.TemporaryDirectory() as folder,
        server(Path(folder) / "server") as url,
        killing.with_universe(url, Path(folder) / "template", wallets=WALLETS) as template,
    ):

        def rage(name: str) -> str:
            with killing.lane(url, Path(folder) / name, template, wallets=WALLETS) as lane:
                storm = Storm(name, lane, asked.seed, asked.patience)
                try:
                    storm.run(asked.minutes)
                except AssertionError:
                    broken.append(f"--only '{name}' --seed {asked.seed}: {traceback.format_exc(limit=-2)}")
                line = storm.line() if storm.requests else f"{name}: no run"
                print(line, flush=True)
                return line

        with ThreadPoolExecutor(asked.at_once) as pool:
            lines = list(pool.map(rage, asked.only or KINDS))
    print(f"\n{datetime.now(UTC):%F}, hlctl {__version__}, Python {platform.python_version()}, ", end="")
    print(f"{os.cpu_count()} processors, seed {asked.seed}, {asked.minutes} minutes a storm")
    print(*lines, *broken, sep="\n")
    print(f"{len(lines)} storms, {len(broken)} with a broken promise")
    return int(bool(broken))


if __name__ == "__main__":
    sys.exit(main())
