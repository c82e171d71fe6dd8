"""The folder of an archive: what has its final name is whole and on the disk, whenever the power goes."""

from datetime import date
from pathlib import Path

import pytest

from hlctl import archive
from hlctl.cellfile import NAMES, Written

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
