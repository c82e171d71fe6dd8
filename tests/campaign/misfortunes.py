"""What befalls a minute of the simulation: how each fault is arranged, and whether it must change an outcome."""

import random
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

import psycopg

from tests.campaign.market import FAILING, SPOILT, Market
from tests.campaign.stage import Actor, Connection, KilledError, Stage

_STEPS = 30  # of a snapshot
_IDLE = 58.0  # seconds that the pins allow a transaction to be idle


@dataclass(slots=True)
class Scene:
    """One minute, as it is arranged before it is played."""

    stage: Stage
    market: Market
    rng: random.Random
    actors: list[Actor]
    publishers: list[Actor]
    begins: float  # by the stage's elapsed time
    offset: timedelta  # of the database's clock by then
    extras: set[str] = field(default_factory=set)  # prune, refresh, verify, status: who else is on stage
    planned: list[str] = field(default_factory=list)
    hit: set[str] = field(default_factory=set)
    enter: Callable[[float], None] = lambda _at: None  # one more publisher, who starts at that moment
    is_unreachable: bool = False
    has_no_partitions: bool = False

    def victim(self) -> Actor:
        """Return the publisher that a fault is for."""
        return self.rng.choice(self.publishers)


Arrange = Callable[[Scene], None]


def _at_a_step(name: str, do: Callable[[Scene, Connection], None], steps: int = _STEPS) -> Arrange:
    """Do something to a publisher before one of its statements."""

    def arrange(scene: Scene) -> None:
        victim, number = scene.victim(), scene.rng.randint(1, steps)
        before = victim.before_step

        def strike(conn: Connection, step: int) -> None:
            before(conn, step)
            if step == number:
                scene.hit.add(name)
                do(scene, conn)

        victim.before_step = strike

    return arrange


def _kill(scene: Scene, conn: Connection) -> None:
    scene.stage.terminate(conn)
    conn.pgconn.finish()
    raise KilledError


def _lose(scene: Scene, conn: Connection) -> None:
    scene.stage.terminate(conn)


def _freeze(scene: Scene, conn: Connection) -> None:
    """Stop a process; the server ends the session of one that is silent for too long within a transaction."""
    seconds = scene.rng.uniform(5, 90)
    if seconds > _IDLE and conn.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
        scene.stage.sleep(_IDLE)
        scene.stage.terminate(conn)
        seconds -= _IDLE
    scene.stage.sleep(seconds)


def _step_clock(*, forth: bool) -> Callable[[Scene, Connection], None]:
    def step(scene: Scene, _conn: Connection) -> None:
        scene.stage.shift(scene.rng.uniform(1, 120) if forth else scene.rng.uniform(-90, -1))

    return step


def _fate(name: str, do: Callable[[Scene, Actor], bool]) -> Arrange:
    """Do something to a publisher at a moment of its run, whatever it does then; `do` tells if it could."""

    def arrange(scene: Scene) -> None:
        victim = scene.victim()

        def strike() -> None:
            if not victim.is_over and do(scene, victim):
                scene.hit.add(name)

        scene.actors.append(Actor(f"fate of {victim.name}", victim.wake + scene.rng.uniform(0.2, 4), strike))

    return arrange


def _end_session(scene: Scene, victim: Actor) -> bool:
    """End its session, and with it the lock, which another run may have by the time this one is back."""
    if victim.conn is None or victim.conn.closed:
        return False
    scene.stage.terminate(victim.conn)
    return True


def _signal(_scene: Scene, victim: Actor) -> bool:
    if victim.interrupt is None:
        return False
    victim.interrupt.remember(signal.SIGTERM, None)
    return True


def _lock_lost(scene: Scene) -> None:
    """End a session in the middle of its fetch; another run takes the minute meanwhile."""
    first = scene.publishers[0]
    at = first.wake + scene.rng.uniform(0.5, 1.5)

    def strike() -> None:
        if not first.is_over and _end_session(scene, first):
            scene.hit.add("lock_lost")

    scene.actors.append(Actor("fate of the lock", at, strike))
    scene.enter(at + scene.rng.uniform(0.01, 0.4))


def _universe_changes(scene: Scene) -> None:
    """Let the universe change between two runs of a minute, the first of which missed somebody."""
    scene.hit.add("universe_changes")
    scene.extras.add("refresh")
    scene.market.churn(scene.rng.choice((0.1, 0.25)))
    for address in scene.rng.sample(scene.market.listed, max(1, len(scene.market.listed) // 5)):
        scene.market.moods[address] = "timeout"
    scene.enter(scene.begins + scene.rng.uniform(20, 40))


def _at_commit(name: str, *, before: bool) -> Arrange:
    """Lose the connection just before a publisher's COMMIT that counts, or with the reply to it."""

    def arrange(scene: Scene) -> None:
        victim, left = scene.victim(), scene.rng.randint(1, 3)

        def strike(conn: Connection) -> None:
            nonlocal left
            left -= 1
            if left:
                return
            scene.hit.add(name)
            scene.stage.terminate(conn)
            if not before:
                conn.pgconn.finish()
                raise psycopg.OperationalError("the reply to COMMIT is lost")

        if before:
            victim.before_commit = strike
        else:
            victim.after_commit = strike

    return arrange


def _delay_commit(scene: Scene) -> None:
    victim, left = scene.victim(), scene.rng.randint(1, 3)

    def strike(_conn: Connection) -> None:
        nonlocal left
        left -= 1
        if not left:
            scene.hit.add("commit_delayed")
            scene.stage.elapsed += scene.rng.uniform(20, 58)

    victim.before_commit = strike


def _all(*moods: str) -> Arrange:
    """Let all wallets answer badly."""

    def arrange(scene: Scene) -> None:
        scene.market.moods[None] = scene.rng.choice(moods)

    return arrange


def _some(*moods: str) -> Arrange:
    """Let some of the wallets answer badly: a few, or too many for a good minute."""

    def arrange(scene: Scene) -> None:
        listed = scene.market.listed
        for address in scene.rng.sample(listed, max(1, round(scene.rng.uniform(0.02, 0.3) * len(listed)))):
            scene.market.moods[address] = scene.rng.choice(moods)

    return arrange


def _late(scene: Scene) -> None:
    scene.hit.add("late_start")
    scene.victim().wake = scene.begins + scene.rng.uniform(40, 59.9)


def _flag(name: str) -> Arrange:
    def arrange(scene: Scene) -> None:
        scene.hit.add(name)
        scene.extras.add(name)

    return arrange


def _unreachable(scene: Scene) -> None:
    scene.hit.add("unreachable")
    scene.is_unreachable = True


def _no_partitions(scene: Scene) -> None:
    scene.hit.add("no_partitions")
    scene.has_no_partitions = True
    scene.stage.elapsed += timedelta(days=3).total_seconds()  # to a day nobody has made
    for actor in scene.actors:
        actor.wake += timedelta(days=3).total_seconds()
    scene.begins += timedelta(days=3).total_seconds()


def _board(mood: str) -> Arrange:
    def arrange(scene: Scene) -> None:
        scene.hit.add(f"board_{mood}")
        scene.extras.add("refresh")
        scene.market.board = mood

    return arrange


def _churn(scene: Scene) -> None:
    scene.hit.add("churn")
    scene.extras.add("refresh")
    scene.market.churn(scene.rng.choice((0.1, 0.2, 0.5, 1.0)))


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault, and how often it comes; `changes` if some minute that has it must come out differently."""

    name: str
    arrange: Arrange
    weight: float = 3.0
    changes: bool = True


REASONS = (*FAILING, *SPOILT, "internal", "late")
FAULTS = (
    Fault("kill", _at_a_step("kill", _kill)),
    Fault("connection_lost", _at_a_step("connection_lost", _lose)),
    Fault("session_ended", _fate("session_ended", _end_session)),
    Fault("lock_lost", _lock_lost),
    Fault("frozen", _at_a_step("frozen", _freeze)),
    Fault("signal", _fate("signal", _signal)),
    Fault("clock_forth", _at_a_step("clock_forth", _step_clock(forth=True))),
    Fault("clock_back", _at_a_step("clock_back", _step_clock(forth=False)), weight=1),
    Fault("commit_lost_before", _at_commit("commit_lost_before", before=True)),
    Fault("commit_lost_after", _at_commit("commit_lost_after", before=False)),
    Fault("commit_delayed", _delay_commit),
    Fault("late_start", _late),
    Fault("unreachable", _unreachable),
    Fault("no_partitions", _no_partitions, weight=1, changes=False),  # DEFAULT takes the minute
    Fault("refresh", _flag("refresh")),
    Fault("refresh_killed", _flag("refresh_killed")),
    Fault("board_away", _board("away")),
    Fault("board_cut", _board("cut")),
    Fault("churn", _churn),
    Fault("universe_changes", _universe_changes),
    Fault("prune", _flag("prune")),
    Fault("readers", _flag("readers"), changes=False),  # who only reads changes nothing
    Fault("hostile_settings", _flag("hostile_settings"), weight=1, changes=False),  # they are pinned
    Fault("zeros", _all("zeros"), weight=1),
    Fault("jump", _some("jump"), weight=1),
    Fault("swapped", _some("swapped"), weight=1),
    *(Fault(f"some_{reason}", _some(reason), weight=1) for reason in REASONS),
    *(Fault(f"all_{reason}", _all(reason), weight=0.8) for reason in FAILING),
    Fault("a_few_of_all_kinds", _some(*REASONS)),
)


def choose(rng: random.Random) -> list[Fault]:
    """Return the faults of a minute: none, one or two."""
    first, second = rng.choices(FAULTS, [fault.weight for fault in FAULTS], k=2)
    return [first, second][: rng.choice((0, 1, 1, 1, 2, 2) if first is not second else (1,))]
