"""docs/configuration.md says of every setting what the code does; its tables are made from the settings themselves.

`WRITE_SCREENS=1` writes them anew.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from hlctl.settings import PREFIX, SECRETS, Settings

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"
MARK = re.compile(r"(<!-- settings: ([a-z_ ]+) -->\n)\n?((?:\|.*\n)*)")
BOUNDS = {"gt": "more than", "ge": "at least", "lt": "less than", "le": "at most"}


def bounds(name: str) -> str:
    """Return what a figure may be, or which words there are; empty where that goes without saying."""
    info = Settings.model_fields[name]
    if get_origin(info.annotation) is Literal:
        return ", ".join(f"`{word}`" for word in get_args(info.annotation))
    found: list[Any] = [*info.metadata]
    return ", ".join(
        f"{words} {getattr(limit, kind):,}" for limit in found for kind, words in BOUNDS.items() if hasattr(limit, kind)
    )


def meaning(name: str) -> str:
    """Return what a setting is for."""
    secret = f". Secret; may be given as `{PREFIX}{name.upper()}_FILE`" if name in SECRETS else ""
    return f"{Settings.model_fields[name].description}{secret}"


def table(names: list[str]) -> Iterator[str]:
    """Return the lines of a table of settings."""
    yield "| setting | default | may be | meaning |"
    yield "|---|---|---|---|"
    for name in names:
        default = Settings.model_fields[name].default
        shown = "unset" if default is None else f"`{default}`"
        yield f"| `{PREFIX}{name.upper()}` | {shown} | {bounds(name)} | {meaning(name)} |"


def test_the_page_tells_of_every_setting_once() -> None:
    """One that is nowhere is never used; one that stands twice is told in two ways some day."""
    named = [name for _, names, _ in MARK.findall(PAGE.read_text()) for name in names.split()]
    assert sorted(named) == sorted(Settings.model_fields)


def test_the_tables_are_those_of_the_settings() -> None:
    """Default, bounds and meaning."""
    page = PAGE.read_text()
    made = MARK.sub(lambda found: f"{found[1]}\n" + "".join(f"{line}\n" for line in table(found[2].split())), page)
    if "WRITE_SCREENS" in os.environ:
        PAGE.write_text(made)
    assert made == page
