"""Results as text for people and as JSON for programs: the only modules that word and print them."""

import unicodedata


def clean(text: str) -> str:
    """Take out what could steer a terminal or hide in a line: control, format and line-breaking characters."""
    return "".join(c if unicodedata.category(c)[0] != "C" and c not in "\u2028\u2029" else "?" for c in text)
