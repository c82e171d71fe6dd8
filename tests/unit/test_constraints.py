"""constraints.txt: the exact releases the gate verifies, for any machine and any index."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "constraints.txt").read_text()
HEADER = re.findall(r"^# .*$", TEXT, re.MULTILINE)
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
DIRECT = {
    group: [Requirement(line) for line in lines]
    for group, lines in {
        "dependencies": PROJECT["project"]["dependencies"],
        **PROJECT["project"]["optional-dependencies"],
        "build-system": PROJECT["build-system"]["requires"],
    }.items()
}
WORLDS = [
    {
        "python_version": python,
        "python_full_version": f"{python}.0",
        "sys_platform": system,
        "platform_machine": machine,
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
    }
    for python in ("3.11", "3.12", "3.13")
    for system, machine in (("linux", "x86_64"), ("linux", "aarch64"), ("linux", "riscv64"), ("darwin", "arm64"))
]
"""Where hlctl can be installed."""


def pins() -> Iterator[tuple[Requirement, list[str]]]:
    """Yield every pin and its hashes."""
    for block in re.findall(r"^[a-z0-9].*(?:\n .*)*", TEXT, re.MULTILINE):
        first, *rest = block.splitlines()
        yield (
            Requirement(first.removesuffix(" \\")),
            re.findall(r"^    --hash=sha256:([0-9a-f]{64})", "\n".join(rest), re.MULTILINE),
        )


PINS = list(pins())


@pytest.mark.parametrize("group", DIRECT)
def test_every_direct_dependency_is_pinned_within_its_range(group: str) -> None:
    """Once, for every Python and platform it is wanted on."""
    for wanted in DIRECT[group]:
        for world in WORLDS:
            if wanted.marker is not None and not wanted.marker.evaluate(world):
                continue
            found = [
                pin for pin, _ in PINS if pin.name == wanted.name and (not pin.marker or pin.marker.evaluate(world))
            ]
            assert len(found) == 1, f"{wanted} on {world}"
            (version,) = (part.version for part in found[0].specifier)
            assert wanted.specifier.contains(version), f"{wanted}: {version}"


def test_every_pin_is_exact_and_has_a_hash() -> None:
    """A release is what it was when the gate saw it."""
    assert len(PINS) > len(DIRECT["dependencies"])
    for pin, hashes in PINS:
        assert [part.operator for part in pin.specifier] == ["=="], pin
        assert hashes, pin
        assert pin.url is None, pin


def test_nothing_says_where_to_download_from() -> None:
    """No address, no option, no path of the machine it was made on."""
    assert "://" not in TEXT
    assert re.findall(r"^\s*-(?!-hash=)\S*", TEXT, re.MULTILINE) == []
    assert "/" not in TEXT
    assert "@" not in TEXT


def test_the_header_tells_the_command_that_made_it() -> None:
    """And CONTRIBUTING tells the same to who renews it."""
    (command,) = (line.removeprefix("#    ") for line in HEADER if " compile " in line)
    renew = command.replace(" compile ", " compile --upgrade ")
    assert renew in (ROOT / "CONTRIBUTING.md").read_text()
    assert all(f"--{option}" in command for option in ("universal", "generate-hashes", "all-extras", "group build"))


def test_the_build_group_is_the_build_system() -> None:
    """It exists so that one command pins all there is."""
    assert PROJECT["dependency-groups"]["build"] == PROJECT["build-system"]["requires"]


def test_the_gate_installs_what_is_pinned() -> None:
    """With every hash verified, and the project itself without asking an index for more."""
    gate = (ROOT / ".ci" / "run").read_text()
    assert "pip install -q --require-hashes -r constraints.txt" in gate
    assert "--no-deps --no-build-isolation" in gate
