"""How the `--help` of every command ends: its exit codes and an example."""

from hlctl.errors import ExitCode

_WORDS = {
    ExitCode.OK: "done",
    ExitCode.FOUND: "it found something",
    ExitCode.PARTIAL: "the minute is partial",
    ExitCode.FAILED: "the minute is failed or missed",
    ExitCode.DATABASE: "the database is unusable",
    ExitCode.SETUP: "a setting, the schema, the universe or the embedded database is missing or wrong",
    ExitCode.BUSY: "another run holds the lock",
}
_ALWAYS = (ExitCode.USAGE, ExitCode.BUG, ExitCode.SIGINT, ExitCode.SIGTERM)


def ends(example: str, *codes: ExitCode, failed: str = "", busy: str = "", also: str = "") -> str:
    """Return the end of a command's help; `failed` and `busy` are what 4 and 75 mean there, if it is something else.

    `also` is what there is to say of codes beside that.
    """
    own_words = {ExitCode.FAILED: failed, ExitCode.BUSY: busy}
    words = {**_WORDS, **{code: meaning for code, meaning in own_words.items() if meaning}}
    own = ", ".join(f"{code.value} {words[code]}" for code in (ExitCode.OK, *codes))
    always = ", ".join(str(code.value) for code in _ALWAYS)
    return (
        f"Exit codes: {own}; {always} as everywhere (docs/exit-codes.md).{also and f' {also}.'}\n\nExample: {example}"
    )
