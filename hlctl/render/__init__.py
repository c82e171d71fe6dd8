"""Results as text for people and as JSON for programs: the only modules that word and print them."""

from hlctl.logs import clean as clean


def size(number: int) -> str:
    """Return a number of bytes for people."""
    for unit, length in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if number >= length:
            return f"{number / length:.1f} {unit}"
    return f"{number} bytes"
