"""The folder of an archive: what has its final name is whole and on the disk, whenever the power goes."""

import json
import random
from datetime import date, timedelta
from pathlib import Path

import pytest

from hlctl import archive, cellfile
from hlctl.cellfile import NAMES, Written
from hlctl.errors import ArchiveError

DAY = date(2026, 1, 6)


def test_a_day_gets_its_names_when_what_they_name_is_on_the_disk_and_the_manifest_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that comes before its content is, after a power cut, the name of a torn file."""
    seen: list[tuple[str, set[str]]] = []
    flush = archive._flush

    def look(path: Path) -> None:
        flush(path)
        names = {file.name for file in archive.folder_of(tmp_path, DAY).iterdir() if not file.name.startswith(".")}
        seen.append((path.name, names))

    monkeypatch.setattr(archive, "_flush", look)
    with archive.draft(tmp_path, DAY, "csv") as draft:
        draft.write_bytes(b"cells")
        archive.keep(tmp_path, DAY, "csv", draft, Written(rows=1, minutes=1, content_sha256="0"))
    file = NAMES["csv"]
    assert seen == [
        (draft.name, set()),
        (f"date={DAY}", {file}),
        (f".{archive.MANIFEST}.tmp", {file}),
        (f"date={DAY}", {file, archive.MANIFEST}),
        (tmp_path.name, {file, archive.MANIFEST}),
    ]
    assert archive.read_manifest(tmp_path, DAY) is not None


# ---- damage


LINES = [
    b'2026-01-06T20:%02d:00Z,0x%040x,%d,"BTC",-0.5%d,97123.5,,20,cross,12.250,,2026-01-06T20:%02d:03.25Z,false,,1,\n'
    % (minute, wallet, wallet, wallet, minute)
    for minute in range(9)
    for wallet in range(1, 9)
]


def stored(tmp_path: Path, kind: str) -> Path:
    """Return a day's file of a format."""
    if kind == "parquet":
        pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    path = tmp_path / NAMES[kind]
    cellfile.write(kind, path, LINES, progress=lambda _cells: None)
    assert cellfile.read(kind, path, progress=lambda _cells: None).rows == len(LINES)
    return path


@pytest.mark.parametrize("kind", NAMES)
def test_a_damaged_file_is_read_or_said_not_to_be_readable(tmp_path: Path, kind: str) -> None:
    """One bit that fell over, or an end that is missing, is what verification is for, and no bug of hlctl's."""
    path = stored(tmp_path, kind)
    whole = path.read_bytes()
    chance = random.Random(kind)  # noqa: S311 - it only has to be the same each time
    unreadable = 0
    for place in chance.sample(range(len(whole)), min(len(whole), 600)):
        flipped = bytes([whole[place] ^ (1 << chance.randrange(8))])
        path.write_bytes(chance.choice([whole[:place] + flipped + whole[place + 1 :], whole[:place]]))
        try:
            cellfile.read(kind, path, progress=lambda _cells: None)
        except ArchiveError:
            unreadable += 1
    assert unreadable > 100


def a_manifest(tmp_path: Path) -> Path:
    """Return the manifest of the second day of an archive."""
    for day in (DAY - timedelta(days=1), DAY):
        with archive.draft(tmp_path, day, "csv") as draft:
            draft.write_bytes(b"cells")
            archive.keep(tmp_path, day, "csv", draft, Written(rows=1, minutes=1, content_sha256="0"))
    return archive.folder_of(tmp_path, DAY) / archive.MANIFEST


@pytest.mark.parametrize("value", [None, "x", "", 1.5, True, False, 0, -1, [], {}, [[]]], ids=repr)
@pytest.mark.parametrize(
    "place",
    ["rows", "minutes", "content_sha256", "files", "files.0", "files.0.name", "files.0.bytes", "files.0.sha256",
     "previous", "previous.day", "previous.sha256", "day", "columns", "schema_version"],
)  # fmt: skip
def test_a_manifest_with_something_else_in_it_is_none_of_ours(tmp_path: Path, place: str, value: object) -> None:
    """It was tampered with, or another program wrote it: both are a finding about that day."""
    path = a_manifest(tmp_path)
    found = json.loads(path.read_bytes())
    where = found
    *way, last = [int(step) if step.isdecimal() else step for step in place.split(".")]
    for step in way:
        where = where[step]
    is_alike = type(where[last]) is type(value) and place != "previous"
    if is_alike or where[last] == value or (place == "previous" and value is None):
        pytest.skip("that may stand there")
    where[last] = value
    path.write_text(json.dumps(found))
    with pytest.raises(ArchiveError, match="is no manifest of this version of hlctl"):
        archive.read_manifest(tmp_path, DAY)


def test_a_manifest_of_nothing_but_brackets_is_none_of_ours(tmp_path: Path) -> None:
    """The decoder gives up in its own way."""
    path = a_manifest(tmp_path)
    path.write_text("[" * 100_000)
    with pytest.raises(ArchiveError, match="is no manifest of this version of hlctl"):
        archive.read_manifest(tmp_path, DAY)


def test_a_folder_that_is_named_like_a_day_and_is_none_is_not_ours(tmp_path: Path) -> None:
    """Who made it knows what for; the days beside it are still an archive."""
    a_manifest(tmp_path)
    (tmp_path / "date=2026-01-04").touch()
    for name in ("date=2026-02-30", "date=2026-13-01", "date=0000-01-01", "date=9999-12-31"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x").touch()
    assert archive.list_days(tmp_path) == [DAY - timedelta(days=1), DAY]


def test_a_folder_of_a_day_that_cannot_be_opened_is_still_a_day(tmp_path: Path) -> None:
    """Verification names it, and looks at the others."""
    a_manifest(tmp_path)
    (tmp_path / "date=2026-01-04").symlink_to("date=2026-01-04")
    assert archive.list_days(tmp_path) == [DAY - timedelta(days=2), DAY - timedelta(days=1), DAY]


def test_a_minute_of_no_time_zone_is_not_read(tmp_path: Path) -> None:
    """It is no moment, and cannot be told from or put in order with others."""
    path = tmp_path / NAMES["csv"]
    cellfile.write("csv", path, [LINES[0].replace(b":00Z,", b":00,", 1)], progress=lambda _cells: None)
    with pytest.raises(ArchiveError, match="cannot be read"):
        cellfile.read("csv", path, progress=lambda _cells: None)
