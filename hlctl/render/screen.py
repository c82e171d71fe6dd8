"""Blocks of text on a screen: in colour on a terminal, plain elsewhere."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TextIO

from hlctl.errors import HlctlError
from hlctl.render import clean


@dataclass(frozen=True, slots=True)
class Facts:
    """Lines of a name and what is known of it; a style colours the first one on a terminal."""

    rows: Sequence[tuple[str, str]]
    style: str = ""


@dataclass(frozen=True, slots=True)
class Grid:
    """A small table: the first column is text, the others are numbers."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]


Block = str | Facts | Grid


def put(blocks: Sequence[Block], stream: TextIO) -> None:
    """Print blocks: in colour on a terminal, as plain text elsewhere."""
    if stream.isatty():
        _put_rich(blocks, stream)
    else:
        stream.write("\n".join(line for block in blocks for line in _plain_lines(block)) + "\n")


def complain(command: str, error: HlctlError, stream: TextIO) -> None:
    """Print one line: what is wrong and what to do."""
    remedy = f"; {error.remedy}" if error.remedy else ""
    name = f"hlctl {command}".rstrip()
    stream.write(f"{name}: {clean(str(error)).removesuffix('.')}{clean(remedy)}\n")


def tell(text: str, *, wanted: bool) -> None:
    """Say what goes on, where somebody watches."""
    if wanted and sys.stderr.isatty():
        sys.stderr.write(f"{text}\n")


@contextmanager
def progress_bar(words: str, *, wanted: bool) -> Iterator[Callable[[int, int], None]]:
    """Show a bar on a terminal; elsewhere nothing."""
    if not (wanted and sys.stderr.isatty()):
        yield lambda _done, _total: None
        return
    from rich.console import Console  # noqa: PLC0415 - only a terminal needs it
    from rich.progress import Progress  # noqa: PLC0415

    with Progress(console=Console(file=sys.stderr), transient=True) as bar:
        task = bar.add_task(words, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _plain_lines(block: Block) -> list[str]:
    if isinstance(block, str):
        return [block]
    if isinstance(block, Facts):
        width = max(len(name) for name, _ in block.rows) + 2
        return [f"{name:<{width}}{words}" for name, words in block.rows]
    table = [block.header, *block.rows]
    widths = [max(len(row[column]) for row in table) for column in range(len(block.header))]
    return [
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in table
    ]


def _put_rich(blocks: Sequence[Block], stream: TextIO) -> None:
    from rich.console import Console  # noqa: PLC0415 - 40 ms that only a terminal needs
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    console = Console(file=stream, highlight=False)
    for block in blocks:
        if isinstance(block, str):
            console.print(Text(block))
            continue
        table = Table(box=None, show_header=isinstance(block, Grid), padding=(0, 2, 0, 0), header_style="dim")
        if isinstance(block, Facts):
            table.add_column(style="dim", no_wrap=True)
            table.add_column()
            for number, (name, words) in enumerate(block.rows):
                table.add_row(Text(name), Text(words, style=block.style if number == 0 else ""))
        else:
            for column, name in enumerate(block.header):
                table.add_column(name, justify="left" if column == 0 else "right", no_wrap=True)
            for row in block.rows:
                table.add_row(*(Text(cell) for cell in row))
        console.print(table)
