"""`python -m hlctl`, and the console script."""

import sys

from hlctl.jobs.interrupt import remembered


def main() -> None:
    """Run the command line and exit with its status."""
    interrupted = remembered()
    from hlctl.cli import main as run  # noqa: PLC0415 - takes 100 ms, in which a signal shall not mean a traceback

    sys.exit(run(interrupted=interrupted))


if __name__ == "__main__":
    main()
