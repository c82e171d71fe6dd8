"""`completion`: the script does in each shell what it promises."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.e2e.conftest import COMMAND

TRIES = {
    "bash": 'eval "$(hlctl completion bash)" && complete -p hlctl && COMP_WORDS=(hlctl d) COMP_CWORD=1'
    ' && _hlctl_completion hlctl && echo "${COMPREPLY[@]}"',
    "zsh": 'autoload -U compinit && compinit -D && eval "$(hlctl completion zsh)" && echo $_comps[hlctl]',
    "fish": 'hlctl completion fish | source; complete -C "hlctl d"',
}
SEEN = {"bash": ("-F _hlctl_completion hlctl", "doctor"), "zsh": ("_hlctl_completion",), "fish": ("doctor", "demo")}


@pytest.mark.parametrize("shell", TRIES)
def test_a_shell_completes_commands(tmp_path: Path, shell: str) -> None:
    """In the shell itself: the script is the library's, and its word is not enough."""
    if (program := shutil.which(shell)) is None:
        pytest.skip(f"{shell} is not installed")
    path = f"{COMMAND.parent}:{os.environ['PATH']}"
    ran = subprocess.run(
        [program, "-c", TRIES[shell]],
        env={"PATH": path, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    assert all(words in ran.stdout for words in SEEN[shell]), ran.stdout
