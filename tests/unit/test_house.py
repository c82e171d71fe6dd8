"""The house keeps its shape: imports go down the floors only, modules stay readable, tests say why."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import hlctl

PACKAGE = Path(hlctl.__file__).parent
TESTS = Path(__file__).parents[1]

# From the ground up. A module may import from lower floors only, never sideways.
FLOORS = (
    {"hlctl"},
    {"hlctl.errors"},
    {"hlctl.model", "hlctl.facts", "hlctl.logs", "hlctl.outage"},
    {
        "hlctl.clock",
        "hlctl.watchdog",
        "hlctl.minute",
        "hlctl.moments",
        "hlctl.wire",
        "hlctl.universe",
        "hlctl.checks",
        "hlctl.epilog",
        "hlctl.metrics",
    },
    {"hlctl.checks.database", "hlctl.checks.engine", "hlctl.checks.machine"},
    {"hlctl.db", "hlctl.transport", "hlctl.settings", "hlctl.cellfile", "hlctl.memory"},
    {"hlctl.binaries", "hlctl.archive", "hlctl.machine"},
    {"hlctl.cluster"},
    {"hlctl.embedded", "hlctl.exchange", "hlctl.oddities"},
    {"hlctl.access", "hlctl.migrate", "hlctl.store", "hlctl.overview", "hlctl.audit", "hlctl.days", "hlctl.engines"},
    {"hlctl.results"},
    {"hlctl.answers"},
    {"hlctl.render", "hlctl.jobs", "hlctl.jobs.interrupt", "hlctl.jobs.database", "hlctl.quiet"},
    {
        "hlctl.render.document",
        "hlctl.render.screen",
        "hlctl.jobs.universe",
        "hlctl.jobs.status",
        "hlctl.jobs.server",
        "hlctl.jobs.verify",
    },
    {
        "hlctl.render.status",
        "hlctl.render.audit",
        "hlctl.render.archive",
        "hlctl.render.setup",
        "hlctl.jobs.snapshot",
        "hlctl.jobs.prune",
        "hlctl.jobs.export",
        "hlctl.jobs.config",
        "hlctl.jobs.version",
    },
    {"hlctl.render.text", "hlctl.render.check", "hlctl.jobs.demo", "hlctl.jobs.doctor", "hlctl.watch"},
    {"hlctl.jobs.aftermath"},
    {"hlctl.boundary"},
    {"hlctl.cli_server", "hlctl.cli_setup"},
    {"hlctl.cli"},
    {"hlctl.__main__"},
)
LEVEL = {module: level for level, modules in enumerate(FLOORS) for module in modules}
MODULES = {
    ".".join(("hlctl", *file.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__"): file
    for file in sorted(PACKAGE.rglob("*.py"))
}
CEILING = 400  # lines: what one can read in a sitting


def imports(file: Path) -> set[str]:
    """Return the hlctl modules a file imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{file}: say where an import comes from"
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return {name for name in found if name in MODULES}


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_down_the_floors(module: str) -> None:
    """Whoever changes a floor knows that only those above can notice."""
    used = imports(MODULES[module]) - {module, "hlctl"}
    if module.startswith("hlctl.sim"):
        assert all(name == "hlctl.model" or name.startswith("hlctl.sim") for name in used), used
        return
    assert module in LEVEL, f"{module} lives on no floor"
    allowed = {"hlctl.sim"} if module == "hlctl.jobs.demo" else set()
    sideways = {name for name in used if name not in allowed and LEVEL.get(name, 99) >= LEVEL[module]}
    # `from hlctl.jobs import x` names the package too
    assert sideways - {"hlctl.jobs"} == set()


@pytest.mark.parametrize("module", MODULES)
def test_a_module_can_be_read_in_one_sitting(module: str) -> None:
    """A module that cannot is two modules."""
    assert len(MODULES[module].read_text().splitlines()) <= CEILING


def test_the_floors_name_only_modules_that_exist() -> None:
    """A plan of a house that is not there misleads."""
    assert set(LEVEL) - {"hlctl"} <= set(MODULES)


def test_the_hosts_clock_is_asked_only_where_no_minute_is_decided() -> None:
    """It may be off by a day: minutes, deadlines and cells go by the database's clock and by elapsed time."""
    asks = {
        "time.time",
        "time.time_ns",
        "time.localtime",
        "time.gmtime",
        "datetime.now",
        "datetime.utcnow",
        "date.today",
    }
    asking = {
        module
        for module, file in MODULES.items()
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Attribute) and ast.unparse(node) in asks and not module.startswith("hlctl.sim")
    }
    assert asking == {
        "hlctl.jobs.aftermath",  # when a command ended, for the metrics file
        "hlctl.jobs.doctor",  # compares it with the others
        "hlctl.logs",  # when a line was written
        "hlctl.quiet",  # when something was told
        "hlctl.transport",  # a Retry-After that is a date, where the answer has no Date
    }


def columns_of() -> list[tuple[str, str, str]]:
    """Return of each query that says whose its columns are: the file, the module and the class."""
    found = []
    for file in sorted((PACKAGE.parent / "sql" / "queries").glob("*.sql")):
        text = file.read_text().replace("\n--", "")
        found += [(file.name, *names) for names in re.findall(r"\b[Cc]olumns are ([a-z.]+)\.([A-Z]\w*)'", text)]
    return found


@pytest.mark.parametrize(("file", "module", "name"), columns_of())
def test_a_query_names_the_class_that_takes_its_columns(file: str, module: str, name: str) -> None:
    """Where it is: who changes the one changes the other."""
    tree = ast.parse(MODULES[f"hlctl.{module}"].read_text())
    assert name in {node.name for node in tree.body if isinstance(node, ast.ClassDef)}, file


def test_queries_name_their_classes_in_the_form_that_is_looked_for() -> None:
    """A comment in other words would not be held to anything."""
    texts = [file.read_text() for file in (PACKAGE.parent / "sql" / "queries").glob("*.sql")]
    assert len(columns_of()) == sum(re.search(r"Columns are(?! those)", text) is not None for text in texts) > 0


def test_every_test_says_why_it_exists() -> None:
    """The name states the behaviour, the docstring the reason."""
    silent = [
        f"{file.name}: {node.name}"
        for file in TESTS.rglob("test_*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_") and not ast.get_docstring(node)
    ]
    assert silent == []


def test_end_to_end_tests_know_the_package_only_from_outside() -> None:
    """They import the model and the simulated exchange, and run everything else as an operator does."""
    for file in (TESTS / "e2e").glob("*.py"):
        inside = {
            name for name in imports(file) if not name.startswith(("hlctl.model", "hlctl.sim")) and name != "hlctl"
        }
        assert inside == set(), file.name


def test_help_and_version_load_nothing_heavy() -> None:
    """The program starts 1,440 times a day."""
    probe = (
        "import sys; from hlctl.cli import main; code = main([sys.argv[1]]);"
        "heavy = {'pydantic', 'pydantic_settings', 'requests', 'psycopg', 'urllib3'} & set(sys.modules);"
        "sys.exit(f'{heavy} loaded' if heavy or code else 0)"
    )
    for option in ("--version", "--help"):
        run = subprocess.run([sys.executable, "-c", probe, option], capture_output=True, text=True, check=False)
        assert (run.returncode, run.stderr) == (0, "")
