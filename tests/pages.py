"""Pages as data: the fenced blocks of a Markdown page, and the marks that say how each is run.

CONTRIBUTING.md, "Documentation that runs", has the conventions for who writes a page.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

RUN = frozenset({"console", "sh", "sql", "python", "json"})
"""Languages that a test runs, or parses."""
SHOWN = frozenset({"text", "ini", "yaml", "toml", "dockerfile", "promql"})
"""Languages that are only looked at."""
PAGE_MARKS = frozenset({"with", "run by", "not run"})
BLOCK_MARKS = frozenset({"not run", "ci", "run", "exits", "as"})

_COMMENT = re.compile(r"<!-- *([a-z ]+?): *(.*?) *-->")
_FENCE = re.compile(r"( *)(`{3,}|~{3,})(.*)")


class PageError(ValueError):
    """A page whose blocks cannot be told: `line` and what is wrong there."""

    def __init__(self, line: int, words: str) -> None:
        super().__init__(f"line {line}: {words}")


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block."""

    line: int  # of its opening fence, from 1
    language: str
    text: str  # with a newline at its end, if it is not empty
    marks: dict[str, str] = field(default_factory=dict)
    expected: str | None = None  # of a sql block: the text block that follows directly

    @property
    def is_run_here(self) -> bool:
        """Tell whether it is for the test of pages, and not only shown, or run by the gate or another test."""
        return self.language in RUN and not {"not run", "ci", "run"} & self.marks.keys()


@dataclass(frozen=True, slots=True)
class Page:
    """A page's blocks in their order, and the marks that hold for all of them."""

    marks: dict[str, str]
    blocks: list[Block]


def parse(text: str) -> Page:
    """Return the page; PageError for a fence without end, a language nobody knows, or a mark that marks nothing."""
    page = Page({}, [])
    marks: dict[str, str] = {}  # of the lines just before
    query: Block | None = None  # just before, empty lines aside
    at_top = True  # so far there were headings, marks and empty lines only
    for at, item in _items(text.splitlines()):
        if isinstance(item, tuple):
            marks[item[0]] = item[1]
            query = None
            continue
        if isinstance(item, Block):
            if unknown := marks.keys() - BLOCK_MARKS:
                raise PageError(at, f"{', '.join(unknown)!r} is a mark of pages, not of blocks")
            if query and item.language == "text":
                page.blocks[-1] = replace(query, expected=item.text)
            page.blocks.append(replace(item, marks=marks))
            query = page.blocks[-1] if item.language == "sql" else None
        elif marks and not (at_top and marks.keys() <= PAGE_MARKS):
            raise PageError(at, f"{', '.join(marks)!r} marks nothing: it stands on the line before a fence")
        else:
            page.marks.update(marks)
            query = None if item.strip() else query
        marks = {}
        at_top = at_top and isinstance(item, str) and (not item.strip() or item.startswith("#"))
    return page


def _items(lines: Sequence[str]) -> Iterator[tuple[int, Block | tuple[str, str] | str]]:
    """Yield blocks, marks as (key, value), and other lines, each with the line it begins in; last an empty one."""
    at = 0
    while at < len(lines):
        if opening := _FENCE.fullmatch(lines[at]):
            block, end = _block(lines, at, opening)
            yield at + 1, block
            at = end
            continue
        comment = _COMMENT.fullmatch(lines[at].strip())
        if comment and comment[1] in PAGE_MARKS | BLOCK_MARKS:
            if not comment[2]:
                raise PageError(at + 1, f"{comment[1]!r} says nothing")
            yield at + 1, (comment[1], comment[2])
        elif not comment:
            yield at + 1, lines[at]
        at += 1
    yield at, ""


def _block(lines: Sequence[str], at: int, opening: re.Match[str]) -> tuple[Block, int]:
    """Return the block whose fence opens at a line, and the line after its end, both from 0."""
    indent, fence, info = opening.groups()
    closing = re.compile(rf" *{re.escape(fence[0])}{{{len(fence)},}} *")
    language = info.strip().partition(" ")[0]
    if language not in RUN | SHOWN:
        raise PageError(at + 1, f"{language!r} is none of {', '.join(sorted(RUN | SHOWN))}")
    for end in range(at + 1, len(lines)):
        if closing.fullmatch(lines[end]):
            text = "".join(f"{line.removeprefix(indent)}\n" for line in lines[at + 1 : end])
            return Block(at + 1, language, text), end + 1
    raise PageError(at + 1, "the fence has no end")


def commands(console: str) -> list[tuple[str, list[str]]]:
    r"""Return each command of a console block, after `$ `, and the lines of output to expect; a final \ goes on."""
    found: list[tuple[str, list[str]]] = []
    goes_on = False
    for line in console.splitlines():
        if goes_on:
            found[-1] = (f"{found[-1][0]}\n{line}", [])
        elif line.startswith("$ "):
            found.append((line.removeprefix("$ "), []))
        elif found:
            found[-1][1].append(line)
        else:
            raise ValueError(f"a console block begins with a command, not with {line!r}")
        goes_on = found[-1][0].endswith("\\") and not found[-1][1]
    return found


def matches(expected: Sequence[str], found: Sequence[str]) -> bool:
    """Tell whether lines are the expected ones; `...` on a line of its own stands for any lines, or none."""
    pattern = "".join(r"(?:.*\n)*" if line.strip() == "..." else f"{re.escape(line.rstrip())}\n" for line in expected)
    return re.fullmatch(pattern, "".join(f"{line.rstrip()}\n" for line in found)) is not None
