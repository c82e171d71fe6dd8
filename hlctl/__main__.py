"""`python -m hlctl`, and the console script."""

import os
import sys


def main() -> None:
    """Run the command line and end the process with its status, waiting for nobody: a thread may still be asking."""
    try:
        from hlctl.cli import main as run  # noqa: PLC0415 - what goes wrong while it loads is told in one line too

        code = run()
    except KeyboardInterrupt:
        code = 130
    except ImportError as exc:
        sys.stderr.write(f"hlctl: this installation is broken: {exc}; reinstall hlctl\n")
        code = 70
    os._exit(code)


if __name__ == "__main__":
    main()
