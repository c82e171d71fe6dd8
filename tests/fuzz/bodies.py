"""Bodies for the two decoders: good ones, and good ones spoiled in every way that came to mind, replayable by number.

Case `index` of a seed is the same on every machine that has the same recorded answers; without them simulated ones
stand in. Its tags say where it comes from and what was done to it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from hlctl import sim
from tests.fuzz import trees
from tests.fuzz.spoil import BOARD_FIELDS, BYTES, COINS, MINUTE_MS, STATE_FIELDS, TREES, TYPES, Draft, many, text
from tests.fuzz.trees import Arr, Obj

MIN_VALID = Decimal("0.90")
LONGEST_ROW = 64 * 2**10
"""Characters a row of the leaderboard may have."""

RECORDED = Path(__file__).parents[3] / "shared" / "data" / "recorded"
ASSETS = ("HYPE", "BTC", "ETH")


@dataclass(frozen=True, slots=True)
class Body:
    """A body and what was done to it."""

    content: bytes
    tags: tuple[str, ...]
    expect: str | None = None  # the one reason it must be refused for, where no parsed document could show it
    cuts: tuple[int, ...] = ()  # where the network cuts it, for who reads it piece by piece
    size: int = 0  # wallets to choose


HARMLESS = frozenset(("recorded", "simulated", "grammar", "shuffle", "unread"))
"""What leaves a good body as good as it was: cut short, it is truncated and nothing else."""


@dataclass(frozen=True, slots=True)
class Pool:
    """Pieces of good answers: states without positions, positions by whether they are ours, rows of leaderboards."""

    shells: tuple[Obj, ...]
    ours: tuple[Obj, ...]
    others: tuple[Obj, ...]
    rows: tuple[Obj, ...]


def _pool(states: list[bytes], boards: list[bytes]) -> Pool:
    documents = [trees.parse(body) for body in states]
    entries = [entry for document in documents for entry in trees.child(document, "assetPositions")]
    mine = [trees.child(trees.child(entry, "position"), "coin").strip('"') in ASSETS for entry in entries]
    shells = [Obj(pair for pair in document if pair[0] not in ('"assetPositions"', '"time"')) for document in documents]
    return Pool(
        shells=tuple(shells),
        ours=tuple(entry for entry, is_mine in zip(entries, mine, strict=True) if is_mine),
        others=tuple(entry for entry, is_mine in zip(entries, mine, strict=True) if not is_mine),
        rows=tuple(row for body in boards for row in trees.child(trees.parse(body), "leaderboardRows")),
    )


@cache
def pools() -> Mapping[str, Pool]:
    """Return the pieces by where they come from; the recorded ones only where they are."""
    world = sim.World.generate(seed=1, rows=400)
    states = [world.state(address, MINUTE_MS) for address in world.addresses[:200]]
    found = {"simulated": _pool(states, [b"".join(world.leaderboard())])}
    if RECORDED.is_dir():
        files = [file for file in sorted((RECORDED / "clearinghouse").glob("*.json")) if file.name != "index.json"]
        boards = sorted((RECORDED / "leaderboard").glob("*.json"))
        found["recorded"] = _pool([file.read_bytes() for file in files], [file.read_bytes() for file in boards])
    return found


def _decimal(rng: Random) -> str:
    """Make up a plain decimal."""
    whole = rng.randrange(10 ** rng.randint(1, 15))
    return rng.choice((f"{whole}", f"-{whole}", f"{whole}.0", f"{whole}.{rng.randrange(10 ** rng.randint(1, 18))}"))


def _grown_position(rng: Random, name: str) -> Obj:
    """Make a position up from the grammar of those there are."""
    leverage = Obj([['"type"', rng.choice(('"cross"', '"isolated"'))], ['"value"', str(rng.randint(1, 50))]])
    price = f'"{_decimal(rng).lstrip("-")}"'
    position = Obj(
        [
            ['"coin"', text(name)],
            ['"szi"', f'"{_decimal(rng)}"'],
            ['"leverage"', leverage],
            ['"entryPx"', rng.choice((price, price, "null"))],
            ['"liquidationPx"', rng.choice((price, "null", '"NaN"'))],
            ['"marginUsed"', f'"{_decimal(rng)}"'],
        ]
    )
    return Obj([['"type"', '"oneWay"'], ['"position"', position]])


def _grown(rng: Random, depth: int = 4) -> Any:
    """Make up any JSON, of the words the decoders know."""
    words = (*STATE_FIELDS, *BOARD_FIELDS, "a")
    kind = rng.randrange(6) if depth else 0
    if kind == 1:
        return Arr(_grown(rng, depth - 1) for _ in range(rng.randint(0, 3)))
    if kind > 1:
        return Obj([f'"{rng.choice(words)}"', _grown(rng, depth - 1)] for _ in range(rng.randint(0, 4)))
    return rng.choice((*TYPES, '"BTC"', '"1.5"', "20", '"cross"', '"month"', f'"{_decimal(rng)}"', str(MINUTE_MS)))


def _good_state(rng: Random, source: str) -> Any:
    pool = pools().get(source) or pools()["simulated"]
    doc: Obj = trees.copy(rng.choice(pool.shells))
    names = rng.sample(ASSETS, rng.choice((0, 1, 1, 2, 3)))
    if source == "grammar":
        entries = Arr(_grown_position(rng, name) for name in (*names, *rng.sample(COINS[:9], rng.randint(0, 2))))
    else:
        mine = {trees.child(trees.child(entry, "position"), "coin"): entry for entry in rng.sample(pool.ours, 6)}
        entries = Arr(trees.copy(mine[f'"{name}"']) for name in names if f'"{name}"' in mine)
        if other := rng.choice((None, rng.choice(pool.others))):
            entries.append(trees.copy(other))
    rng.shuffle(entries)
    doc.append(['"assetPositions"', entries])
    doc.append(['"time"', str(MINUTE_MS + rng.randrange(60_000))])
    return doc


def _good_board(rng: Random, source: str) -> Any:
    pool = pools().get(source) or pools()["simulated"]
    rows = trees.copy(Arr(rng.sample(pool.rows, rng.choice((0, 1, 3, 10, 10, 11, 11, 12, 12)))))
    if source == "grammar":
        for row in rows:
            for slot in [slot for slot in trees.slots(row) if slot[2] in ("pnl", "roi", "vlm", "accountValue")]:
                trees.put(slot, f'"{_decimal(rng)}"')
    doc = Obj([['"leaderboardRows"', rows]])
    for where in (0, len(doc)):
        if rng.random() < 0.2:
            doc.insert(where, [text(rng.choice(("a", "rows", "b"))), rng.choice((*TYPES, "1.5", "12", "-0", "NaN"))])
    return doc


def make(kind: str, seed: int, index: int) -> Body:
    """Make case `index` of a seed; `kind` is state or board."""
    rng = Random(f"{kind}:{seed}:{index}")  # noqa: S311 - replayable, not secret
    source = rng.choice(("recorded", "simulated", "grammar"))
    fields = STATE_FIELDS if kind == "state" else BOARD_FIELDS
    if rng.random() < 0.02:
        draft = Draft(rng, _grown(rng), fields, ["anything"])
    else:
        draft = Draft(rng, (_good_state if kind == "state" else _good_board)(rng, source), fields, [source])
    comma, colon = rng.choice(((",", ":"), (",", ":"), (", ", ": "), (",\n  ", " : ")))
    if kind == "board" and draft.tags == [source] and rng.random() < 0.005:
        return _long(draft, comma, colon)
    steps: list[Any] = rng.choices(
        (*TREES[kind], *BYTES), (*TREES[kind].values(), *BYTES.values()), k=rng.choice((0, 1, 1, 1, 1, 2, 2, 3, 5))
    )
    for step in steps:
        if step in TREES[kind]:
            step(draft)
    body = trees.write(draft.doc, comma, colon).encode("utf-8", "surrogatepass")
    if kind == "state" and rng.random() < 0.002:
        steps, body = [*steps, many], many(rng, body)
    whole = body
    for step in steps:
        if step in BYTES:
            body = step(rng, body)
    tags = (*draft.tags, *(step.__name__ for step in steps))
    was_cut = HARMLESS.union(["cut"]).issuperset(tags) and tags.count("cut") == 1 and 0 < len(body) < len(whole)
    if kind == "board" and not _is_text(body):
        was_cut = False  # a leaderboard that ends within a character is said to be no UTF-8
    return Body(
        content=body,
        tags=tags,
        expect="truncated" if was_cut else None,
        cuts=_cuts(rng, len(body)) if kind == "board" else (),
        size=rng.choice((1, 2, 5, 10, 11)),
    )


def _is_text(body: bytes) -> bool:
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True


def _long(draft: Draft, comma: str, colon: str) -> Body:
    """Let a row be as long as one may be, or longer, and a good one otherwise."""
    rng, rows = draft.rng, trees.child(draft.doc, "leaderboardRows")
    row = Obj([['"unread"', '""'], *(rng.choice(rows) if rows else ())])
    length = LONGEST_ROW + rng.choice((-1, 0, 1, 5000))
    row[0][1] = f'"{"x" * (length - len(trees.write(row, comma, colon)))}"'
    rows[:1] = [row]
    content = trees.write(draft.doc, comma, colon).encode()
    return Body(
        content=content,
        tags=(*draft.tags, "long_row"),
        expect="bad_shape" if length > LONGEST_ROW else None,
        cuts=_cuts(rng, len(content)),
        size=rng.choice((1, 2, 5, 10, 11)),
    )


def _cuts(rng: Random, length: int) -> tuple[int, ...]:
    """Draw where a body is cut on its way: everywhere if it is short, else at a few places."""
    if length < 300:
        return tuple(range(1, length))
    return tuple(sorted({rng.randrange(1, length) for _ in range(rng.randint(0, 5))}))
