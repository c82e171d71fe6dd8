"""`prune` and `export` in words."""

from hlctl.render.screen import Block
from hlctl.results import PruneResult

_SHOWN = 10  # days named in a list


def prune(result: PruneResult) -> list[Block]:
    """Return what was dropped, or would be."""
    if not result.days:
        return [f"nothing to prune: no day of cells is older than {_days(result.keep_days)}"]
    would = "would " if result.dry_run else ""
    cells = sum(day.cells for day in result.days)
    summary = (
        f"{would}{'drop' if would else 'dropped'} {_days(len(result.days))} older than {_days(result.keep_days)}:"
        f" {cells:,} cells, {size(result.bytes)}{' would be' if would else ''} freed"
    )
    lines: list[Block] = [f"  {day.day}  {day.cells:,} cells, {size(day.bytes)}" for day in result.days[:_SHOWN]]
    more = len(result.days) - _SHOWN
    return [summary, *lines, *([f"  and {_days(more)} more, up to {result.days[-1].day}"] if more > 0 else [])]


def size(number: int) -> str:
    """Return a number of bytes for people."""
    for unit, length in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if number >= length:
            return f"{number / length:.1f} {unit}"
    return f"{number} bytes"


def _days(number: int) -> str:
    return f"{number:,} day{'' if number == 1 else 's'}"
