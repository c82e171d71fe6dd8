"""Who the generated wallets are: plans of positions, drawn so that the recorded distributions hold.

A wallet is a plan, drawn once from its address; its state is that plan looked at in a minute (`states`). So any
minute can be asked for in any order, and answers the same.
"""

import random
from dataclasses import dataclass

from hlctl.sim.market import COINS, Coin, quantile, quoted, stream

MAX_POSITIONS = 60  # the recorded tail goes on to 190 positions

# Open positions -> wallets, of the 1,000 recorded daily and weekly ones.
_COUNTS = {
    0: 228, 1: 285, 2: 114, 3: 102, 4: 32, 5: 34, 6: 29, 7: 18, 8: 11, 9: 5, 10: 14, 11: 12, 12: 1, 13: 9, 14: 9, 15: 4,
    16: 4, 17: 3, 18: 1, 19: 3, 20: 2, 21: 8, 23: 4, 24: 5, 25: 3, 28: 1, 29: 5, 30: 1, 32: 2, 33: 2, 34: 2, 36: 1,
    37: 2, 41: 1, 43: 3, 45: 2, 46: 1, 50: 3, 52: 3, MAX_POSITIONS: 31,
}  # fmt: skip
_VAULT_COUNT = (25, MAX_POSITIONS)

_MAJORS = tuple(coin for coin in COINS if coin.name in {"BTC", "ETH", "HYPE"})  # in this order
_OTHERS = tuple(coin for coin in COINS if coin not in _MAJORS)
# Share of recorded wallets holding BTC, ETH, HYPE, by the number of open positions up to which the line holds.
_HELD = (
    (1, (0.22, 0.14, 0.33)),
    (2, (0.40, 0.35, 0.41)),
    (3, (0.65, 0.57, 0.46)),
    (6, (0.64, 0.52, 0.58)),
    (12, (0.62, 0.66, 0.69)),
    (40, (0.62, 0.68, 0.66)),
    (MAX_POSITIONS, (0.89, 0.93, 0.84)),
)
# Sizes in coins at market.QUANTILES.
_SIZES = {
    "BTC": (0.00001, 0.078, 3.25, 12.0, 39.0, 275.0, 550.0),
    "ETH": (0.0017, 9.61, 85.6, 307.0, 924.0, 7608.0, 60000.0),
    "HYPE": (0.01, 247.0, 4953.0, 12171.0, 34000.0, 212382.0, 611379.0),
}
_OTHER_NOTIONAL = (0.01, 2.4, 2859.0, 24569.0, 97335.0, 723151.0, 11978652.0)  # USD at market.QUANTILES
_LEVERAGES = {
    "BTC": {20: 157, 40: 106, 10: 26, 3: 12, 5: 10, 25: 7, 11: 5, 2: 5, 1: 4, 6: 3, 14: 3, 30: 3, 35: 1},
    "ETH": {20: 126, 25: 105, 5: 17, 15: 15, 10: 15, 3: 8, 2: 7, 4: 2, 6: 6, 12: 5, 1: 3},
    "HYPE": {10: 227, 5: 55, 3: 55, 4: 10, 2: 9, 6: 5, 7: 4, 1: 2},
}
_OTHER_LEVERAGES = {1: 2, 2: 4, 3: 4, 5: 8}  # against 82 at the coin's own highest
_OTHER_HIGHEST = 82
# Share of longs whose liquidation price is null; shorts always have one.
_LIQUIDATION_NULL = {"BTC": 64 / 127, "ETH": 37 / 67, "HYPE": 37 / 53}
_OTHER_LIQUIDATION_NULL = 0.92
# Liquidation price over mark price at market.QUANTILES; a short with much collateral is absurdly far away.
_LIQUIDATION_LONG = (0.004, 0.044, 0.31, 0.64, 0.79, 0.93, 0.97)
_LIQUIDATION_SHORT = (1.014, 1.39, 5.46, 33.0, 321.0, 131194.0, 20502952.0)

_ISOLATED = 0.04
_SAME_MIND = 0.6  # a wallet's positions lean the same way: 171 of 221 holders of BTC and ETH do
_COMES_AND_GOES = 0.15  # positions that close and open again
_GUEST = 0.2  # wallets with one more position that is open a tenth of the time
_GUEST_OF_FLAT = 0.03  # flat wallets mostly stay flat
_NEVER_FUNDED = 0.5  # flat wallets whose state is all zero
_NOTHING_WITHDRAWABLE = 0.1
# Minutes a size stands still -> weight; 0 = it never changes.
_HOLDS = {1: 5, 5: 10, 15: 20, 60: 30, 240: 20, 0: 15}


@dataclass(frozen=True, slots=True)
class Slot:
    """A position a wallet has at some times."""

    coin: Coin
    key: int  # of the slot's own noise
    sign: int  # 1 long, -1 short
    size: float  # coins, around which the size drifts
    leverage: int
    isolated: bool
    liquidation: float | None  # liquidation over mark price of a cross position; None: the exchange gives none
    entry: float  # USD
    hold: int  # minutes a size stands still, 0 = for ever
    period: int  # minutes from one opening to the next, 0 = always open
    duty: int  # minutes of a period it is open


@dataclass(frozen=True, slots=True)
class Plan:
    """A wallet: its positions in the exchange's order of coins, and its collateral."""

    key: int
    slots: tuple[Slot, ...]
    collateral: float  # USD, without unrealized profit
    locked: bool  # nothing is withdrawable, whatever the account is worth


def draw_plan(seed: int, address: str, *, vault: bool = False) -> Plan:
    """Draw a wallet from its address (lower case); a vault holds many coins, never none."""
    rng = stream(seed, "wallet", address)
    count = rng.randint(*_VAULT_COUNT) if vault else _draw(rng, _COUNTS)
    mind = rng.random()
    coins = _choose_coins(rng, count)
    slots = [_slot(rng, coin, mind, duty=_usual_duty(rng)) for coin in coins]
    if rng.random() < (_GUEST if count else _GUEST_OF_FLAT):
        guest = rng.choice([coin for coin in COINS if coin not in coins])
        slots.append(_slot(rng, guest, mind, duty=0.1))
    cushion = rng.uniform(1.0, 4.0)
    collateral = sum(slot.size * slot.coin.price * (1 / slot.leverage + 0.2) for slot in slots) * cushion
    if not slots and rng.random() >= _NEVER_FUNDED:
        collateral = rng.lognormvariate(5.0, 4.0)
    slots.sort(key=lambda slot: slot.coin.index)
    return Plan(rng.getrandbits(64), tuple(slots), round(collateral, 6), rng.random() < _NOTHING_WITHDRAWABLE)


def _usual_duty(rng: random.Random) -> float:
    return 0.85 if rng.random() < _COMES_AND_GOES else 1.0


def _draw(rng: random.Random, weights: dict[int, int]) -> int:
    return rng.choices(tuple(weights), tuple(weights.values()))[0]


def _choose_coins(rng: random.Random, count: int) -> list[Coin]:
    """Choose which `count` coins a wallet holds."""
    if count == 0:
        return []
    shares = next(shares for upto, shares in _HELD if count <= upto)
    if count == 1:
        return rng.choices((*_MAJORS, *_choose_others(rng, 1)), (*shares, 1 - sum(shares)))
    while True:
        coins = [coin for coin, share in zip(_MAJORS, shares, strict=True) if rng.random() < share]
        if len(coins) <= count:
            return coins + _choose_others(rng, count - len(coins))


def _choose_others(rng: random.Random, count: int) -> list[Coin]:
    """Choose coins beside the three majors, the popular ones more often, none twice."""
    return sorted(_OTHERS, key=lambda coin: rng.expovariate(coin.weight))[:count]


def _slot(rng: random.Random, coin: Coin, mind: float, *, duty: float) -> Slot:
    name = coin.name
    sign = 1 if (mind if rng.random() < _SAME_MIND else rng.random()) < coin.long_share else -1
    share = rng.random()
    size = quantile(_SIZES[name], share) if name in _SIZES else quantile(_OTHER_NOTIONAL, share) / coin.price
    others = {low: weight for low, weight in _OTHER_LEVERAGES.items() if low < coin.max_leverage}
    leverage = _draw(rng, _LEVERAGES.get(name) or {**others, coin.max_leverage: _OTHER_HIGHEST})
    liquidation: float | None = None
    share = rng.random()
    if sign < 0:
        liquidation = quantile(_LIQUIDATION_SHORT, share)
    elif rng.random() >= _LIQUIDATION_NULL.get(name, _OTHER_LIQUIDATION_NULL):
        liquidation = quantile(_LIQUIDATION_LONG, share)
    period = 0 if duty >= 1 else rng.randint(20, 240)
    return Slot(
        coin=coin,
        key=rng.getrandbits(64),
        sign=sign,
        size=size,
        leverage=leverage,
        isolated=rng.random() < _ISOLATED,
        liquidation=liquidation,
        entry=quoted(coin.price * min(1.6, max(0.6, rng.gauss(1.0, 0.12)))),
        hold=_draw(rng, _HOLDS),
        period=period,
        duty=max(1, round(duty * period)),
    )
