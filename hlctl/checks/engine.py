"""The check of who keeps the cells: PostgreSQL by itself, or an extension that `sql/engines` has handed them to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hlctl.checks import Check, CheckId, ok, problem

_EVERYWHERE = ("cell_storage", "drop_day", "ensure_partitions", "stored_days", "stray_cells")
FUNCTIONS = (*_EVERYWHERE, "odd_cells", "suspect_cells")
"""The functions that know how cells are kept; of the last two, Citus alone needs its own."""

_GUIDE = "as docs/scaling.md says"


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """An extension that can keep cells."""

    extension: str  # citus or timescaledb
    version: str
    parts: int | None  # shards or chunks that it keeps the cells in; None: it does not keep them

    def __str__(self) -> str:
        return f"{'Citus' if self.extension == 'citus' else 'TimescaleDB'} {self.version}"


def keeper(engines: Sequence[Engine]) -> Engine | None:
    """Return the engine that keeps the cells; None: PostgreSQL does by itself, in daily partitions."""
    return next((engine for engine in engines if engine.parts is not None), None)


def engine(server: str, engines: Sequence[Engine], made_for: Mapping[str, str | None]) -> Check:
    """Name the engine; `server` is PostgreSQL's version, `made_for` the engine of each of FUNCTIONS, None for plain."""
    kept_by = keeper(engines)
    if kept_by is None:
        idle = "".join(f"; {engine} is there and does not keep the cells" for engine in engines)
        finding = f"plain PostgreSQL {server}, in daily partitions{idle}"
    elif kept_by.extension == "citus":
        finding = f"{kept_by}: wallet_snapshots is distributed, {kept_by.parts} shards"
    else:
        finding = f"{kept_by}: wallet_snapshots is a hypertable, {kept_by.parts} chunks"
    wanted = kept_by.extension if kept_by else None
    own = FUNCTIONS if wanted == "citus" else _EVERYWHERE
    foreign = [name for name in own if made_for.get(name) != wanted]
    if foreign:
        file = "plain" if wanted is None else wanted
        return problem(
            CheckId.ENGINE, f"{finding}; not made for it: {', '.join(foreign)}", f"run sql/engines/{file}.sql, {_GUIDE}"
        )
    return ok(CheckId.ENGINE, finding)
