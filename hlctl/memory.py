"""What a host keeps in mind of an outage between two runs: a small file for each command, in the data directory.

It can be lost at any time. Whatever is wrong with it, or with the place for it, is no memory: then everything is told.
"""

import json
import os
import stat
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from hlctl.outage import FAULTS, Memory, Past

_MAX_BYTES = 4096


@dataclass(slots=True)
class Known:
    """What this process has learnt of the record, however it ends."""

    past: Past | None = None


known = Known()
"""One a process."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where the file of a command is; `makes` if its directory may be made."""

    folder: Path
    command: str
    makes: bool

    @property
    def path(self) -> Path:
        """Return the file."""
        return self.folder / f"told-{self.command}.json"

    def recall(self) -> Memory | None:
        """Return what is kept; None if nothing is, or nothing that this user has written and could take back."""
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            if not os.access(self.folder, os.W_OK | os.X_OK):
                return None
            with os.fdopen(os.open(self.path, flags), "rb") as file:
                found = os.fstat(file.fileno())
                is_ours = stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o077
                return _memory(json.loads(file.read(_MAX_BYTES))) if is_ours else None
        except (OSError, ValueError, RecursionError):
            return None

    def keep(self, memory: Memory | None) -> None:
        """Write it down as a whole, or not at all; None takes it back."""
        with suppress(OSError):
            if memory is None:
                self.path.unlink(missing_ok=True)
                return
            if self.makes:
                self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            draft = self.folder / f".{self.path.name}.new"
            draft.unlink(missing_ok=True)  # of a process that was killed
            try:
                handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
                with os.fdopen(handle, "w", encoding="ascii") as file:
                    kept = {"told": sorted(memory.told), "causes": sorted(memory.causes)}
                    json.dump({"since": memory.since.isoformat(), **kept}, file)
                draft.replace(self.path)
            except OSError:
                draft.unlink()


def _memory(found: object) -> Memory | None:
    match found:
        case {"since": str(since), "told": [_, *_] as told, "causes": [*causes]}:
            at = datetime.fromisoformat(since)
            if at.tzinfo and all(type(number) is int for number in told + causes) and FAULTS.issuperset(told):
                return Memory(at, frozenset(told), frozenset(causes))
    return None
