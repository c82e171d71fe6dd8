"""Everything that is done to a good body: to its document, key by key, and to its bytes."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any

from tests.fuzz import trees
from tests.fuzz.trees import Arr, Obj

MINUTE_MS = 1_767_732_240_000
"""Every state is judged as an answer to this minute (ms since the epoch)."""

STATE_FIELDS = frozenset(
    ("assetPositions", "position", "coin", "szi", "leverage", "type", "value", "entryPx", "liquidationPx", "marginUsed")
) | {"time"}
BOARD_FIELDS = frozenset(("leaderboardRows", "ethAddress", "accountValue", "windowPerformances", "pnl", "roi", "vlm"))


@dataclass(slots=True)
class Draft:
    """A body in the making."""

    rng: Random
    doc: Any
    fields: frozenset[str]
    tags: list[str] = field(default_factory=list)

    def slot(self, names: frozenset[str] | None = None) -> trees.Slot | None:
        """Draw a place, mostly one that is read."""
        found = list(trees.slots(self.doc))
        read = [slot for slot in found if slot[2] in (names or self.fields)]
        if names is None and (not read or self.rng.random() < 0.2):
            read = found
        return self.rng.choice(read) if read else None

    def object(self) -> Obj:
        """Draw an object that has a key, mostly one that is read."""
        slot = self.slot()
        if slot and isinstance(slot[0], Obj):
            return slot[0]
        found = [slot[0] for slot in trees.slots(self.doc) if isinstance(slot[0], Obj)]
        return self.rng.choice(found) if found else Obj([['"x"', "1"]])


GOOD = (
    "0",
    "-0",
    "0.0",
    "-0.0",
    "1",
    "00.5",
    "007",
    "9" * 15,
    f"-{'9' * 15}.{'9' * 18}",
    "0.000000000000000001",
    "1.50",
)
ODD = (
    "NaN", "nan", "sNaN", "Infinity", "-Infinity", "inf", "1e3", "1E400", "0e0", "1_000", " 1", "1 ", "+5", ".5", "5.",
    "-", "--1", "-.5", "1-", "0x10", "0b1", "", "1,5", "1.2.3", "1" * 16, "0" * 16, "1." + "1" * 19, "9" * 5000,
    "\uff11\uff12", "\u0663.\u0665", "1\u0660", "\u00b2", "\u00bd", "\u221e", "\u22125", "1\u00a0", "1\n", "1\0",
    "\ufeff1",
    "1\ud800", "null", "None", "true", "1f", "1\u2028", "\U0001d7d9", "1\u200b",
)  # fmt: skip
BARE = (
    "0", "-0", "1", "-1", "20", "1.5", "-0.0", "0.1", "0.0", "1000", "1000.0", "1001", "1000.0000000000000001", "1e3",
    "1E+2",
    "1e400", "-1e-400", "9" * 15, "9" * 16, "9" * 5000, "0." + "1" * 19, "01", "+1", ".5", "1.", "0x10", "1e", "-",
    "1_0",
    "NaN", "Infinity", "-Infinity", "nan", "\uff11", "tru", "nul",
)  # fmt: skip
TYPES = ("null", "true", "false", "{}", "[]", '["1.5"]', '{"a":1}', "0", '""', '"x"', "[[]]", '[["month",{}]]')
COINS = (
    "btc", "BTC ", " BTC", "kBTC", "UBTC", "xyz:BTC", "hyna:ETH", "@107", "#10", "ETH\u200b", "\u0412TC", "BT\u0421",
    "HYPE\0",
    "Hype", "", "BTC\n", "ＢＴＣ", "\ud83d",  # noqa: RUF001 - look-alikes are what is tried
)  # fmt: skip
NOISE = (
    "x",
    "}",
    "]}",
    '"}',
    "{",
    "\\",
    "\\u00e9",
    "é",
    "\U0001f40b}",
    "\u2028",
    "\0",
    "\x1b[31m",
    "\u202e",
    ",,,,",
    "NaN",
)


def text(value: str) -> str:
    """Write a JSON string; a lone surrogate is written as its escape."""
    return json.dumps(value, ensure_ascii=not value.isprintable())


# ---- what is done to a document


def drop(draft: Draft) -> None:
    """Leave a key or an element out."""
    if slot := draft.slot():
        del slot[0][slot[1]]


def double(draft: Draft) -> None:
    """Let a key or an element come twice, the same or with another value."""
    if slot := draft.slot():
        container, index, _key = slot
        again = trees.copy(container[index])
        if isinstance(container, Obj) and draft.rng.random() < 0.5:
            again[1] = draft.rng.choice(TYPES)
        container.insert(draft.rng.choice((index, index + 1, len(container))), again)


def rename(draft: Draft) -> None:
    """Change the case of a key, put a blank into it, or only spell it with an escape, which changes nothing."""
    pairs = draft.object()
    pair = draft.rng.choice(pairs)
    name = str(pair[0]).strip('"') or "x"
    escaped = f"\\u{ord(name[0]):04x}{name[1:]}" if ord(name[0]) < 0x10000 else name
    pair[0] = draft.rng.choice(
        (f'"{name.upper()}"', f'"{name} "', f'"{escaped}"', f'"{escaped}"', f'"{name}\\u0000"', '""')
    )


def odd_key(draft: Draft) -> None:
    """Put something that is no string where a key belongs."""
    draft.rng.choice(draft.object())[0] = draft.rng.choice(
        ("1", "null", "{}", "[]", "a", "'a'", "", "NaN", "-1.5", "true")
    )


def move(draft: Draft) -> None:
    """Put a value where another belongs, or swap them."""
    one, other = draft.slot(), draft.slot()
    if one and other:
        value = trees.copy(trees.get(other))
        if draft.rng.random() < 0.5:
            trees.put(other, trees.copy(trees.get(one)))
        trees.put(one, value)


def wrong_type(draft: Draft) -> None:
    """Give a value another type."""
    if slot := draft.slot():
        trees.put(slot, draft.rng.choice(TYPES))


def odd_number(draft: Draft) -> None:
    """Spell a figure as no decimal is spelled, or as few are."""
    figures = frozenset(("szi", "entryPx", "liquidationPx", "marginUsed", "pnl", "roi", "vlm", "accountValue"))
    if slot := draft.slot(figures):
        trees.put(slot, text(draft.rng.choice(GOOD if draft.rng.random() < 0.4 else ODD)))


def bare_number(draft: Draft) -> None:
    """Put a bare number, or what looks like one."""
    numbers = frozenset(("value", "time", "szi", "prize", "accountValue", "pnl"))
    if slot := draft.slot(numbers if draft.rng.random() < 0.8 else None):
        trees.put(slot, draft.rng.choice(BARE))


def deep(draft: Draft) -> None:
    """Nest a value, a little or beyond what any parser follows: what lies between depends on the interpreter."""
    if slot := draft.slot():
        depth = draft.rng.choice((1, 2, 30, 30, 150, 17_000))
        opening, closing = draft.rng.choice((("[", "]"), ('{"a":', "}")))
        trees.put(slot, opening * depth + trees.write(trees.get(slot)) + closing * depth)


def shuffle(draft: Draft) -> None:
    """Put keys in another order, which changes nothing."""
    trees.shuffle(draft.rng, draft.doc)


def unread(draft: Draft) -> None:
    """Add a key nobody reads, with hostile text, which changes nothing."""
    value = draft.rng.choice(
        (text(draft.rng.choice(NOISE) * draft.rng.randint(1, 40)), "1e400", "[{}]", "-0.5", "null")
    )
    draft.object().append([f'"unread{draft.rng.randint(0, 9**9)}"', value])


def coin(draft: Draft) -> None:
    """Give a position a coin that is not ours, or nearly."""
    if slot := draft.slot(frozenset(("coin",))):
        trees.put(slot, text(draft.rng.choice(COINS)))


def coin_twice(draft: Draft) -> None:
    """Let two positions have one coin."""
    found = [slot for slot in trees.slots(draft.doc) if slot[2] == "coin"]
    if len(found) > 1:
        one, other = draft.rng.sample(found, 2)
        trees.put(one, trees.copy(trees.get(other)))


def date(draft: Draft) -> None:
    """Date the state at a bound, just beyond it, or in another unit."""
    offset = draft.rng.choice((-5001, -5000, -4999, 0, 59_999, 60_000, 64_999, 65_000, 65_001, -(10**7), 10**9))
    at = MINUTE_MS + offset
    if slot := draft.slot(frozenset(("time",))):
        spelled = (
            str(at),
            str(at),
            str(at),
            str(at),
            str(at // 1000),
            str(at * 1000),
            f'"{at}"',
            f"{at}.0",
            f"{at}.5",
            f"-{at}",
        )
        trees.put(slot, draft.rng.choice((*spelled, f"{at}e0", f"00{at}", "null", "9" * 15, "9" * 16)))


def address(draft: Draft) -> None:
    """Spell an address in capitals, or as nobody's."""
    if slot := draft.slot(frozenset(("ethAddress",))):
        good = str(trees.get(slot)).strip('"')
        spelled = (
            good[:2] + good[2:].upper(), good[:2] + good[2:].upper(), good.upper(), good[:-1], good + "0", " " + good,
            good + "\n",
            "0x" + "0" * 40, good[:-1] + "g", good[:-1] + "\u0430", good[:-1] + "\uff11", good[2:], "", "0x",
            "' OR 1=1--",
        )  # fmt: skip
        trees.put(slot, text(draft.rng.choice(spelled)))


def address_twice(draft: Draft) -> None:
    """Let two rows have one address, or all of them one PnL."""
    name = draft.rng.choice(("ethAddress", "ethAddress", "pnl"))
    found = [slot for slot in trees.slots(draft.doc) if slot[2] == name]
    if found:
        first = trees.get(draft.rng.choice(found))
        for slot in found if name == "pnl" else draft.rng.sample(found, 1):
            trees.put(slot, trees.copy(first))


def windows(draft: Draft) -> None:
    """Leave the month out, let it come twice, or spoil the windows' form."""
    if (slot := draft.slot(frozenset(("windowPerformances",)))) and isinstance(found := trees.get(slot), Arr):
        month = Arr(['"month"', Obj([['"pnl"', '"9.5"'], ['"roi"', '"0.1"'], ['"vlm"', '"1.0"']])])
        others = Arr(window for window in found if window[:1] != ['"month"'])
        odd: Any = draft.rng.choice(
            ('"ab"', '"month"', "[]", '["month"]', '["month",{},1]', '{"month":{},"pnl":1}', "7", "null")
        )
        changed = (others, Arr([*found, month]), Arr([month, *found]), Arr([*found, odd]), Arr([odd, *others]), odd)
        trees.put(slot, draft.rng.choice(changed))


# ---- what is done to its bytes


def cut(rng: Random, body: bytes) -> bytes:
    """End it early, anywhere or behind a bracket."""
    if rng.random() < 0.5 and (found := [at + 1 for at, byte in enumerate(body) if byte in b'}],"']):
        return body[: rng.choice(found)]
    return body[: rng.randrange(len(body) + 1)]


def trail(rng: Random, body: bytes) -> bytes:
    """Let something follow, blanks among it."""
    return body + rng.choice(
        (b" \r\n", b"\t", b"\0", b"}", b"x", b"{}", b",", b"\xff", b"\x0b", b"\xc2\xa0", b"]", b"null", body)
    )


def lead(rng: Random, body: bytes) -> bytes:
    """Let something precede it, blanks among it."""
    return (
        rng.choice((b" \r\n\t", b"\n", b"\xef\xbb\xbf", b"\0", b"x", b"[", b"\x0c", b"\xc2\x85", b")]}',\n", b"{"))
        + body
    )


def flip(rng: Random, body: bytes) -> bytes:
    """Change single bytes."""
    changed = bytearray(body)
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        if changed:
            at = rng.randrange(len(changed))
            changed[at] = rng.choice(
                (changed[at] ^ 1 << rng.randrange(8), rng.randrange(256), rng.choice(b'"{}[],:\\0-. '))
            )
    return bytes(changed)


def splice(rng: Random, body: bytes) -> bytes:
    """Take a piece out, double it, or put a token in."""
    one, other = sorted((rng.randrange(len(body) + 1), rng.randrange(len(body) + 1)))
    other = min(other, one + rng.choice((1, 2, 8, 300)))
    token = rng.choice(
        (
            b"NaN",
            b"null",
            b"-Infinity",
            b'"',
            b"{",
            b"}",
            b",",
            b":",
            b"\\",
            b"\xff",
            b"\xc3",
            b"\0",
            b"\\ud800",
            b"/**/",
        )
    )
    return rng.choice((body[:one] + body[other:], body[:other] + body[one:], body[:one] + token + body[one:]))


def encode(rng: Random, body: bytes) -> bytes:
    """Write it in another encoding."""
    words = body.decode(errors="replace")
    return words.encode(rng.choice(("utf-16", "utf-16-le", "utf-32", "utf-8-sig", "utf-7", "cp037")), errors="replace")


def blank(rng: Random, body: bytes) -> bytes:
    """Put a blank behind a comma or a colon, JSON's or another's."""
    found = [at + 1 for at, byte in enumerate(body) if byte in b",:"]
    at = rng.choice(found) if found else 0
    return (
        body[:at]
        + rng.choice((b" ", b"\n", b"\r", b"\t", b"\x0b", b"\x0c", b"\xc2\xa0", b"\xe2\x80\xa8", b"\x1f"))
        + body[at:]
    )


def many(rng: Random, body: bytes) -> bytes:
    """Put in just as many values as a state may have, or one more, or far more."""
    at = body.find(b"{") + 1
    left = 20_000 - sum(map(body.count, (b",", b"[", b"{")))
    count = max(1, left - 1 + rng.choice((-1, 0, 0, 1, 2, 5000)))
    return body[:at] + b'"many":[' + b",".join([b"1"] * count) + b"]," + body[at:] if at and left > 0 else body


Tree = Callable[[Draft], None]
Bytes = Callable[[Random, bytes], bytes]

SHARED: Mapping[Tree, int] = {
    drop: 6, double: 5, rename: 5, odd_key: 1, move: 4, wrong_type: 6, odd_number: 9, bare_number: 6, deep: 1,
    shuffle: 6, unread: 10,
}  # fmt: skip
TREES: Mapping[str, Mapping[Tree, int]] = {
    "state": {**SHARED, coin: 4, coin_twice: 4, date: 9},
    "board": {**SHARED, address: 6, address_twice: 6, windows: 6},
}
BYTES: Mapping[Bytes, int] = {cut: 5, trail: 3, lead: 3, flip: 4, splice: 4, encode: 1, blank: 6}
