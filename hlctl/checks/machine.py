"""The checks of the machine: files, the embedded server, what starts hlctl."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from hlctl.checks import Check, CheckId, ok, problem, skipped, warning


@dataclass(frozen=True, slots=True)
class PrivateFile:
    """A file or directory that holds what is not for everybody."""

    path: str
    what: str  # data directory, settings file, file of a secret
    mode: int  # permission bits
    owner: int  # user id


def permissions(files: Sequence[PrivateFile], *, user: int) -> Check:
    """Judge who may read secrets and enter the data directory; `user` is the one asking, 0 for root."""
    for file in files:
        if file.what == "data directory":
            if user not in {0, file.owner}:
                finding = f"the data directory {file.path} belongs to user {file.owner}"
                return problem(CheckId.PERMISSIONS, finding, "run hlctl as its owner or as root")
            if file.mode & 0o077:
                finding = f"others may enter the data directory {file.path} (mode {file.mode:03o})"
                return warning(CheckId.PERMISSIONS, finding, f"chmod 700 {file.path}")
        elif file.mode & 0o004:
            finding = f"everybody may read the {file.what} {file.path}, and there is a secret in it"
            return problem(CheckId.PERMISSIONS, finding, f"chmod o-r {file.path}, and change the secret")
    words = ", ".join(f"{file.what} {file.path}" for file in files)
    return ok(CheckId.PERMISSIONS, f"private: {words}" if words else "there is no file with a secret")


# The embedded server.

_RELEASED = {  # by PostgreSQL's announcements
    "18.1": date(2025, 11, 13),
    "18.2": date(2026, 2, 12),
    "18.4": date(2026, 5, 14),
    "18.6": date(2026, 8, 13),
}
_OLD = timedelta(days=365)  # four minor releases later
_OWN_UNIT = "hlctl-postgres.service"


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """What is known of the embedded server from outside."""

    exists: bool  # there is a cluster
    running: bool
    ready: bool
    version: str | None  # of the programs
    package: str | None  # the wheel's version
    unit: str | None  # the systemd unit it lives in; None: it is not known, or there is none
    silence: str  # why it does not answer
    remedy: str  # for that; empty if none is known
    log: str  # the directory of its log
    dead: int  # its processes that ended and that nobody has waited for


def embedded_server(server: Server, today: date) -> Check:
    """Judge the embedded server."""
    programs = f"PostgreSQL {server.version or 'of unknown version'} of the package {server.package or 'of old'}"
    released = _RELEASED.get(server.version or "")
    if released is not None:
        programs += f", {(today - released).days} days old"
    if not server.exists:
        return problem(CheckId.EMBEDDED_SERVER, f"there is no cluster yet; {programs}", "run `hlctl init-db`")
    if server.running and not server.ready:
        remedy = server.remedy or f"wait a minute, then read its log in {server.log}"
        finding = f"it runs and does not answer: {server.silence}; {programs}"
        return problem(CheckId.EMBEDDED_SERVER, finding, remedy)
    unit = server.unit or ""
    if server.running and unit.startswith("hlctl-") and unit != _OWN_UNIT:
        finding = f"it was started by {unit} and ends with it; {programs}"
        remedy = f"`hlctl db stop`, then `systemctl enable --now {_OWN_UNIT}`"
        return problem(CheckId.EMBEDDED_SERVER, finding, remedy)
    state = f"running{f' in {unit}' if unit else ''}" if server.running else "stopped; the next command starts it"
    finding = f"{state}; {programs}"
    if server.dead:
        finding += f"; {server.dead} dead processes that nobody reaps"
        return warning(CheckId.EMBEDDED_SERVER, finding, "start the container with --init, or with tini")
    if released is not None and today - released > _OLD:
        return warning(CheckId.EMBEDDED_SERVER, finding, "upgrade hlctl: minor releases mend security holes")
    return ok(CheckId.EMBEDDED_SERVER, finding)


# What starts hlctl.


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedules:
    """Who starts hlctl's commands on this machine, by the command."""

    timers: Collection[str]  # commands with an active systemd timer
    cron: Collection[str]  # commands in a crontab
    cron_yields: bool  # each of these lines does nothing where the timer runs


SCHEDULED = ("snapshot", "refresh-universe")


def schedule(found: Schedules) -> Check:
    """Judge whether each command that must run is started by one of the two."""
    both = [command for command in SCHEDULED if command in found.timers and command in found.cron]
    neither = [command for command in SCHEDULED if command not in found.timers and command not in found.cron]
    if "snapshot" in neither:
        finding = "neither a systemd timer nor a crontab of this machine starts `hlctl snapshot`"
        remedy = "see docs/installation.md; nothing to do where something else starts it: Kubernetes, another machine"
        return warning(CheckId.SCHEDULE, finding, remedy)
    if neither:
        return warning(
            CheckId.SCHEDULE, "nothing starts `hlctl refresh-universe`", "enable its timer or crontab line too"
        )
    if both and not found.cron_yields:
        finding = f"systemd and cron both start {', '.join(both)}: one of them does it, the other ends with 75"
        return warning(
            CheckId.SCHEDULE, finding, "keep one: `systemctl disable --now` the timers, or remove the crontab"
        )
    ways = {"systemd" if command in found.timers else "cron" for command in SCHEDULED}
    return ok(CheckId.SCHEDULE, f"{' and '.join(sorted(ways))} start {' and '.join(SCHEDULED)}")


def process_limits(files: int | None, *, connections: int, others: int) -> Check:
    """Judge how many files a process may have open (None: any number), against what a run needs."""
    needed = connections + others
    if files is not None and files < needed:
        finding = f"a process may have {files} files open, and a run needs {needed}: it asks fewer wallets at once"
        return warning(
            CheckId.PROCESS_LIMITS, finding, "raise it (ulimit -n, LimitNOFILE=), or lower HLCTL_MAX_CONCURRENCY"
        )
    return ok(CheckId.PROCESS_LIMITS, f"{files or 'any number of'} files open, a run needs {needed}")


def bytecode(compiled: int, loaded: int) -> Check:
    """Judge of how many loaded modules the bytecode is kept; without it every start compiles them again."""
    if 2 * compiled < loaded:
        anew = f"{loaded - compiled} of {loaded} modules are compiled again at every start"
        finding = f"{anew}, which more than doubles its CPU time"
        return warning(CheckId.BYTECODE, finding, "as who installed hlctl: `python -m compileall -q` its site-packages")
    return ok(CheckId.BYTECODE, f"kept for {compiled} of {loaded} modules")


def metrics_file(path: str | None, *, is_there: bool, is_writable: bool) -> Check:
    """Judge the directory of the metrics file (None: none is set): whether it exists, and may be written to."""
    if path is None:
        return skipped(CheckId.METRICS_FILE, "HLCTL_METRICS_FILE is not set")
    if not is_there:
        finding = f"the directory of {path} does not exist"
        return warning(CheckId.METRICS_FILE, finding, "make it, or change HLCTL_METRICS_FILE")
    if not is_writable:
        finding = f"this user may not write to the directory of {path}"
        return warning(CheckId.METRICS_FILE, finding, "let the user who records write there; see docs/monitoring.md")
    if not path.endswith(".prom"):
        return warning(CheckId.METRICS_FILE, f"node_exporter does not read {path}", "end its name in .prom")
    return ok(CheckId.METRICS_FILE, f"{path} can be written")
