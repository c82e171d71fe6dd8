"""`db`: the embedded server by hand."""

from typing import NoReturn

from hlctl import binaries, embedded
from hlctl.answers import ServerResult, TextResult
from hlctl.errors import NoClusterError
from hlctl.jobs.database import embedded_data_dir
from hlctl.settings import Settings


def start(settings: Settings) -> ServerResult:
    """Start the server, making the cluster if there is none."""
    data_dir = embedded_data_dir(settings)
    was_running = embedded.status(data_dir).running
    embedded.ensure(data_dir, create=True)
    return _now(settings, did="nothing" if was_running else "started")


def run(settings: Settings) -> NoReturn:
    """Become the server, making the cluster if there is none; raises BusyError if it runs already."""
    embedded.run(embedded_data_dir(settings))


def stop(settings: Settings) -> ServerResult:
    """Stop the server if it runs."""
    stopped = embedded.stop(embedded_data_dir(settings))
    return _now(settings, did="stopped" if stopped else "nothing")


def status(settings: Settings) -> ServerResult:
    """Look at the server; raises NoClusterError if there is no cluster."""
    return _now(settings, did="nothing")


def _now(settings: Settings, *, did: str) -> ServerResult:
    found = embedded.status(embedded_data_dir(settings))
    if not found.exists:
        raise NoClusterError(f"there is no embedded database in {found.data_dir}")
    return ServerResult(
        running=found.running,
        pid=found.pid,
        version=found.version,
        data_dir=found.data_dir,
        programs=binaries.locate(),
        url=found.url,
        did=did,
    )


def url(settings: Settings) -> TextResult:
    """Return the server's URL, whether or not it runs."""
    return TextResult(text=embedded.url(embedded_data_dir(settings)))
