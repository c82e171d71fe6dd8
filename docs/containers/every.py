#!/usr/bin/env python3
"""every SECONDS COMMAND...: runs a command again and again, that long after it ended.

SIGTERM and SIGINT are passed to it as SIGTERM and end the loop when it has ended. Its failures do not: each has said
what it is. The signals stay blocked here and are waited for, so none falls between a start and who would pass it on.
"""

import os
import signal
import sys

ENDING = {signal.SIGTERM, signal.SIGINT}


def run(command: list[str]) -> bool:
    """Run the command to its end; return whether there is to be another."""
    child = os.posix_spawnp(command[0], command, os.environ, setsigmask=[])
    while not os.waitpid(child, os.WNOHANG)[0]:
        if signal.sigwait({signal.SIGCHLD, *ENDING}) in ENDING:
            os.kill(child, signal.SIGTERM)
            os.waitpid(child, 0)
            return False
    return True


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD, *ENDING})
    try:
        pause, command = float(sys.argv[1]), sys.argv[2:]
        while run(command) and signal.sigtimedwait(ENDING, pause) is None:
            pass
    except (IndexError, ValueError, OSError) as exc:
        sys.exit(f"every SECONDS COMMAND...: {exc}")
