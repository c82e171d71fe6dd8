"""Clearinghouse states as the exchange answers them: JSON in the modern shape and key order, compact.

A state is cut before its time, which is the clock's at the moment of answering: `body + b"%d}" % time_ms`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from hlctl.sim.market import Coin, mark_price, noise, text
from hlctl.sim.wallets import Plan, Slot

_EMPTY_SUMMARY = '{"accountValue":"0.0","totalNtlPos":"0.0","totalRawUsd":"0.0","totalMarginUsed":"0.0"}'
EMPTY = (
    f'{{"marginSummary":{_EMPTY_SUMMARY},"crossMarginSummary":{_EMPTY_SUMMARY},"crossMaintenanceMarginUsed":"0.0",'
    '"withdrawable":"0.0","assetPositions":[],"time":'
).encode()
"""The state of an address the exchange has never seen (309 bytes with its time)."""


@dataclass(frozen=True, slots=True)
class _Open:
    """An open position; all figures in USD."""

    entry: str  # the element of assetPositions, as JSON
    isolated: bool
    signed_value: float
    margin: float
    maintenance: float
    profit: float  # unrealized


def body(plan: Plan, seed: int, minute: int, marks: Mapping[Coin, float]) -> bytes:
    """Give a wallet's state in a minute, up to its time; `marks` are that minute's prices of the plan's coins."""
    positions = [_position(slot, seed, minute, marks[slot.coin]) for slot in plan.slots if _is_open(slot, minute)]
    if not positions and not plan.collateral:
        return EMPTY
    margin = sum(p.margin for p in positions)
    # Collateral that losses would eat up is topped up, so that no wallet is ever liquidated.
    account = max(plan.collateral + sum(p.profit for p in positions), 1.05 * margin)
    cross = [p for p in positions if not p.isolated]
    cross_account = account - sum(p.margin for p in positions if p.isolated)
    free = 0.0 if plan.locked else max(0.0, cross_account - sum(p.margin for p in cross))
    maintenance = sum(p.maintenance for p in cross)
    return (
        f'{{"marginSummary":{_summary(account, positions)},"crossMarginSummary":{_summary(cross_account, cross)},'
        f'"crossMaintenanceMarginUsed":"{text(maintenance)}","withdrawable":"{text(free)}",'
        f'"assetPositions":[{",".join(p.entry for p in positions)}],"time":'
    ).encode()


def _summary(account: float, positions: Iterable[_Open]) -> str:
    signed = [p.signed_value for p in positions]
    return (
        f'{{"accountValue":"{text(account)}","totalNtlPos":"{text(sum(map(abs, signed)))}",'
        f'"totalRawUsd":"{text(account - sum(signed))}","totalMarginUsed":"{text(sum(p.margin for p in positions))}"}}'
    )


def _is_open(slot: Slot, minute: int) -> bool:
    return slot.period == 0 or (minute + slot.key) % slot.period < slot.duty


def _position(slot: Slot, seed: int, minute: int, mark: float) -> _Open:
    coin = slot.coin
    szi = slot.sign * _size(slot, minute)
    value = round(abs(szi) * mark, 6)
    margin = round(value / slot.leverage, 6)
    entry = slot.entry
    if slot.period:
        opened = minute - (minute + slot.key) % slot.period
        entry = mark_price(seed, coin, opened)
    profit = round(szi * (mark - entry), 6)
    equity = profit / (abs(szi) * entry / slot.leverage)
    leverage = f'{{"type":"cross","value":{slot.leverage}}}'
    liquidation = None if slot.liquidation is None else mark * slot.liquidation
    if slot.isolated:
        raw = margin - slot.sign * value
        leverage = f'{{"type":"isolated","value":{slot.leverage},"rawUsd":"{text(raw)}"}}'
        # Where what is left of the margin equals the maintenance margin, half the one at the highest leverage.
        liquidation = -raw / (szi * (1 - slot.sign / (2 * coin.max_leverage)))
    funding = round(value * 0.01 * (noise(slot.key ^ 1, minute // 60) - 0.5), 6)  # paid at the full hour
    far = "null" if liquidation is None else f'"{text(liquidation, 10)}"'
    json = (
        f'{{"type":"oneWay","position":{{"coin":"{coin.name}","szi":"{text(szi, coin.size_decimals)}",'
        f'"leverage":{leverage},"entryPx":"{text(entry, 10)}","positionValue":"{text(value)}",'
        f'"unrealizedPnl":"{text(profit)}","returnOnEquity":"{text(equity, 10)}","liquidationPx":{far},'
        f'"marginUsed":"{text(margin)}","maxLeverage":{coin.max_leverage},"cumFunding":{{'
        f'"allTime":"{text(funding * 3)}","sinceOpen":"{text(funding)}","sinceChange":"{text(funding / 2)}"}}}}}}'
    )
    return _Open(json, slot.isolated, slot.sign * value, margin, value / (2 * coin.max_leverage), profit)


def _size(slot: Slot, minute: int) -> float:
    """Size in coins: within 15 % of the slot's own, drawn anew when it has stood still long enough; never 0."""
    coin = slot.coin
    step = (minute + slot.key) // slot.hold if slot.hold else 0
    size = round(slot.size * (0.85 + 0.3 * noise(slot.key, step)), coin.size_decimals)
    return max(size, 10.0**-coin.size_decimals)
