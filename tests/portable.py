"""Which statements a distributed engine would refuse, read off their text: CONTRIBUTING has the rules ("SQL").

It knows the SQL of this project's files and not the language: no join stands in parentheses. Where it cannot tell,
it finds fault.
"""

import re
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

CELLS = "wallet_snapshots"
READERS = ("odd_cells", "suspect_cells", "stray_cells", "stored_days", "cell_storage")
"""Functions that read cells."""

_NOISE = re.compile(r"--[^\n]*|\$(\w*)\$.*?\$\1\$|'(?:[^']|'')*'", re.DOTALL)
_ITEM = re.compile(r"%\(\w+\)s|[a-z_][\w.]*(?:\.\*)?|[(),;]|[^\s\w(),;]+|\d+")
_ENDS = {"where", "group", "having", "order", "limit", "window", "returning", "on_conflict", "offset", "for", "with"}
_VOLATILE = re.compile(r"\b(hlctl_clock|clock_timestamp|now|random|nextval|gen_random_uuid)\s*\(|\bcurrent_timestamp\b")

# What no file of sql/queries may hold, whatever else it does.
_WORDS = {
    "ON CONFLICT ON CONSTRAINT": r"\bon conflict on constraint\b",
    "tableoid": r"\btableoid\b",
    "a name of a partition or an index": rf"\b{CELLS}_\w+",
    "pg_inherits": r"\bpg_(inherits|partition_\w+)\b",
    "partition DDL": r"\b(attach|detach)\b|\b(drop|alter) table\b",
    "the view by address": r"\bv_positions\b",
}

Item: TypeAlias = "str | Group"


@dataclass(slots=True, eq=False)
class Group:
    """What stands between two parentheses."""

    items: list[Item] = field(default_factory=list)

    @property
    def is_query(self) -> bool:
        """Whether it is a statement of its own, and not a list or an expression."""
        return bool(self.items) and self.items[0] in {"select", "with", "insert", "update", "delete"}


def faults(sql: str) -> list[str]:
    """Return what is wrong with one statement, in words; empty if nothing is."""
    bare = _NOISE.sub(lambda noise: " " if noise[0].startswith("--") else "''", sql)
    text = re.sub(r"\s+", " ", bare).strip().rstrip(";").lower()
    found = [words for words, pattern in _WORDS.items() if re.search(pattern, text)]
    targets = set(re.findall(r"(?:\binsert into|(?<!do )(?<!for )(?<!key )\bupdate|\bdelete from) ([\w.]+)", text))
    reads = re.search(rf"\b({'|'.join((CELLS, *READERS))})\b", text)
    if reads and targets - {CELLS}:
        found.append(f"reads {reads[1]} and writes {', '.join(sorted(targets - {CELLS}))}")
    if CELLS in targets and (volatile := _VOLATILE.search(text)):
        found.append(f"calls {volatile[0].strip('( ')} in a write of cells")
    if CELLS in text and re.search(r"\bfor (no key )?(update|(key )?share)\b", text):
        found.append("locks rows of cells")
    return [*found, *_joins(_tree(text), frozenset({CELLS}))]


def _tree(text: str) -> Group:
    root = Group()
    open_groups = [root]
    for item in _ITEM.findall(re.sub(r"\bon conflict\b", "on_conflict", text)):
        if item == "(":
            group = Group()
            open_groups[-1].items.append(group)
            open_groups.append(group)
        elif item == ")":
            open_groups.pop()
        else:
            open_groups[-1].items.append(item)
    assert open_groups == [root], text
    assert root.is_query or root.items[0] in {"create", "alter", "drop"}, text
    return root


@dataclass(slots=True)
class _Select:
    """One SELECT, without what is united with it."""

    sources: list[tuple[Item, str]]  # what it reads in FROM, with the name it goes by; a function is none
    others: list[Group]  # what else of it is in parentheses


def _joins(query: Group, raw: frozenset[str]) -> Iterator[str]:
    """Yield where cells that were not reduced meet another relation; `raw` are the names that cells go by."""
    raw, body = yield from _read_with(query.items, raw)
    for part in _split(body):
        select = _read_select(part)
        has_cells = [name for name, _ in select.sources if _is_raw(name, raw)]
        strangers = [name for name, _ in select.sources if isinstance(name, str) and name not in raw]
        if has_cells and strangers:
            yield f"joins cells with {', '.join(map(str, strangers))}"
        for name, _ in select.sources:
            if isinstance(name, Group):
                yield from _joins(name, raw)
        for inner in _queries(select.others):
            words = set(_words(inner))
            correlated = any(word.startswith(f"{alias}.") for _, alias in select.sources for word in words)
            inner_raw = bool(words & raw)
            if correlated and inner_raw != bool(has_cells):
                yield "correlates cells with another relation"
            yield from _joins(inner, raw)


def _read_with(items: list[Item], raw: frozenset[str]) -> Generator[str, None, tuple[frozenset[str], list[Item]]]:
    """Yield the faults of a WITH list, if there is one; return the names that cells go by after it, and the rest."""
    if not items or items[0] != "with":
        return raw, items
    at = 1
    while True:
        name = items[at]
        at += 2 if isinstance(items[at + 1], Group) else 1  # its columns
        assert items[at] == "as", name
        is_kept = items[at + 1] == "materialized"
        body = next(item for item in items[at:] if isinstance(item, Group))
        yield from _joins(body, raw)
        if not is_kept and _is_raw(body, raw):
            raw |= {str(name)}
        at = items.index(body, at) + 1
        if at >= len(items) or items[at] != ",":
            return raw, items[at:]
        at += 1


def _split(items: list[Item]) -> list[list[Item]]:
    parts: list[list[Item]] = [[]]
    for item in items:
        if item in {"union", "except", "intersect"}:
            parts.append([])
        else:
            parts[-1].append(item)
    return parts


def _read_select(items: list[Item]) -> _Select:
    sources: list[tuple[Item, str]] = []
    others: list[Group] = []
    expects = inside = False
    for at, item in enumerate(items):
        after = items[at + 1 : at + 3]
        if item == "from" and items[at - 1] not in {"distinct", "delete"}:
            inside = expects = True
        elif item in _ENDS:
            inside = expects = False
        elif inside and item in {"join", ","}:
            expects = True
        elif expects and item not in {"lateral", "only"}:
            expects = False
            is_function = isinstance(item, str) and after and isinstance(after[0], Group)
            if isinstance(item, Group) and not item.is_query:
                others.append(item)
            elif not is_function:
                alias = after[-1] if after[:1] == ["as"] else (after or [""])[0]
                sources.append((item, alias if isinstance(alias, str) else ""))
        elif isinstance(item, Group):
            others.append(item)
    return _Select(sources, others)


def _queries(groups: list[Group]) -> Iterator[Group]:
    """Yield the queries in these parentheses, not those inside of them."""
    for group in groups:
        if group.is_query:
            yield group
        else:
            yield from _queries([item for item in group.items if isinstance(item, Group)])


def _is_raw(item: Item, raw: frozenset[str]) -> bool:
    """Tell whether a source is cells, or a query that passes them on."""
    if isinstance(item, str):
        return item in raw
    return any(word in raw for word in _words(item))


def _words(group: Group) -> Iterator[str]:
    for item in group.items:
        if isinstance(item, Group):
            yield from _words(item)
        else:
            yield item
