"""The parser of pages: which blocks there are, and which mark belongs to which."""

from pathlib import Path

import pytest

from tests.pages import Block, PageError, commands, matches, parse

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
TESTS = {file: file.read_text() for file in sorted((ROOT / "tests").rglob("*.py")) if file != Path(__file__)}
GATE = (ROOT / ".ci" / "run").read_text()


def test_a_block_has_its_language_its_text_and_the_line_it_begins_in() -> None:
    """The line is what a failure names."""
    assert parse("# A\n\nwords\n```sh\na\n\nb\n```\n").blocks == [Block(4, "sh", "a\n\nb\n")]
    assert parse("```text\n```").blocks == [Block(1, "text", "")]


def test_a_fence_ends_with_one_as_long_and_of_its_kind() -> None:
    """So that a page can show a page."""
    assert parse("````text\n```sh\na\n```\n````\n").blocks == [Block(1, "text", "```sh\na\n```\n")]
    assert parse("~~~sh\n```\n~~~~\n").blocks == [Block(1, "sh", "```\n")]


def test_a_block_in_a_list_loses_the_lists_indentation() -> None:
    """A shell would not mind; Python and a comparison would."""
    assert parse("- a\n\n  ```sh\n  b\n    c\n  ```\n").blocks == [Block(3, "sh", "b\n  c\n")]


@pytest.mark.parametrize("text", ["```sh\na\n", "````sh\na\n```\n", "```sh\na\n~~~\n", "```sh\na\n``` b\n"])
def test_a_fence_without_end_is_an_error(text: str) -> None:
    """The rest of the page would be taken for code, or code for the page."""
    with pytest.raises(PageError, match="line 1: the fence has no end"):
        parse(text)


@pytest.mark.parametrize("language", ["", "bash", "SQL", "postgresql"])
def test_a_language_nobody_knows_is_an_error(language: str) -> None:
    """Else its block would never be run, and nobody would notice."""
    with pytest.raises(PageError, match="line 1: '"):
        parse(f"```{language}\na\n```\n")


def test_marks_on_the_lines_before_a_fence_are_the_blocks() -> None:
    """As many as it needs; other comments are not ours."""
    (block,) = parse("words\n<!-- a note: b -->\n<!-- exits: 3 -->\n<!-- ci: a name -->\n```sh\n```\n").blocks
    assert block.marks == {"exits": "3", "ci": "a name"}


def test_marks_at_the_top_hold_for_the_page() -> None:
    """Before the title or after it, but before the first words."""
    marks = {"with": "a record"}
    assert parse("<!-- with: a record -->\n# A\n\nwords\n").marks == marks
    assert parse("# A\n\n<!-- with: a record -->\n\nwords\n").marks == marks
    (block,) = parse("# A\n\n<!-- not run: why -->\n```sh\n```\n").blocks
    assert block.marks == {"not run": "why"}


@pytest.mark.parametrize(
    "text",
    [
        "words\n\n<!-- not run: why -->\n\n```sh\n```\n",
        "words\n\n<!-- with: a record -->\n\nwords\n",
        "<!-- with: a record -->\n```sh\n```\n",
        "<!-- exits: 1 -->\n\nwords\n",
        "words\n<!-- not run: why -->\n",
        "<!-- not run: -->\n```sh\n```\n",
    ],
)
def test_a_mark_that_marks_nothing_or_says_nothing_is_an_error(text: str) -> None:
    """An empty line in between would silently unmark a block."""
    with pytest.raises(PageError):
        parse(text)


def test_the_text_that_follows_a_query_directly_is_its_result() -> None:
    """With words or a mark in between it is something else."""
    query, result = "```sql\nSELECT\n```\n", "```text\n1\n```\n"
    assert [block.expected for block in parse(f"{query}\n{result}").blocks] == ["1\n", None]
    assert [block.expected for block in parse(f"{query}\nwords\n\n{result}").blocks] == [None, None]
    assert [block.expected for block in parse(f"{query}\n<!-- ci: a -->\n{result}").blocks] == [None, None]
    assert [block.expected for block in parse(f"{query}{query}{result}").blocks] == [None, "1\n", None]


def test_a_console_block_is_commands_with_their_output() -> None:
    """A command may go on in the next line, as in a shell."""
    assert commands("$ a\n1\n2\n$ b \\\n  c\n$ d\n") == [("a", ["1", "2"]), ("b \\\n  c", []), ("d", [])]
    with pytest.raises(ValueError, match="begins with a command"):
        commands("a\n")


def test_three_dots_stand_for_any_lines() -> None:
    """Or none; but only on a line of their own."""
    assert matches(["a", "...", "c"], ["a", "b", "b", "c"])
    assert matches(["a", "...", "c"], ["a", "c "])
    assert matches([], [])
    assert not matches(["a", "...", "c"], ["a", "b"])
    assert not matches(["a ..."], ["a b"])
    assert not matches(["a", "..."], ["b", "a"])
    assert not matches(["a.c"], ["abc"])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_page_can_be_told(page: Path) -> None:
    """And what it says is run elsewhere is run there, by the name it says."""
    parsed = parse(page.read_text())
    assert parsed.marks.get("with", "a record") == "a record"
    if script := parsed.marks.get("run by"):
        assert (ROOT / script).is_file(), script
    for block in parsed.blocks:
        assert block.marks.get("as", "owner") == "owner"
        if name := block.marks.get("ci"):
            assert f"readme_command {name} " in GATE or any(f'("{name}")' in text for text in TESTS.values()), name
        if name := block.marks.get("run"):
            assert any(f"<!-- run: {name} -->" in text for text in TESTS.values()), name
