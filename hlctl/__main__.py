"""`python -m hlctl`, and the console script."""

import gc
import os
import resource
import signal
import sys
from contextlib import suppress


def main() -> None:
    """Run the command line and end the process with its status, waiting for nobody: a thread may still be asking."""
    # A core file would hold the secrets. The embedded server inherits the limit, and may raise it again.
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    gc.disable()  # until the modules are loaded, see boundary.settings_of: they leave nothing behind
    early: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):  # modules take 100 ms to load; a signal is heard once they are
        signal.signal(number, lambda number, _frame: early.append(number))
    _open_streams()
    try:
        from hlctl.jobs.interrupt import remembered  # noqa: PLC0415 - what goes wrong here is told in one line too

        interrupted = remembered()
        for seen in early[:1]:
            interrupted.remember(seen, None)
        from hlctl.cli import main as run  # noqa: PLC0415

        code = run(interrupted=interrupted)
    except Exception as exc:  # noqa: BLE001 - half an upgrade breaks in any way: `run` itself raises nothing
        _complain(exc)
        code = 70
    os._exit(code)


def _complain(exc: Exception) -> None:
    """Say in one line that this installation is broken, whatever of it is."""
    words = f"this installation is broken: {exc if isinstance(exc, ImportError) else type(exc).__name__}"
    remedy = "reinstall hlctl"
    line = f"hlctl: {words}; {remedy}"
    try:
        from hlctl import logs  # noqa: PLC0415

        logs.begin(sys.argv[1:], os.environ)
        line = logs.written("error", line, message=words, code=70, remedy=remedy)
    except Exception:  # noqa: BLE001 - that module may be the broken one
        line += "\n"
    with suppress(OSError, ValueError):
        sys.stderr.write(line)


def _open_streams() -> None:
    """Open what the caller closed: its number would go to the next file or connection, and our words into that."""
    for name in ("stdin", "stdout", "stderr"):  # in the order of their numbers: a file gets the lowest one free
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "r+", encoding="utf-8"))  # noqa: PTH123, SIM115 - open to the end


if __name__ == "__main__":
    main()
