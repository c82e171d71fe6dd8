"""The files of docs/containers, as far as they can be held without a container engine."""

import re
from pathlib import Path
from typing import Any

import yaml

from hlctl.settings import KNOWN
from tests.unit.test_docs import known_line

FOLDER = Path(__file__).parents[2] / "docs" / "containers"
COMPOSE: dict[str, Any] = yaml.safe_load((FOLDER / "compose.yaml").read_text())
CONTAINERFILE = (FOLDER / "Containerfile").read_text()


def lines_of(service: dict[str, Any]) -> list[str]:
    """Return the command lines of hlctl in a service, its check of health included."""
    words = [*service.get("command", []), "&&", *service.get("healthcheck", {}).get("test", [])]
    said = " ".join(words)
    return [line.strip() for line in re.findall(r"hlctl [^&]*", said)]


def test_every_command_exists() -> None:
    """With options that exist."""
    ours = {name: lines_of(service) for name, service in COMPOSE["services"].items() if service["image"] == "hlctl"}
    assert {name: len(lines) for name, lines in ours.items()} == {
        "prepare": 1,
        "snapshot": 2,
        "refresh-universe": 1,
        "verify": 1,
    }
    assert all(known_line(line) for lines in ours.values() for line in lines)


def test_every_setting_exists_and_every_secret_is_given() -> None:
    """An unknown one is refused at run time."""
    for service in COMPOSE["services"].values():
        assert {name for name in service["environment"] if name.startswith("HLCTL_")} <= KNOWN
        assert set(service["secrets"]) <= set(COMPOSE["secrets"])


def test_every_container_of_ours_is_locked_up_and_has_time_to_end() -> None:
    """A run needs 5 s to publish what it knows."""
    for service in COMPOSE["services"].values():
        if service["image"] == "hlctl":
            assert service["read_only"]
            assert service["init"]
            assert service["cap_drop"] == ["ALL"]
            assert int(service["stop_grace_period"].removesuffix("s")) > 5


def test_no_secret_gets_into_the_image_or_into_git() -> None:
    """A layer keeps what a later one removes, and secrets lie beside the compose file."""
    ignored = (FOLDER.parents[1] / ".gitignore").read_text().splitlines()
    for secret in COMPOSE["secrets"].values():
        folder = (FOLDER / secret["file"]).parent.relative_to(FOLDER.parents[1])
        assert f"/{folder}/" in ignored
        for source in re.findall(r"[\w./]+(?= )", " ".join(re.findall(r"^COPY (.*)$", CONTAINERFILE, re.MULTILINE))):
            assert not folder.is_relative_to(source), source


def test_the_image_is_made_of_what_is_there() -> None:
    """From the pinned releases, as a user without rights, of a Python that hlctl supports."""
    copied = [
        source for line in re.findall(r"^COPY (.*) /src\S*$", CONTAINERFILE, re.MULTILINE) for source in line.split()
    ]
    assert all((FOLDER.parents[1] / source).exists() for source in copied)
    assert {Path(source).name for source in copied} >= set(re.findall(r"/src/([\w.]+)", CONTAINERFILE))
    assert "--require-hashes" in CONTAINERFILE
    assert re.search(r"^USER 10001$", CONTAINERFILE, re.MULTILINE)
    project = (FOLDER.parents[1] / "pyproject.toml").read_text()
    (version,) = re.findall(r"python:(3\.\d+)-slim", CONTAINERFILE)
    assert f"Python :: {version}" in project or version in re.findall(r"3\.1\d", project)
