"""`python -m hlctl`, and the console script."""

import sys

from hlctl.cli import main as run


def main() -> None:
    """Run the command line and exit with its status."""
    sys.exit(run())


if __name__ == "__main__":
    main()
