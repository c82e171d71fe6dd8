"""JSON as it is written: documents that may be wrong in ways a dict could not hold.

A leaf is its own text (`"1.5"` with its quotes, `20`, `NaN`), an object a list of pairs, so that a key may come
twice, be spelled with escapes, or be no string at all.
"""

import json
from collections.abc import Iterator
from random import Random
from typing import Any


class Obj(list[list[Any]]):
    """An object: its pairs of a key's text and a node."""


class Arr(list[Any]):
    """An array of nodes."""


Slot = tuple[Obj | Arr, int, str]
"""Where a value stands: its container, the index in it, and its key ("" in an array)."""


class _Number(str):
    __slots__ = ()


def parse(text: str | bytes) -> Any:
    """Read a good document."""
    return _node(
        json.loads(text, object_pairs_hook=lambda pairs: Obj(map(list, pairs)), parse_int=_Number, parse_float=_Number)
    )


def _node(value: Any) -> Any:
    if isinstance(value, Obj):
        return Obj([json.dumps(key, ensure_ascii=False), _node(inner)] for key, inner in value)
    if isinstance(value, list):
        return Arr(_node(inner) for inner in value)
    return str(value) if isinstance(value, _Number) else json.dumps(value, ensure_ascii=False)


def copy(node: Any) -> Any:
    """Return a node that may be changed."""
    if isinstance(node, Obj):
        return Obj([key, copy(inner)] for key, inner in node)
    return Arr(map(copy, node)) if isinstance(node, Arr) else node


def write(node: Any, comma: str = ",", colon: str = ":") -> str:
    """Write a document, with these separators and whatever blanks they hold."""
    if isinstance(node, Obj):
        return "{" + comma.join([f"{key}{colon}{write(inner, comma, colon)}" for key, inner in node]) + "}"
    if isinstance(node, Arr):
        return "[" + comma.join([write(inner, comma, colon) for inner in node]) + "]"
    return str(node)


def slots(node: Any) -> Iterator[Slot]:
    """Yield every place of a value."""
    if isinstance(node, Obj):
        for index, (key, inner) in enumerate(node):
            yield node, index, key.strip('"')
            yield from slots(inner)
    elif isinstance(node, Arr):
        for index, inner in enumerate(node):
            yield node, index, ""
            yield from slots(inner)


def get(slot: Slot) -> Any:
    """Return the value that stands there."""
    container, index, _key = slot
    return container[index][1] if isinstance(container, Obj) else container[index]


def put(slot: Slot, value: Any) -> None:
    """Put another value there."""
    container, index, _key = slot
    if isinstance(container, Obj):
        container[index][1] = value
    else:
        container[index] = value


def child(node: Any, name: str) -> Any:
    """Return the value of a key, "" if it is not there."""
    pairs = node if isinstance(node, Obj) else ()
    return next((inner for key, inner in pairs if key == f'"{name}"'), "")


def shuffle(rng: Random, node: Any) -> None:
    """Put the keys of every object in another order."""
    if isinstance(node, Obj):
        rng.shuffle(node)
    for inner in [pair[1] for pair in node] if isinstance(node, Obj) else node if isinstance(node, Arr) else ():
        shuffle(rng, inner)
