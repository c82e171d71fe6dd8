"""`prune` and `export` in words."""

from hlctl.answers import ArchiveResult, ExportResult, PruneResult
from hlctl.cellfile import DECIMALS
from hlctl.render import clean, size
from hlctl.render.screen import Block

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


def exported(result: ExportResult) -> list[Block]:
    """Return what became of each day."""
    if not result.days:
        return [f"nothing to export: {clean(str(result.directory))} has every whole day of the record"]
    words = {
        "exported": "{rows:,} cells, {size}",
        "unchanged": "is there already{other}, with the same cells",
        "differs": "is there with other cells, and left as it is; --force replaces it",
        "incomplete": "{rows:,} cells could be read and {published:,} were published: not exported",
        "empty": "has no cells in the database",
        "too_precise": f"has a number with more than {DECIMALS} decimals, which no column of these Parquet files holds;"
        " --format csv keeps every digit, in another --dir",
    }
    lines: list[Block] = []
    for day in result.days:
        other = "" if day.format == result.format else f" as {day.format}"
        said = words[day.did].format(rows=day.rows, published=day.published, size=size(day.bytes), other=other)
        lines.append(f"{day.day}  {said}")
    return [*lines, f"in {clean(str(result.directory))}"]


def checked(result: ArchiveResult) -> list[Block]:
    """Return what is wrong, and what each day was compared with."""
    ways = {
        "cells": "compared with the database",
        "published": "pruned from the database, compared with what was published then",
        "unrecorded": "compared with its manifest only",
        "files": "compared with its manifest only, for there is no database",
    }
    lines: list[Block] = []
    for day in result.days:
        if day.against == "unreadable":
            lines.append(f"{day.day}  cannot be read, and was compared with nothing")
        else:
            said = "" if day.problems else ": as recorded"
            if day.without_fingerprint:
                said += f"; {day.without_fingerprint:,} of its minutes are from before there were fingerprints"
            lines.append(f"{day.day}  {day.rows:,} cells, {ways[day.against]}{said}")
        lines += [f"  {clean(problem)}" for problem in day.problems]
    lines += [f"{day}  was recorded, and is not in the archive" for day in result.missing]
    lines += [
        f"{clean(name)}  is no day, and not hlctl's; who reads all folders reads it too" for name in result.no_days
    ]
    found = len(result.missing) + len(result.no_days) + sum(len(day.problems) for day in result.days)
    return [*lines, f"{_days(len(result.days))} of {clean(str(result.directory))}: {found or 'nothing'} found"]


def _days(number: int) -> str:
    return f"{number:,} day{'' if number == 1 else 's'}"
