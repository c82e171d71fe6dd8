"""Blocks of text on a screen: in colour on a terminal, the same characters plain elsewhere."""

import io
import os
import queue
import re
import shutil
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import groupby
from textwrap import wrap
from typing import TextIO

from hlctl import logs
from hlctl.errors import ExitCode, HlctlError, Verdict
from hlctl.render import clean

_JOINT = "\xa0"  # a blank at which no line is broken
_INSEPARABLE = re.compile(r"(?<!\S)(\(?[-\d][\d.,:]*) | (?=\()")
_WIDEST, _NARROWEST = 80, 40  # columns of what is wrapped
_PENDING = 100  # pieces of a bar on their way to a terminal
_LAST_LOOK = 0.3  # seconds for the last of them


@dataclass(frozen=True, slots=True)
class Strip:
    """A row of marks, one character each; a style colours a mark on a terminal."""

    marks: str
    styles: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Facts:
    """Lines of a name and what is known of it; a style colours the first one on a terminal.

    Words that do not fit are wrapped under their beginning if `wrapped`; a strip goes as far to the left as it must.
    """

    rows: Sequence[tuple[str, str | Strip]]
    style: str = ""
    wrapped: bool = False


@dataclass(frozen=True, slots=True)
class Grid:
    """A small table: the first column is text, the others are numbers."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]


Block = str | Facts | Grid
_Line = list[tuple[str, str]]
"""Pieces of text, each with its style."""


def put(blocks: Sequence[Block], stream: TextIO) -> None:
    """Print blocks."""
    stream.write(drawn(blocks, stream))


def drawn(blocks: Sequence[Block], stream: TextIO) -> str:
    """Return the text of blocks as a stream takes it: in colour if it is a terminal, which knows its width."""
    width = max(_NARROWEST, min(_WIDEST, shutil.get_terminal_size().columns))
    lines = [line for block in blocks for line in _lines(block, width)]
    if not stream.isatty():
        return "".join("".join(text for text, _ in line).rstrip() + "\n" for line in lines)
    from rich.console import Console  # noqa: PLC0415 - 40 ms that only a terminal needs
    from rich.text import Text  # noqa: PLC0415

    console = Console(file=stream, highlight=False)
    with console.capture() as captured:
        for line in lines:
            console.print(Text.assemble(*line), soft_wrap=True)
    return captured.get()


def complain(command: str, code: ExitCode | Verdict, error: HlctlError, stream: TextIO) -> None:
    """Print one line: what is wrong and what to do."""
    level = "warning" if code is ExitCode.PARTIAL else "error"
    text = f"{f'hlctl {command}'.rstrip()}: {said(error)}"
    stream.write(logs.written(level, text, message=str(error), code=code, remedy=error.remedy))


def said(error: HlctlError) -> str:
    """Return in one line what is wrong and what to do."""
    return f"{clean(str(error)).removesuffix('.')}{f'; {clean(error.remedy)}' if error.remedy else ''}"


def tell(text: str, *, wanted: bool) -> None:
    """Say what goes on, where somebody watches."""
    if _is_watched(wanted=wanted):
        with suppress(OSError):  # whoever watched may be gone
            sys.stderr.write(f"{text}\n")


def _is_watched(*, wanted: bool) -> bool:
    return wanted and logs.run.format == "text" and sys.stderr.isatty()


class _Aside(io.StringIO):
    """A terminal that nobody waits for: it may be stopped or gone, and what it does not take is lost."""

    def __init__(self, terminal: int) -> None:
        self._terminal = terminal
        self._pending: queue.Queue[bytes] = queue.Queue(_PENDING)
        self._writer = threading.Thread(target=self._pass_on, name="terminal", daemon=True)
        self._writer.start()

    def isatty(self) -> bool:
        """Say what it is."""
        return True

    def write(self, text: str) -> int:
        """Take a piece of text along, if there are not too many."""
        if text:
            self._put(text.encode(errors="replace"))
        return len(text)

    def end(self) -> None:
        """Wait a little for the last of it, which clears the place for other words."""
        self._put(b"")
        self._writer.join(_LAST_LOOK)

    def _put(self, octets: bytes) -> None:
        with suppress(queue.Full):
            self._pending.put_nowait(octets)

    def _pass_on(self) -> None:
        with suppress(OSError):
            while octets := self._pending.get():
                while octets:
                    octets = octets[os.write(self._terminal, octets) :]


@contextmanager
def progress_bar(words: str, *, wanted: bool) -> Iterator[Callable[[int, int], None]]:
    """Show a bar on a terminal; elsewhere nothing."""
    if not _is_watched(wanted=wanted):
        yield lambda _done, _total: None
        return
    from rich.console import Console  # noqa: PLC0415 - only a terminal needs it
    from rich.progress import Progress  # noqa: PLC0415

    aside = _Aside(sys.stderr.fileno())
    try:
        with Progress(console=Console(file=aside), transient=True) as bar:
            task = bar.add_task(words, total=None)
            yield lambda done, total: bar.update(task, completed=done, total=total)
    finally:
        aside.end()


def _lines(block: Block, width: int) -> Iterator[_Line]:
    if isinstance(block, str):
        yield [(block, "")]
    elif isinstance(block, Grid):
        yield from _grid_lines(block)
    else:
        indent = max(len(name) for name, _ in block.rows) + 2
        for number, (name, words) in enumerate(block.rows):
            if isinstance(words, Strip):
                yield _strip_line(words, min(indent, max(0, width - len(words.marks))))
                continue
            style = block.style if number == 0 else ""
            pieces = wrapped(words, width - indent) if block.wrapped else [words]
            for label, piece in zip([name, *[""] * len(pieces)], pieces, strict=False):
                yield [(f"{label:<{indent}}", "dim"), (piece, style)]


def wrapped(words: str, room: int) -> list[str]:
    """Return lines of at most `room` characters, broken between words; a word that is too long loses its end.

    A figure stays with what it counts, and a bracket with what it is about.
    """
    fitting = " ".join(word if len(word) <= room else f"{word[: room - 3]}..." for word in words.split())
    joined = _INSEPARABLE.sub(rf"\1{_JOINT}", fitting)
    if max((len(word) for word in joined.split(" ")), default=0) > room:
        joined = fitting
    lines = wrap(joined, room, break_long_words=False, break_on_hyphens=False) or [""]
    return [line.replace(_JOINT, " ") for line in lines]


def _strip_line(strip: Strip, indent: int) -> _Line:
    marks: Iterable[tuple[str, str]] = (
        ("".join(same), strip.styles.get(mark, "")) for mark, same in groupby(strip.marks)
    )
    return [(" " * indent, ""), *marks]


def _grid_lines(grid: Grid) -> Iterator[_Line]:
    table = [grid.header, *grid.rows]
    widths = [max(len(row[column]) for row in table) for column in range(len(grid.header))]
    for row in table:
        first, *others = zip(row, widths, strict=True)
        cells = [f"{first[0]:<{first[1]}}", *(f"{cell:>{width}}" for cell, width in others)]
        yield [("  ".join(cells).rstrip(), "dim" if row is grid.header else "")]
