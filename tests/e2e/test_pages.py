"""The pages run: every block of README.md and docs/, in the order of its page, as a reader would type it."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlencode

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from hlctl import sim
from tests import small_record
from tests.conftest import clean_environment
from tests.e2e.conftest import COMMAND, Ran, shape
from tests.e2e.servers import CLUSTER, folder_of_psql, processes
from tests.pages import Block, Page, commands, matches, parse

ROOT = Path(__file__).parents[2]
PAGES = {str(page.relative_to(ROOT)): page for page in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))}
OWN_SERVER = re.compile(
    r"postgresql://hlctl:password@db\.example:5432/hlctl\?sslmode=verify-full&sslrootcert=/etc/hlctl/root\.crt"
)


def url_of(conninfo: str) -> str:
    """Return a connection string as a URL without a character that a shell would mind between quotes."""
    return f"postgresql:///?{urlencode(conninfo_to_dict(conninfo))}"


@dataclass(slots=True)
class Shell:
    """A reader's shell: what one script exports, makes or changes to is there for the next."""

    environment: dict[str, str] = field(repr=False)  # a failure's report has no business with it
    folder: Path
    left: Path = field(init=False)  # where bash leaves its environment

    def __post_init__(self) -> None:
        self.left = self.folder.with_name(f"{self.folder.name}.environment")

    def run(self, script: str, *program: str, **settings: str) -> Ran:
        """Run a script by bash, or by a program that reads it from stdin; stderr goes where stdout goes."""
        bash = ("bash", "-euc", f"set -o pipefail; trap 'env -0 >\"{self.left}\"' EXIT\n{script}")
        ran = subprocess.run(
            program or bash,
            input=script if program else "",
            env={**self.environment, **settings},
            cwd=self.environment["PWD"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
            check=False,
        )
        if not program:
            pairs = (entry.partition("=") for entry in self.left.read_text().split("\0") if entry)
            self.environment = {name: value for name, _, value in pairs}
        assert program or "Traceback" not in ran.stdout, ran.stdout
        return Ran(ran.returncode, ran.stdout, "", 0)

    def must(self, script: str) -> str:
        """Run a script that has to succeed, and return what it printed."""
        ran = self.run(script)
        assert ran.code == 0, ran.out
        return ran.out


@dataclass(slots=True)
class Reader:
    """Somebody who follows a page."""

    shell: Shell
    exact: bool  # results are compared to the last digit
    role: str  # reads, once it was let in
    own_server: Callable[[], str]  # makes an empty database and returns its URL

    def follow(self, block: Block) -> None:
        """Run a block, and fail if it does not do what the page shows."""
        follow: dict[str, Callable[[Block], object]] = {
            "sh": self.sh,
            "console": self.console,
            "sql": self.sql,
            "python": self.python,
            "json": lambda block: json.loads(block.text),
        }
        follow[block.language](block)

    def sh(self, block: Block) -> None:
        """Run it to its end; each line succeeds, and the last one ends as the block says."""
        ran = self.shell.run(self.with_own_server(block.text))
        assert ran.code == int(block.marks.get("exits", 0)), ran.out

    def console(self, block: Block) -> None:
        """Each command prints what the page shows."""
        shown = commands(block.text)
        for number, (command, expected) in enumerate(shown, start=1):
            ran = self.shell.run(self.with_own_server(command))
            assert matches(shape("\n".join(expected)), shape(ran.out)), f"$ {command}\n{ran.out}"
            code = int(block.marks.get("exits", 0)) if number == len(shown) else 0
            assert ran.code == code, f"$ {command}\n{ran.out}"

    def sql(self, block: Block) -> None:
        """Ask as the reader's role; the answer is the page's."""
        url = self.shell.must('echo "${HLCTL_DATABASE_URL:-$(hlctl db url)}"').strip()
        with closing(psycopg.connect(url, autocommit=True)) as conn:
            if not conn.execute("SELECT FROM pg_roles WHERE rolname = %s", [self.role]).fetchall():
                try:
                    conn.execute(sql.SQL("CREATE ROLE {}").format(sql.Identifier(self.role)))
                except psycopg.errors.InsufficientPrivilege:
                    pytest.skip("the role of TEST_DATABASE_URL may not create roles")
                conn.execute(sql.SQL("GRANT {} TO CURRENT_USER").format(sql.Identifier(self.role)))
        self.shell.must(f"hlctl --quiet init-db --reader {self.role}")
        as_reader = {} if block.marks.get("as") == "owner" else {"PGOPTIONS": f"-c role={self.role}"}
        ran = self.shell.run(
            block.text, "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-f", "-", "-d", url, PAGER="", **as_reader
        )
        assert ran.code == 0, ran.out
        if block.expected is not None:
            expected, found = (self.lines(text.rstrip()) for text in (block.expected, ran.out))
            assert matches(expected, found), ran.out

    def lines(self, table: str) -> list[str]:
        """Return what of a table psql printed is compared; a rule is as long as the figures above and below it."""
        return table.splitlines() if self.exact else shape(re.sub("--+", "-", table))

    def python(self, block: Block) -> None:
        """Run it to its end."""
        ran = self.shell.run(block.text, sys.executable, "-W", "error", "-")
        assert ran.code == 0, ran.out

    def with_own_server(self, script: str) -> str:
        """Put a database of the test's where a page names the reader's own."""
        return OWN_SERVER.sub(lambda _: self.own_server(), script)


@pytest.fixture
def role(server: str) -> Iterator[str]:
    """Return the name of a role that reads; on the test's server it is gone afterwards."""
    name = f"hlctl_test_{uuid.uuid4().hex[:12]}"
    yield name
    with closing(psycopg.connect(server, autocommit=True)) as conn:
        for (database,) in conn.execute(
            "SELECT d.datname FROM pg_shdepend s JOIN pg_database d ON d.oid = s.dbid"
            " WHERE s.refclassid = 'pg_authid'::regclass AND s.refobjid = to_regrole(%s)::oid GROUP BY 1",
            [name],
        ):
            with closing(psycopg.connect(make_conninfo(server, dbname=database), autocommit=True)) as there:
                there.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(name)))
        if conn.execute(
            "SELECT FROM pg_roles WHERE rolname = %s", [name]
        ).fetchall():  # else the right to drop is asked
            conn.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


@pytest.fixture
def shell(exchange: sim.Exchange) -> Iterator[Shell]:
    """Return a shell in an empty HOME, which knows the exchange and a data directory of its own."""
    folder = Path(tempfile.mkdtemp(prefix="hlctl-page-"))  # short: a socket's path has a limit
    home = folder / "home"
    home.mkdir()
    path = os.pathsep.join([str(COMMAND.parent), str(folder_of_psql()), os.environ["PATH"]])
    settings = {
        "PATH": path,
        "HOME": str(home),
        "PWD": str(home),
        "PGTZ": "UTC",
        "HLCTL_DATA_DIR": str(folder / "data"),
        "HLCTL_API_URL": exchange.url,
        "HLCTL_LEADERBOARD_URL": exchange.leaderboard_url,
    }
    made = Shell(clean_environment(**settings), home)
    yield made
    for cluster in folder.rglob(CLUSTER):  # a page may start a second one
        ended = clean_environment(HLCTL_DATA_DIR=str(cluster.parent))
        subprocess.run([COMMAND, "db", "stop"], env=ended, check=True, capture_output=True, timeout=60)
    assert processes(folder) == {}
    shutil.rmtree(folder)


@pytest.fixture
def make_reader(
    shell: Shell, role: str, server: str, template: str, create_database: Callable[..., str]
) -> Callable[[Page], Reader]:
    """Return a function that makes a reader of a page, with the record that the page asks for."""

    def make(page: Page) -> Reader:
        if exact := "with" in page.marks:
            database = make_conninfo(server, dbname=create_database(template))
            with closing(psycopg.connect(database)) as conn:
                small_record.write(conn)
            shell.environment["HLCTL_DATABASE_URL"] = url_of(database)
        return Reader(shell, exact, role, lambda: url_of(make_conninfo(server, dbname=create_database())))

    return make


def read(reader: Reader, page: Page) -> None:
    """Follow a page from its top to its end."""
    for block in page.blocks:
        if block.is_run_here:
            try:
                reader.follow(block)
            except (AssertionError, ValueError) as error:
                raise AssertionError(f"line {block.line}: {error}") from None


@pytest.mark.parametrize("name", [name for name, page in PAGES.items() if parse(page.read_text()).blocks])
def test_every_block_of_a_page_does_what_the_page_shows(name: str, make_reader: Callable[[Page], Reader]) -> None:
    """A reader copies them, and nobody reads a page again when the program changes."""
    page = parse(PAGES[name].read_text())
    if {"not run", "run by"} & page.marks.keys():
        pytest.skip(f"{page.marks}")
    read(make_reader(page), page)


@pytest.mark.parametrize(
    "block",
    [
        "```sh\nfalse\n```",
        "```sh\nfalse | true\ntrue\n```",
        "<!-- exits: 1 -->\n```sh\ntrue\n```",
        "```console\n$ echo a\nb\n```",
        "```console\n$ echo a; false\na\n```",
        "```console\n$ hlctl status --no-such-option\n...\n```",
        "```sql\nSELECT 1;\n```\n```text\n ?column? \n----------\n        2\n(1 row)\n```",
        "```sql\nDELETE FROM wallet_snapshots;\n```",
        "```sql\nSELECT :'nothing';\n```",
        "```python\nassert 1 == 2\n```",
        "```json\n{]\n```",
    ],
)
def test_a_block_that_does_something_else_than_its_page_shows_is_found(
    make_reader: Callable[[Page], Reader], block: str
) -> None:
    """Each in its way; and the line is named."""
    page = parse(f"<!-- with: a record -->\n\nwords\n\n{block}\n")
    with pytest.raises(AssertionError, match="^line [56]: "):
        read(make_reader(page), page)


def test_what_a_block_leaves_is_there_for_the_next(make_reader: Callable[[Page], Reader]) -> None:
    """Variables, files and the directory: a page is one session."""
    page = parse(
        "```sh\nexport A=1\nmkdir b\ncd b\n```\n```console\n$ echo $A${PWD##*/}\n1b\n```\n"
        "```python\nimport os\nassert os.environ['A'] == '1'\nassert os.getcwd().endswith('/b')\n```\n"
    )
    read(make_reader(page), page)


def test_the_record_of_the_pages_is_one_that_hlctl_could_have_written(make_reader: Callable[[Page], Reader]) -> None:
    """Nasty, and truthful: what a page shows of it can be had."""
    reader = make_reader(parse("<!-- with: a record -->\n\nwords\n"))
    found = reader.shell.must("hlctl verify --from 2026-01-05T23:00Z --to 2026-01-06T00:06Z")
    assert found.startswith("verdict   every check holds; 1 gap\n")


def test_the_command_for_root_uses_the_live_data_unless_told_otherwise(tmp_path: Path) -> None:
    """A drill of a restore that reached the server that records would pass, and prove nothing."""
    page = (ROOT / "docs" / "installation.md").read_text()
    (wrapper,) = re.findall(r"cat >/usr/local/sbin/hlctl <<'END'\n(.*?)\nEND\n", page, re.DOTALL)
    wrapper = wrapper.replace("cd /var/lib/hlctl", f"cd {tmp_path}").replace("/opt/hlctl/bin/hlctl", "/usr/bin/env")
    wrapper = wrapper.replace(
        "setpriv --reuid=hlctl --regid=hlctl --init-groups env", "env"
    )  # there is no such user here
    for given, used in (({}, "/var/lib/hlctl"), ({"HLCTL_DATA_DIR": "/srv/a b"}, "/srv/a b")):
        env = clean_environment(**given)
        ran = subprocess.run(["sh", "-c", wrapper], env=env, capture_output=True, text=True, check=True, timeout=30)
        assert f"\nHLCTL_DATA_DIR={used}\n" in f"\n{ran.stdout}"
        assert "\nHOME=/var/lib/hlctl\n" in ran.stdout
