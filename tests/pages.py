"""Pages as data: the fenced blocks of a Markdown page, and the marks that say how each is run.

CONTRIBUTING.md, "Documentation that runs", has the conventions for who writes a page.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

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
    def run_elsewhere(self) -> bool:
        """Tell whether the gate or another test runs it, or nobody does."""
        return bool({"not run", "ci", "run"} & self.marks.keys())


@dataclass(frozen=True, slots=True)
class Page:
    """A page's blocks in their order, and the marks that hold for all of them."""

    marks: dict[str, str]
    blocks: list[Block]


def parse(text: str) -> Page:
    """Return the page; PageError for a fence without end, a language nobody knows, or a mark that marks nothing."""
    lines = text.splitlines()
    page = Page({}, [])
    marks: dict[str, str] = {}
    at_top = True  # so far there were headings, marks and empty lines only
    ended = 0  # the line after the last block, if nothing but empty lines came since
    at = 0
    while at < len(lines):
        line = lines[at]
        if opening := _FENCE.fullmatch(line):
            block, at = _block(lines, at, opening, marks)
            before = page.blocks[-1] if page.blocks else None
            if block.language == "text" and before and before.language == "sql" and ended and not marks:
                page.blocks[-1] = Block(before.line, before.language, before.text, before.marks, block.text)
            page.blocks.append(block)
            marks, at_top, ended = {}, False, at
            continue
        if comment := _COMMENT.fullmatch(line.strip()):
            key, value = comment.groups()
            if key in PAGE_MARKS | BLOCK_MARKS and not value:
                raise PageError(at + 1, f"{key!r} says nothing")
            if key in PAGE_MARKS | BLOCK_MARKS:
                marks[key] = value
        elif marks and at_top and marks.keys() <= PAGE_MARKS:
            page.marks.update(marks)
            marks = {}
        elif marks:
            raise PageError(at, f"{', '.join(marks)!r} marks nothing: it stands on the line before a fence")
        if line.strip():
            at_top = at_top and bool(comment or line.startswith("#"))
            ended = 0
        at += 1
    if marks:
        raise PageError(len(lines), f"{', '.join(marks)!r} marks nothing")
    return page


def _block(lines: Sequence[str], at: int, opening: re.Match[str], marks: dict[str, str]) -> tuple[Block, int]:
    """Return the block whose fence opens at a line (from 0), and the line after its end."""
    indent, fence, info = opening.groups()
    closing = re.compile(rf" *{re.escape(fence[0])}{{{len(fence)},}} *")
    language = info.strip().partition(" ")[0]
    if language not in RUN | SHOWN:
        raise PageError(at + 1, f"{language!r} is none of {', '.join(sorted(RUN | SHOWN))}")
    if unknown := marks.keys() - BLOCK_MARKS:
        raise PageError(at, f"{', '.join(unknown)!r} is a mark of pages, not of blocks")
    for end in range(at + 1, len(lines)):
        if closing.fullmatch(lines[end]):
            text = "".join(f"{line.removeprefix(indent)}\n" for line in lines[at + 1 : end])
            return Block(at + 1, language, text, dict(marks)), end + 1
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
