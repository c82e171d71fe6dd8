"""hlctl against the reference on 50,000 cases, and whether a fault would be seen. `python -m tests.fuzz` runs more."""

import ast
import json
import re
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from hlctl import moments, settings, universe, wire
from hlctl.jobs import export
from tests.fuzz import bodies, reference, words
from tests.fuzz.campaign import SHARES, run, shortest
from tests.fuzz.compare import KINDS, judged
from tests.fuzz.spoil import MINUTE_MS
from tests.unit.test_recorded import HELD

SEED = 20_261_128
CASES = 50_000


@pytest.mark.parametrize("kind", SHARES)
def test_hlctl_and_the_reference_agree_on_every_case(kind: str) -> None:
    """No crash, no false cell, no false gap; and every class of cases and of outcomes was met, or it was not tested."""
    tally = run(kind, SEED, 0, round(CASES * SHARES[kind]))
    assert [f"{problem}: --kind {kind} --seed {SEED} --only {index}" for index, problem in tally.problems[:5]] == []
    assert tally.unmet(kind) == set()


@pytest.mark.skipif(
    "recorded" not in bodies.pools(), reason="the recorded answers (../shared/data/recorded) are not here"
)
def test_the_reference_reads_recorded_answers_as_they_were_read_by_eye() -> None:
    """Two readers that are wrong in the same way agree: this one is held to a table made without either."""
    for number, (time_ms, held) in HELD.items():
        (file,) = (bodies.RECORDED / "clearinghouse").glob(f"{number}_*.json")
        found = reference.state(file.read_bytes(), time_ms or MINUTE_MS)
        if time_ms is None:
            assert found == reference.Refused(frozenset({"stale"}))
            continue
        assert isinstance(found, dict)
        for asset, cell in found.items():
            terms = held.get(asset)
            assert cell == (
                terms and tuple(word if word is None or word.isalpha() else Decimal(word) for word in terms)
            )


def test_the_reference_knows_nothing_of_hlctl() -> None:
    """What it shared with hlctl could be wrong in both."""
    for module in (reference, words):
        tree = ast.parse(Path(module.__file__ or "").read_text())
        named = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
        named |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        assert named <= {"dataclasses", "datetime", "decimal", "json", "typing"}


def loose_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "_DECIMAL", re.compile(r"[-+]?[\d_]{1,15}(?:\.\d{1,18})?"))


def last_coin_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    class Forgetful(set[str]):
        def add(self, _coin: str) -> None:
            pass

    monkeypatch.setattr(wire, "set", Forgetful, raising=False)


def one_second_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hlctl.minute._LATE", timedelta(seconds=66))


def last_key_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "_decoder", json.JSONDecoder(parse_int=wire._Number, parse_float=wire._Number))


def no_total(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "_total", lambda _state: Decimal(0))


def any_position(monkeypatch: pytest.MonkeyPatch) -> None:
    class Anything(str):
        __slots__ = ()

        def __ne__(self, _other: object) -> bool:
            return False

    monkeypatch.setattr(wire, "_ONE_WAY", Anything())


def twice_as_many_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(universe, "MAX_REJECTED", Decimal("0.20"))


def zero_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "ADDRESS", re.compile("0x[0-9a-f]{40}"))


def any_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "_NAME", re.compile("HLCTL_.*", re.DOTALL))


def any_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "_is_host", lambda _host, **_rest: True)


def near_by_prefix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "_is_loopback", lambda host: host.startswith(("127.", "localhost", "::1")))


def any_date(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "_DAY", re.compile(".{10}", re.DOTALL))


def any_digits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moments, "_SPAN", re.compile(moments._SPAN.pattern))


@pytest.mark.parametrize(
    ("kind", "plant"),
    [
        ("state", loose_numbers), ("state", last_coin_wins), ("state", one_second_more), ("state", last_key_wins),
        ("state", no_total), ("state", any_position),
        ("board", twice_as_many_rejected), ("board", zero_address), ("board", loose_numbers),
        ("config", any_name), ("url", any_host), ("url", near_by_prefix), ("minute", any_date), ("minute", any_digits),
    ],
)  # fmt: skip
def test_a_planted_fault_is_found(
    monkeypatch: pytest.MonkeyPatch, kind: str, plant: Callable[[pytest.MonkeyPatch], None]
) -> None:
    """A comparison that finds nothing must be able to find something, and a body is shown at its shortest."""
    plant(monkeypatch)
    found: tuple[int, str] | None = None
    for first in range(0, 10_000, 500):
        if problems := run(kind, SEED, first, 500).problems:
            found = problems[0]
            break
    assert found is not None
    case: Any = KINDS[kind].make(SEED, found[0])
    short = shortest(kind, case, found[1])
    assert judged(kind, short).problem
    assert len(getattr(short, "content", b"")) <= len(getattr(case, "content", b""))


WORST = {
    "deep arrays": b'{"assetPositions":' + b"[" * 19_990,
    "deep objects": b'{"a":' * 19_990,
    "closed deep arrays": b'{"assetPositions":[],"a":' + b"[" * 19_000 + b"]" * 19_000 + b"}",
    "many values": b'{"assetPositions":[],"a":[' + b"1," * 19_990 + b"1]}",
    "many objects": b'{"assetPositions":[' + b"{}," * 9_000 + b"{}]}",
    "many keys": b'{"assetPositions":[],' + b",".join(b'"%d":1' % number for number in range(19_000)) + b"}",
    "many coins": b'{"assetPositions":['
    + b",".join(b'{"position":{"coin":"%d"}}' % number for number in range(6_000))
    + b"]}",
    "long number": b'{"assetPositions":[],"time":' + b"9" * 260_000 + b"}",
    "long fraction": b'{"assetPositions":[],"time":0.' + b"9" * 260_000 + b"e99}",
    "long figure": b'{"assetPositions":[{"position":{"coin":"BTC","szi":"' + b"9" * 260_000 + b'"}}]}',
    "long string": b'{"assetPositions":[],"a":"' + b"x" * 260_000,
    "escapes": b'{"assetPositions":[],"a":"' + rb"\ud83d\udc0b" * 21_000 + b'"}',
    "quotes": b'{"assetPositions":[],"a":"' + rb"\"" * 130_000,
    "blanks": b" " * 130_000 + b'{"assetPositions":[]' + b"\n" * 130_000,
    "characters": b'{"assetPositions":[],"a":"' + "\U0001f40b".encode() * 65_000 + b'"}',
}  # fmt: skip


def seconds(body: bytes) -> float:
    best = 9.0
    for _ in range(5):
        began = time.thread_time()
        with suppress(wire.WireError):
            wire.decode_state(body)
        best = min(best, time.thread_time() - began)
    return best


@pytest.mark.parametrize("name", WORST)
def test_no_body_within_the_byte_cap_costs_much_more_than_a_good_one(name: str) -> None:
    """Eight of them come at a time. The yardstick is a good state of the largest size recorded, 64 kB."""
    assert len(WORST[name]) <= 256 * 2**10
    entry = b'{"position":{"coin":"COIN%d","szi":"1.5","cumFunding":{"a":"1.0","b":"2.0","c":"3.0"},"entryPx":"100.5"}}'
    good = b'{"assetPositions":[' + b",".join(entry % number for number in range(600)) + b'],"time":1}'
    assert 60_000 < len(good) < 70_000
    assert seconds(WORST[name]) < 50 * seconds(good)
