"""A minute as most trackers take it: a request of its own per wallet, floats, text keys, an INSERT per row.

It asks the same questions of the same exchange as hlctl, by the same eight threads, and stores the same cells in one
transaction, with no sleep and no work that such a program would not do. Its settings are hlctl's; `SETUP` makes its
table.
"""

import json
import os
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import psycopg
import requests

SETUP = """
    DROP TABLE IF EXISTS naive_positions;
    CREATE TABLE naive_positions (
      minute         timestamptz      NOT NULL,
      wallet         text             NOT NULL,
      coin           text             NOT NULL,
      szi            double precision NOT NULL,
      entry_px       double precision,
      liquidation_px double precision,
      leverage       double precision,
      leverage_type  text,
      margin_used    double precision,
      PRIMARY KEY (minute, wallet, coin)
    );
    CREATE INDEX ON naive_positions (wallet, coin, minute)
"""

_COINS = ("HYPE", "BTC", "ETH")
_INSERT = "INSERT INTO naive_positions VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)"


def _number(value: str | None) -> float | None:
    return None if value is None else float(value)


def _ask(wallet: str) -> dict[str, Any]:
    answer = requests.post(
        f"{os.environ['HLCTL_API_URL']}/info",
        json={"type": "clearinghouseState", "user": wallet},
        verify=os.environ.get("SSL_CERT_FILE") or True,
        timeout=30,
    )
    answer.raise_for_status()
    found: dict[str, Any] = json.loads(answer.text)
    return found


def main() -> None:
    """Record a minute."""
    minute = datetime.now(UTC).replace(second=0, microsecond=0)
    with psycopg.connect(os.environ["HLCTL_DATABASE_URL"]) as conn:
        wallets = [wallet for (wallet,) in conn.execute("SELECT address FROM v_universe ORDER BY rank")]
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(_ask, wallets))
        for wallet, answer in zip(wallets, answers, strict=True):
            positions = {entry["position"]["coin"]: entry["position"] for entry in answer["assetPositions"]}
            for coin in _COINS:
                held = positions.get(coin)
                row: tuple[Any, ...] = (0.0, None, None, None, None, None)
                if held is not None:
                    row = (
                        float(held["szi"]),
                        _number(held["entryPx"]),
                        _number(held["liquidationPx"]),
                        float(held["leverage"]["value"]),
                        held["leverage"]["type"],
                        float(held["marginUsed"]),
                    )
                conn.execute(_INSERT, (minute, wallet, coin, *row))


if __name__ == "__main__":
    main()
