"""Who is told of a fault that lasts: at its begin and at its end, whatever happens in between."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Literal

from hypothesis import given
from hypothesis import strategies as st

from hlctl.errors import ExitCode
from hlctl.outage import FAULTS, MOST_CAUSES, STATUS_CODES, Ending, Memory, Past, Word, cause_of, judge

FIRST = datetime(2026, 1, 6, 20, 44, tzinfo=UTC)
MINUTE = timedelta(minutes=1)

Event = Literal["success", "partial", "failed", "lost", "database", "setup", "missed", "busy", "off"]
"""How a minute goes: recorded so; lost after the record was read; ended before it was; left to another run; not run."""

EVENTS = st.sampled_from(Event.__args__)  # type: ignore[attr-defined]
CODES = {"lost": 5, "database": 5, "setup": 6, "missed": 4, **STATUS_CODES}
UNREAD = {"database", "setup"}


@dataclass
class Record:
    """Stands for the database: the status of each minute that has a row."""

    rows: dict[datetime, str] = field(default_factory=dict)

    def past(self, minute: datetime) -> Past | None:
        """Say what sql/queries/read_past.sql says; tests/db/test_store.py holds the two together."""
        known = {at: status for at, status in self.rows.items() if at <= minute}
        if not known:
            return None
        since = max((at + MINUTE for at, status in known.items() if status == "success"), default=min(known))
        bad = {at: status for at, status in known.items() if at >= since}
        minutes = max(0, (minute - since) // MINUTE)
        told = frozenset(STATUS_CODES[status] for status in bad.values())
        return Past(since, minutes, told, gaps=minutes - sum(at < minute for at in bad))


@dataclass
class Host:
    """Runs a command each minute, keeps its memory if it has a disk, and notes what it says."""

    record: Record
    has_disk: bool = True
    memory: Memory | None = None
    said: list[tuple[datetime, Word, int]] = field(default_factory=list)

    def run(self, minute: datetime, event: Event) -> None:
        """Run once."""
        if event == "off":
            return
        past = None if event in UNREAD else self.record.past(minute)
        code = CODES.get(event, 75)
        is_recorded = event in STATUS_CODES
        if is_recorded:
            self.record.rows[minute] = event
        ending = Ending.GOOD if code == 0 else Ending.FAULT if code in FAULTS else Ending.NEITHER
        judged = judge(ending, code, past=past, memory=self.memory, is_recorded=is_recorded, now=minute)
        self.memory = judged.memory if self.has_disk else None
        if judged.word is not Word.NOTHING:
            self.said.append((minute, judged.word, code))


def expected(events: list[Event]) -> list[tuple[datetime, Word, int]]:
    """Say by the contract's own words what one host must say, minute by minute."""
    told: set[int] = set()
    said, is_out, has_begun = [], False, False
    for number, event in enumerate(events):
        minute, code = FIRST + number * MINUTE, CODES.get(event)
        if event == "success":
            if is_out:
                said.append((minute, Word.GOOD_AGAIN, 0))
            told, is_out, has_begun = set(), False, True
        elif code is not None:
            if code not in told:
                said.append((minute, Word.FAULT, int(code)))
            told.add(code)
            is_out, has_begun = True, has_begun or event in STATUS_CODES
        elif has_begun:  # nobody recorded it
            is_out = True
    return said


@given(st.lists(EVENTS, max_size=30))
def test_an_outage_is_told_when_it_begins_once_for_each_code_and_when_it_ends(events: list[Event]) -> None:
    """Whatever the order: that is what a mail is worth reading for."""
    host = Host(Record())
    for number, event in enumerate(events):
        host.run(FIRST + number * MINUTE, event)
    assert host.said == expected(events)


@given(st.lists(st.sampled_from(["success", "partial", "failed"]), max_size=30), st.lists(st.booleans(), min_size=30))
def test_which_host_records_a_minute_changes_nothing_where_the_database_answers(
    events: list[Event], turns: list[bool]
) -> None:
    """Two hosts, and none with a disk, tell what one would."""
    record = Record()
    hosts = {turn: Host(record, has_disk=False) for turn in (False, True)}
    for number, (event, turn) in enumerate(zip(events, turns, strict=False)):
        hosts[turn].run(FIRST + number * MINUTE, event)
        hosts[not turn].run(FIRST + number * MINUTE, "busy")
    assert sorted(hosts[False].said + hosts[True].said) == expected(events)


@given(st.lists(EVENTS, max_size=30), st.lists(st.booleans(), min_size=30))
def test_a_second_host_changes_nothing_for_the_first(events: list[Event], takes_part: list[bool]) -> None:
    """It finds the minute taken, or the database gone as the first one does, and says its own beginning and no more."""
    record = Record()
    first, second = Host(record), Host(record)
    for number, (event, is_there) in enumerate(zip(events, takes_part, strict=False)):
        minute = FIRST + number * MINUTE
        first.run(minute, event)
        if is_there:
            second.run(minute, event if event in UNREAD else "busy")
    assert first.said == expected(events)
    assert {word for _, word, _ in second.said} <= {Word.FAULT}


@given(st.lists(EVENTS, max_size=20), st.sampled_from(["database", "setup"]))
def test_a_host_that_never_gets_a_minute_still_tells_the_next_outage(events: list[Event], event: Event) -> None:
    """What it told of the last one is over once the record shows a good minute, though another host recorded it."""
    record = Record()
    first, second = Host(record), Host(record)
    for number, happened in enumerate([*events, "success", "success"]):
        first.run(FIRST + number * MINUTE, happened)
        second.run(FIRST + number * MINUTE, happened if happened in UNREAD else "busy")
    minute = FIRST + (len(events) + 2) * MINUTE
    second.run(minute, event)
    assert second.said[-1] == (minute, Word.FAULT, CODES[event])


def test_a_fault_that_only_one_host_met_ends_with_its_next_good_minute() -> None:
    """Its line asked somebody to look; the record has no outage to show for it."""
    record = Record()
    first, second = Host(record), Host(record)
    first.run(FIRST, "success")
    second.run(FIRST, "database")
    second.run(FIRST + MINUTE, "success")
    assert [word for _, word, _ in second.said] == [Word.FAULT, Word.GOOD_AGAIN]


def test_a_minute_that_a_second_attempt_completes_ends_its_outage() -> None:
    """The first attempt told of a partial minute."""
    host = Host(Record())
    for event in ("success", "partial", "partial", "success", "success"):
        host.run(FIRST, event)
    assert [(word, code) for _, word, code in host.said] == [(Word.FAULT, ExitCode.PARTIAL), (Word.GOOD_AGAIN, 0)]


CAUSES = st.lists(st.sampled_from(["connection refused", "no answer in 5 s", "no answer in 7.1 s", "bad"]), max_size=30)


@given(CAUSES)
def test_each_cause_under_a_code_is_told_once_whatever_its_figures(causes: list[str]) -> None:
    """A second one needs another hand; a figure that runs on is no other cause."""
    memory, said = None, []
    for number, words in enumerate(causes):
        judged = judge(
            Ending.FAULT, 5, past=None, memory=memory, is_recorded=False, now=FIRST, cause=cause_of(5, words)
        )
        memory = judged.memory
        if judged.word is Word.FAULT:
            said.append(number)
    kinds = [words[:4] for words in causes]
    assert said == [number for number, kind in enumerate(kinds) if kind not in kinds[:number]]


def test_a_cause_that_is_ever_another_is_told_a_few_times_only() -> None:
    """A message may repeat a stranger's words, which nobody has seen yet."""
    memory, said = None, 0
    for number in range(100):
        words = f"{'x' * number} {number}"
        judged = judge(
            Ending.FAULT, 5, past=None, memory=memory, is_recorded=False, now=FIRST, cause=cause_of(5, words)
        )
        memory, said = judged.memory, said + (judged.word is Word.FAULT)
    assert said == MOST_CAUSES


def test_what_the_record_tells_has_no_cause() -> None:
    """Every host reads the codes from it, and no words."""
    assert [code for code in ExitCode if cause_of(code, "why") is not None] == [ExitCode.DATABASE, ExitCode.SETUP]


@given(st.lists(EVENTS, max_size=30))
def test_without_any_memory_a_fault_that_no_row_tells_of_is_told_every_time(events: list[Event]) -> None:
    """Too much is better than nothing at all."""
    host = Host(Record(), has_disk=False)
    for number, event in enumerate(events):
        host.run(FIRST + number * MINUTE, event)
    unread = {FIRST + number * MINUTE for number, event in enumerate(events) if event in UNREAD}
    assert unread <= {minute for minute, word, _ in host.said if word is Word.FAULT}
