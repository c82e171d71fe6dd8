"""`status --watch`: look, show, wait, until a signal or a closed stdout ends it."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import TextIO

from hlctl.answers import StatusResult
from hlctl.errors import HlctlError
from hlctl.jobs.database import NO_ANSWER
from hlctl.render import status
from hlctl.render.screen import Block, drawn, said

PERIOD = 5.0
"""Seconds from one look to the next."""

_PATIENCE = 4.5  # seconds until a look that does not come back is news itself
_ENTER, _LEAVE = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"  # the alternate screen without a cursor, and back
_AFRESH = "\x1b[H\x1b[J"

Look = Callable[[], StatusResult]


def watch(look: Look, stream: TextIO, *, period: float = PERIOD) -> None:
    """Show one look after the other, on a terminal in place of the last; what keeps one from answering is shown too.

    A signal, raised as KeyboardInterrupt, is the normal end; so is a stream that nobody reads any more.
    """
    with suppress(KeyboardInterrupt), _screen(stream) as show:
        for blocks in _looks(look, period, wrapped=stream.isatty()):
            try:
                show(blocks)
            except (OSError, ValueError):
                return


def _looks(look: Look, period: float, *, wrapped: bool) -> Iterator[Sequence[Block]]:
    """Yield what each look shows.

    It is taken in a thread that nobody waits for at the end: a resolver holds off every signal in its own.
    """
    thread = ThreadPoolExecutor(max_workers=1)
    pending: Future[StatusResult] | None = None
    while True:
        next_at = time.monotonic() + period
        pending = pending or thread.submit(look)
        try:
            blocks: Sequence[Block] = status.status(pending.result(timeout=_PATIENCE))
        except TimeoutError as exc:
            if pending.done() and pending.exception() is exc:  # the look's own
                raise
            blocks = [status.unknown(NO_ANSWER, wrapped=wrapped)]
        except HlctlError as exc:
            blocks = [status.unknown(said(exc), wrapped=wrapped)]
        if pending.done():
            pending = None
        yield blocks
        time.sleep(max(0.0, next_at - time.monotonic()))


@contextmanager
def _screen(stream: TextIO) -> Iterator[Callable[[Sequence[Block]], None]]:
    """Give a function that shows blocks: on a screen of its own, or below each other where there is none."""
    if stream.isatty() and os.environ.get("TERM", "dumb") != "dumb":
        try:
            stream.write(_ENTER)
            yield lambda blocks: _redraw(blocks, stream)
        finally:
            with suppress(OSError, ValueError):
                stream.write(_LEAVE)
                stream.flush()
        return
    parted = ""

    def append(blocks: Sequence[Block]) -> None:
        nonlocal parted
        stream.write(parted + drawn(blocks, stream))
        stream.flush()
        parted = "\n"

    yield append


def _redraw(blocks: Sequence[Block], stream: TextIO) -> None:
    """Show as many lines as the terminal has; no line break after the last one, which would move them all up."""
    lines = drawn(blocks, stream).splitlines()[: os.get_terminal_size(stream.fileno()).lines or None]
    stream.write(_AFRESH + "\n".join(lines))
    stream.flush()
