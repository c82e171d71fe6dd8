"""Writes dashboard.json, in the format of Grafana 10: `python docs/monitoring/dashboard.py`.

The SQL of each panel is a file of its own in panels/, so that it can be read and compared line by line; the comment on
top is what the panel says of itself. Here stands what is shown of it, where, and in which unit. A test holds the JSON
to both.
"""

import json
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).parent
WIDTH = 24  # Grafana's grid
ASSETS = ("HYPE", "BTC", "ETH")

POSTGRES = {"type": "postgres", "uid": "${postgres}"}
PROMETHEUS = {"type": "prometheus", "uid": "${prometheus}"}

STATES = {"healthy": "green", "degraded": "orange", "stale": "red"}
BAD = {"partial": "yellow", "failed": "red", "gap": "dark-red"}
SIDES = {"long": "green", "short": "red", "not known": "orange"}


class Panel(NamedTuple):
    """A panel with the room it takes; without a place or an id yet."""

    width: int
    height: int
    body: dict[str, Any]


def sql(name: str, *, form: str) -> tuple[str, list[dict[str, Any]]]:
    """Return what a panel's file says of itself, and its query in the form `table` or `time_series`."""
    lines = (HERE / "panels" / f"{name}.sql").read_text().splitlines()
    about = [line.removeprefix("-- ") for line in lines if line.startswith("--")]
    query = "\n".join(line for line in lines if not line.startswith("--"))
    target = {
        "datasource": POSTGRES,
        "editorMode": "code",
        "format": form,
        "rawQuery": True,
        "rawSql": query,
        "refId": "A",
    }
    return " ".join(about), [target]


def promql(about: str, **series: str) -> tuple[str, list[dict[str, Any]]]:
    """Return a sentence and queries of Prometheus, each with the legend of its series."""
    return about, [
        {"datasource": PROMETHEUS, "editorMode": "code", "expr": expr, "legendFormat": legend, "refId": ref}
        for ref, (legend, expr) in zip("ABCDEFGH", series.items(), strict=False)
    ]


def panel(
    kind: str,
    title: str,
    source: tuple[str, list[dict[str, Any]]],
    *,
    unit: str,
    size: tuple[int, int],
    options: dict[str, Any],
    **defaults: Any,  # noqa: ANN401 - Grafana's own fields
) -> Panel:
    """Return a panel of any kind."""
    about, targets = source
    body = {
        "type": kind,
        "title": title,
        "description": about,
        "datasource": targets[0]["datasource"],
        "interval": "1m",  # the record has no finer steps
        "fieldConfig": {"defaults": {"unit": unit, **defaults}, "overrides": []},
        "options": options,
        "targets": targets,
    }
    return Panel(*size, body)


def steps(*limits: tuple[float | None, str]) -> dict[str, Any]:
    """Return the colours from these values on; the first has no limit."""
    return {"mode": "absolute", "steps": [{"color": color, "value": value} for value, color in limits]}


def stat(
    title: str,
    source: tuple[str, list[dict[str, Any]]],
    *,
    unit: str,
    width: int = 4,
    none: str = "not known",
    thresholds: dict[str, Any] | None = None,
    colors: dict[str, str] | None = None,
) -> Panel:
    """Return one figure, or one for each series, as they are now, coloured by limits or by their words."""
    for target in source[1]:
        if "expr" in target:
            target["instant"] = True
    mapped = {word: {"color": color, "index": index} for index, (word, color) in enumerate((colors or {}).items())}
    options = {
        "colorMode": "background" if thresholds or colors else "value",
        "graphMode": "none",
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "/.*/", "values": False},
        "textMode": "auto",
    }
    return panel(
        "stat", title, source, unit=unit, size=(width, 4), options=options, noValue=none,
        mappings=[{"type": "value", "options": mapped}] if mapped else [],
        thresholds=thresholds or steps((None, "text")),
    )  # fmt: skip


def series(
    title: str,
    source: tuple[str, list[dict[str, Any]]],
    *,
    unit: str,
    width: int = 8,
    stacked: bool = False,
    colors: dict[str, str] | None = None,
    **defaults: Any,  # noqa: ANN401 - Grafana's own fields
) -> Panel:
    """Return lines that break where nothing is known, or bars on top of each other."""
    custom: dict[str, Any] = {
        "drawStyle": "line",
        "fillOpacity": 0,
        "lineWidth": 1,
        "showPoints": "auto",
        "spanNulls": False,
    }
    if stacked:
        custom |= {"drawStyle": "bars", "fillOpacity": 80, "stacking": {"group": "A", "mode": "normal"}}
    options = {
        "legend": {"calcs": ["lastNotNull", "max"], "displayMode": "table", "placement": "bottom", "showLegend": True},
        "tooltip": {"mode": "multi", "sort": "none"},
    }
    made = panel("timeseries", title, source, unit=unit, size=(width, 8), options=options, custom=custom, **defaults)
    made.body["maxDataPoints"] = 24 * 60  # each minute of a day, and a year as quick as that
    return painted(made, colors or {})


def table(title: str, source: tuple[str, list[dict[str, Any]]], *, width: int, unit: str = "none") -> Panel:
    """Return rows as they come."""
    return panel("table", title, source, unit=unit, size=(width, 8), options={"cellHeight": "sm", "showHeader": True})


def bars(title: str, source: tuple[str, list[dict[str, Any]]], *, x: str, colors: dict[str, str]) -> Panel:
    """Return a bar for each row and column, the rows along x."""
    options = {
        "barWidth": 0.9,
        "groupWidth": 0.8,
        "legend": {"calcs": [], "displayMode": "list", "placement": "bottom", "showLegend": True},
        "orientation": "vertical",
        "stacking": "normal",
        "xField": x,
        "xTickLabelSpacing": 100,
    }
    return painted(panel("barchart", title, source, unit="locale", size=(WIDTH, 8), options=options), colors)


def gauge(title: str, source: tuple[str, list[dict[str, Any]]], *, unit: str, width: int, none: str) -> Panel:
    """Return a bar for each row of a table, with its first column as its name."""
    options = {
        "displayMode": "basic",
        "orientation": "horizontal",
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": True},
    }
    return panel(
        "bargauge", title, source, unit=unit, size=(width, 4), options=options, min=0, noValue=none,
        thresholds=steps((None, "orange")),
    )  # fmt: skip


def by_name(name: str, **properties: Any) -> dict[str, Any]:  # noqa: ANN401 - Grafana's own fields
    """Return what is different of one column."""
    return {
        "matcher": {"id": "byName", "options": name},
        "properties": [{"id": key, "value": value} for key, value in properties.items()],
    }


def painted(made: Panel, colors: dict[str, str]) -> Panel:
    """Return a panel whose columns of these names have these colours."""
    made.body["fieldConfig"]["overrides"] += [
        by_name(name, color={"fixedColor": color, "mode": "fixed"}) for name, color in colors.items()
    ]
    return made


def of_each_asset(made: Panel) -> Panel:
    """Return a panel that Grafana draws once for each chosen asset, beside each other over the whole width."""
    title = f"{made.body['title']}: $asset"
    made.body.update({"title": title, "repeat": "asset", "repeatDirection": "h", "maxPerRow": len(ASSETS)})
    made.body["maxDataPoints"] = 500  # a point reads a minute's cells, and has a third of the width
    return made._replace(width=WIDTH)


def net_position() -> Panel:
    """Return the net of the known wallets, between the bounds of those that are not."""
    colors = {"known": "blue", "lowest": "orange", "highest": "orange"}
    made = series("Net position", sql("net_position", form="time_series"), unit="locale", colors=colors)
    made.body["fieldConfig"]["overrides"] += [
        by_name("lowest", **{"custom.lineWidth": 0}),
        by_name("highest", **{"custom.lineWidth": 0, "custom.fillBelowTo": "lowest", "custom.fillOpacity": 25}),
    ]
    return made


def rows() -> dict[str, Sequence[Panel]]:
    """Return the whole dashboard, row by row, each filled from the left."""
    minutes = {"form": "time_series"}
    return {
        "Health now": [
            stat("State", sql("health_state", form="table"), unit="none", colors=STATES),
            stat("Why", sql("health_reasons", form="table"), unit="none", width=8),
            stat(
                "Age of the last good minute", sql("last_good_age", form="table"), unit="s", none="no good minute",
                thresholds=steps((None, "green"), (120, "orange"), (180, "red")),
            ),
            stat(
                "Coverage of the newest minute", sql("coverage_now", form="table"), unit="percent",
                thresholds=steps((None, "red"), (80, "orange"), (95, "green")),
            ),
            stat(
                "Last attempt",
                promql(
                    "How long ago `hlctl snapshot` last ended, however. It is shown even if the database is silent.",
                    snapshot='time() - hlctl_last_attempt_timestamp_seconds{command="snapshot"}',
                ),
                unit="s", none="no metrics", thresholds=steps((None, "green"), (120, "orange"), (300, "red")),
            ),
            gauge("Missing in the newest minute", sql("missing_now", form="table"), unit="none", width=12, none="none"),
            stat(
                "Database",
                promql("1 if the database answered after the last run, 0 if not.", answers="hlctl_database_up"),
                unit="none", none="no metrics", thresholds=steps((None, "red"), (1, "green")),
            ),
            stat(
                "Last exit codes",
                promql(
                    "How each command last ended; docs/exit-codes.md says what to do about it.",
                    **{"{{command}}": "hlctl_last_exit_code"},
                ),
                unit="none", width=8, none="no metrics", thresholds=steps((None, "green"), (1, "orange")),
            ),
        ],
        "Recording": [
            series("Coverage", sql("coverage", **minutes), unit="percent", max=100),
            series("Minutes that were not good", sql("lost_minutes", **minutes), unit="none", stacked=True, colors=BAD),
            series("Missing wallets by reason", sql("missing", **minutes), unit="none", stacked=True),
            series("Duration of a minute", sql("durations", **minutes), unit="s", min=0),
            series("Requests in a minute", sql("requests", **minutes), unit="none", min=0),
            series("Skew and clock", sql("skew", **minutes), unit="s", min=0),
            series(
                "Where the time of a run goes",
                promql(
                    "What the last snapshot spent in each phase; a phase it did not reach is absent.",
                    **{"{{phase}}": "hlctl_phase_duration_seconds"},
                ),
                unit="s", width=WIDTH, min=0,
            ),
        ],
        "Universe": [
            stat(
                "Age", sql("universe_age", form="table"), unit="s", none="no universe",
                thresholds=steps((None, "green"), (2 * 6 * 3600, "orange")),
            ),
            stat("Wallets in force", sql("universe_size", form="table"), unit="none"),
            series("Entered and exited", sql("universe_turnover", **minutes), unit="none", stacked=True),
            series("Unusual churn", sql("universe_churn", **minutes), unit="none", stacked=True),
            table("Refreshes", sql("universe_refreshes", form="table"), width=WIDTH),
        ],
        "Positions": [
            of_each_asset(net_position()),
            of_each_asset(series("Wallets", sql("holders", **minutes), unit="none", min=0, colors=SIDES)),
            of_each_asset(
                bars("Liquidations near the mark", sql("liquidations", form="table"), x="distance", colors=SIDES)
            ),
            table("Beside the ladder", sql("liquidations_rest", form="table"), width=10, unit="locale"),
            table("Biggest changes of the last hour", sql("changes", form="table"), width=14, unit="locale"),
        ],
        "Storage": [
            stat("Days kept", sql("days_kept", form="table"), unit="none"),
            stat(
                "Days prepared", sql("days_ahead", form="table"), unit="none",
                thresholds=steps((None, "red"), (0, "orange"), (1, "green")),
            ),
            stat(
                "Cells without a day", sql("strayed", form="table"), unit="none",
                thresholds=steps((None, "green"), (1, "orange")),
            ),
            series("Cells on disk, by day", sql("days", **minutes), unit="bytes", width=12, stacked=True),
            series(
                "Room taken",
                promql(
                    "What the cells and the whole database take on disk. It levels off if `hlctl prune` runs.",
                    cells="hlctl_snapshots_bytes", database="hlctl_database_bytes",
                ),
                unit="bytes", width=12, min=0,
            ),
        ],
    }  # fmt: skip


def placed(titled: dict[str, Sequence[Panel]]) -> list[dict[str, Any]]:
    """Return the panels with ids and places: from the left, and a new line where the width is full."""
    ids = count(1)
    done: list[dict[str, Any]] = []
    top = 0
    for title, panels in titled.items():
        place = {"h": 1, "w": WIDTH, "x": 0, "y": top}
        done.append(
            {"type": "row", "title": title, "id": next(ids), "collapsed": False, "panels": [], "gridPos": place}
        )
        top, left, line = top + 1, 0, 0
        for width, height, body in panels:
            if left + width > WIDTH:
                top, left, line = top + line, 0, 0
            done.append({"id": next(ids), **body, "gridPos": {"h": height, "w": width, "x": left, "y": top}})
            left, line = left + width, max(line, height)
        top += line
    return done


def dashboard() -> dict[str, Any]:
    """Return the whole document."""
    sources = {"postgres": ("DS_HLCTL", "PostgreSQL"), "prometheus": ("DS_PROMETHEUS", "Prometheus")}
    chosen = {"selected": False, "text": ["All"], "value": ["$__all"]}
    return {
        "__inputs": [
            {
                "name": name, "label": f"hlctl: {label}", "description": "", "type": "datasource",
                "pluginId": kind, "pluginName": label,
            }
            for kind, (name, label) in sources.items()
        ],
        "__requires": [
            {"type": "grafana", "id": "grafana", "name": "Grafana", "version": "10.0.0"},
            *(
                {"type": "datasource", "id": kind, "name": label, "version": "1.0.0"}
                for kind, (_, label) in sources.items()
            ),
        ],
        "uid": "hlctl",
        "title": "hlctl",
        "description": "Can the record be used, what is in it, and what does it take. NULL is not known, and never 0.",
        "tags": ["hlctl"],
        "schemaVersion": 38,
        "version": 1,
        "editable": True,
        "refresh": "1m",
        "time": {"from": "now-24h", "to": "now"},
        "timezone": "utc",
        "templating": {
            "list": [
                *(
                    {
                        "name": kind, "label": label, "type": "datasource", "query": kind, "refresh": 1, "hide": 0,
                        "current": {"selected": False, "text": f"${{{name}}}", "value": f"${{{name}}}"},
                    }
                    for kind, (name, label) in sources.items()
                ),
                {
                    "name": "asset", "label": "Asset", "type": "custom", "query": ",".join(ASSETS), "hide": 0,
                    "multi": True, "includeAll": True, "current": chosen,
                    "options": [{"selected": False, "text": asset, "value": asset} for asset in ASSETS],
                },
            ]
        },
        "panels": placed(rows()),
    }  # fmt: skip


def text() -> str:
    """Return dashboard.json."""
    return json.dumps(dashboard(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    (HERE / "dashboard.json").write_text(text())
