"""What befalls a minute of the simulation: how each fault is arranged, and whether it must change an outcome."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

import psycopg

from tests.campaign.market import FAILING, SPOILT, Market
from tests.campaign.stage import Actor, Connection, KilledError, Stage

_STEPS = 45  # of a snapshot, at most


@dataclass(slots=True)
class Scene:
    """One minute, as it is arranged before it is played."""

    stage: Stage
    market: Market
    rng: random.Random
    actors: list[Actor]
    publishers: list[Actor]
    begins: float  # by the stage's elapsed time
    extras: set[str] = field(default_factory=set)  # prune, refresh, verify, status: who else is on stage
    planned: list[str] = field(default_factory=list)
    hit: set[str] = field(default_factory=set)
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


def _freeze(scene: Scene, _conn: Connection) -> None:
    scene.stage.sleep(scene.rng.uniform(5, 70))


def _step_clock(*, forth: bool) -> Callable[[Scene, Connection], None]:
    def step(scene: Scene, _conn: Connection) -> None:
        scene.stage.shift(scene.rng.uniform(1, 90) * (1 if forth else -1))

    return step


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


def _moods(*moods: str, of: float) -> Arrange:
    """Let a share of the wallets answer badly, all wallets if it is 1."""

    def arrange(scene: Scene) -> None:
        if of == 1:
            scene.market.moods[None] = scene.rng.choice(moods)
            return
        listed = scene.market.listed
        for address in scene.rng.sample(listed, max(1, round(of * len(listed)))):
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
    """A fault; `changes` if some minute that has it must come out differently."""

    name: str
    arrange: Arrange
    changes: bool = True


REASONS = (*FAILING, *SPOILT, "internal", "late")
FAULTS = (
    Fault("kill", _at_a_step("kill", _kill)),
    Fault("connection_lost", _at_a_step("connection_lost", _lose)),
    Fault("frozen", _at_a_step("frozen", _freeze)),
    Fault("clock_forth", _at_a_step("clock_forth", _step_clock(forth=True))),
    Fault("clock_back", _at_a_step("clock_back", _step_clock(forth=False))),
    Fault("commit_lost_before", _at_commit("commit_lost_before", before=True)),
    Fault("commit_lost_after", _at_commit("commit_lost_after", before=False), changes=False),
    Fault("commit_delayed", _delay_commit),
    Fault("late_start", _late),
    Fault("unreachable", _unreachable),
    Fault("no_partitions", _no_partitions, changes=False),
    Fault("refresh", _flag("refresh"), changes=False),
    Fault("refresh_killed", _flag("refresh_killed"), changes=False),
    Fault("board_away", _board("away"), changes=False),
    Fault("board_cut", _board("cut"), changes=False),
    Fault("churn", _churn, changes=False),
    Fault("prune", _flag("prune"), changes=False),
    Fault("readers", _flag("readers"), changes=False),
    Fault("hostile_settings", _flag("hostile_settings"), changes=False),
    Fault("zeros", _moods("zeros", of=1)),
    Fault("jump", _moods("jump", of=0.3)),
    Fault("swapped", _moods("swapped", of=0.3)),
    *(Fault(f"some_{reason}", _moods(reason, of=0.3)) for reason in REASONS),
    *(Fault(f"all_{reason}", _moods(reason, of=1)) for reason in FAILING),
    Fault("a_few_of_all_kinds", _moods(*REASONS, of=0.1)),
)
