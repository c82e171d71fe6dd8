"""What an operator may write, well and badly: settings files, addresses, moments, spans, days; replayable by number."""

from dataclasses import dataclass
from random import Random
from urllib.parse import quote

from tests.fuzz import spoil, words

CANARY = "t0pSecret7f3a"
"""Stands wherever a secret may stand, and in no message."""


@dataclass(frozen=True, slots=True)
class File:
    """A settings file."""

    content: bytes
    tags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Address:
    """A web address or a connection string; `parts` are a connection string's own, where it was put together well."""

    setting: str
    value: str
    tags: tuple[str, ...]
    parts: dict[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Words:
    """Options of a command: `minutes` of verify, `keep` of prune, or `days` of export."""

    command: str
    given: tuple[str | None, ...]
    tags: tuple[str, ...]


_STRANGE = (
    "\\", "@", "#", "?", "/", ":", "[", "]", "%", "%0a", "%2f", "%00", "\t", " ", "\n", "\r", "\0", ";", "_", "-",
    ".", "..", "+", "&",
    "=", "'", '"', "$", "`", "\u3002", "\uff0e", "\u2028", "\u00df", "\u0130", "\u00ad", "\u0660", "\uff11", "\u00e9",
    "\U0001f40b",
    "\u202e", "\x1b", "\x7f", "\u200b", "0", "9", "W", "z", "Z", "T", "e", "\ufeff",
)  # fmt: skip


def _spoil(rng: Random, text: str) -> str:
    """Change a character or a few."""
    one, other = sorted((rng.randrange(len(text) + 1), rng.randrange(len(text) + 1)))
    strange = rng.choice(_STRANGE)
    return rng.choice(
        (
            text[:one] + strange + text[one:],
            text[:one] + strange + text[one:],
            text[:one] + strange + text[one + 1 :],
            text[:one] + text[one + 1 :],
            text[:one] + text[other:],
            text[:other] + text[one:],
            text.swapcase(),
        )
    )


# ---- settings files

_FIGURES = (
    "0", "1", "2", "3", "4", "50", "59", "60", "64", "65", "80", "94.99", "95", "100", "100.01", "180", "1200",
    "86400", "86401",
    "8760", "8761", "36500", "36501", "100000", "100001", "0.90", "0.5", "1.01", "2147483647", "2147483648", "9" * 10,
    "-1", "-0",
    "nan", "NaN", "inf", "-Infinity", "1e3", "1e400", "1_000", "+5", ".5", "5.", "0x10", "007", "9" * 400, "9" * 5000,
    "1.5", "50.0",
    "\uff11", "\u0663", "many", "true", CANARY,
)  # fmt: skip
_DATABASES = (
    f"postgresql://u:{CANARY}@h/x",
    "postgresql:///x?host=/run",
    f"postgresql://u:{CANARY}@@h/x",
    CANARY,
    "dbname=x",
)
_WEB = (
    "https://node.example",
    "http://127.0.0.1:3001",
    "http://node.example",
    f"https://u:{CANARY}@node.example",
    CANARY,
)
_OTHERS = {
    "HLCTL_DATABASE_URL": _DATABASES,
    "HLCTL_API_URL": _WEB,
    "HLCTL_LEADERBOARD_URL": _WEB,
    "HLCTL_API_AUTHORIZATION": (f"Bearer {CANARY}", CANARY, f"{CANARY}\u00e9", f" {CANARY}"),
    "HLCTL_DATA_DIR": ("/nowhere", "nowhere", f"postgresql://u:{CANARY}@h/x"),
    "HLCTL_LOG_LEVEL": ("debug", "info", "loud", "DEBUG", CANARY),
    "HLCTL_DATABASE_URL_FILE": ("/nowhere", CANARY, f"/{CANARY}\0", CANARY * 400),
    "HLCTL_CONFIG": ("/etc/hlctl/hlctl.env",),
    "HLCTL_UNIVERSE_SIZ": (CANARY, "5"),
    "hlctl_universe_size": (CANARY, "5"),
    "DATABASE_PASSWORD": (CANARY,),
}
_LINES = (
    "", "# a comment", "   ", "export HLCTL_MAX_ATTEMPTS=2", f"Bearer {CANARY}", f"HLCTL_API_AUTHORIZATION: {CANARY}",
    f"HLCTL_API_AUTHORIZATION:{CANARY}", "HLCTL_UNIVERSE_SIZE", f"HLCTL_DATABASE_URL postgresql://u:{CANARY}@h/x",
    f"HLCTL_API_AUTHORIZATION='Bearer {CANARY}", f'HLCTL_API_AUTHORIZATION="{CANARY}\\n"', f"'HLCTL_A\n{CANARY}'=1",
    f"HLCTL_API_AUTHORIZATION={CANARY} # mine", f"postgresql://u:{CANARY}@h/x?connect_timeout=3",
    "HLCTL_MAX_ATTEMPTS = 2",
    "=", "==", "HLCTL_=1", "[hlctl]", "\f", "HLCTL_STALE_AFTER='180'", f"${{{CANARY}}}", "HLCTL_DEADLINE=${HOME}",
)  # fmt: skip


def make_file(seed: int, index: int) -> File:
    """Make settings file `index` of a seed."""
    rng = Random(f"config:{seed}:{index}")  # noqa: S311 - replayable, not secret
    lines, tags = [], []
    for _ in range(rng.choice((0, 1, 1, 1, 2, 3, 8))):
        tags.append(rng.choice(("figure", "figure", "figure", "other", "line")))
        if tags[-1] == "figure":
            lines.append(f"{rng.choice(tuple(words.BOUNDS))}={rng.choice(_FIGURES)}")
        elif tags[-1] == "other":
            name = rng.choice(tuple(_OTHERS))
            lines.append(f"{name}={rng.choice(_OTHERS[name])}")
        else:
            lines.append(rng.choice(_LINES))
    text = rng.choice(("\n", "\n", "\r\n", "\n\n")).join(lines)
    if rng.random() < 0.15:
        text, tags = _spoil(rng, text), [*tags, "spoilt"]
    content = text.encode("utf-8", "surrogatepass")
    if rng.random() < 0.1:
        step = rng.choice((spoil.cut, spoil.flip, spoil.splice, spoil.lead, spoil.encode))
        content, tags = step(rng, content), [*tags, step.__name__]
    if rng.random() < 0.004:
        content, tags = content + b"\n#" * 40_000, [*tags, "long"]
    return File(content, tuple(tags))


# ---- addresses

_HOSTS = (
    "api.hyperliquid.xyz", "127.0.0.1", "127.9.9.9", "localhost", "LOCALHOST", "[::1]", "[::ffff:127.0.0.1]",
    "[::1%25lo]", "127.1",
    "0x7f000001", "0177.0.0.1", "2130706433", "0.0.0.0",  # noqa: S104 - nobody binds it
    "10.0.0.1", "169.254.169.254", "127.0.0.1.evil.example",
    "localhost.",
    "localhost.evil.example", "127.0.0.1@evil.example", "evil.example\\@127.0.0.1", "evil.example#127.0.0.1",
    "b\u00fccher.example",
    "a..b", "-a.example", "*.example", "a" * 64, "\u3002", "xn--bcher-kva.example", "[v1.a]", "[", "]", "",
    "\uff11\uff12\uff17.0.0.1",
    "loc\u00adalhost", "\u24db\u24deca\u24dbhost", "my_node.example",
)  # fmt: skip
_PORTS = (
    "",
    "",
    "",
    ":443",
    ":3001",
    ":0",
    ":65535",
    ":65536",
    ":99999999",
    ":",
    ":x",
    ":-1",
    ":\u0661",
    ":+80",
    ": 80",
)
_PATHS = (
    "",
    "",
    "/",
    "/info",
    "/info/",
    "/some-key/info",
    "//x",
    "/%0a",
    "/%zz",
    "/\u00e9",
    "?key=1",
    "#x",
    ";x",
    "/a b",
    "/..",
)
_SPECIAL = (
    "",
    "",
    "%",
    ":",
    "@",
    "/",
    "?",
    "#",
    "&",
    "=",
    " ",
    "+",
    "[",
    "\u00e9",
    "%41",
    "%ff",
    "%00",
    "'",
    "\\",
    ",",
)


def make_address(seed: int, index: int) -> Address:
    """Make address `index` of a seed."""
    rng = Random(f"url:{seed}:{index}")  # noqa: S311 - replayable, not secret
    if rng.random() < 0.5:
        user = rng.choice(("",) * 8 + (f"u:{CANARY}@", f"{CANARY}@", "@", ":@"))
        scheme = rng.choice(
            ("https://", "http://", "http://", "HTTP://", "ftp://", "//", "https:", "http:/", "", " http://")
        )
        value = scheme + user + rng.choice(_HOSTS) + rng.choice(_PORTS) + rng.choice(_PATHS)
        tags, parts, setting = ["web"], None, "HLCTL_API_URL"
    else:
        parts = {
            "user": f"u{rng.choice(_SPECIAL)}",
            "password": f"p{rng.choice(_SPECIAL)}{rng.choice(_SPECIAL)}{CANARY}",
            "host": rng.choice(("h", "db.example", "10.0.0.1", "h1,h2")),
            "port": rng.choice(("5432", "6432")),
            "dbname": f"x{rng.choice(_SPECIAL)}",
        }
        as_written = dict(parts)
        tags = [rng.choice(("encoded", "raw"))]
        if tags == ["encoded"]:
            as_written |= {name: quote(parts[name], safe="") for name in ("user", "password", "dbname")}
            as_written["port"] = parts["port"] if "," not in parts["host"] else ""
        value = "{scheme}://{user}:{password}@{host}{colon}{port}/{dbname}{query}".format(
            scheme=rng.choice(
                ("postgresql", "postgresql", "postgres", "PostgreSQL", "mysql") if tags == ["raw"] else ("postgresql",)
            ),
            colon=":" if as_written["port"] else "",
            query=rng.choice(("", "", "?sslmode=verify-full", "?connect_timeout=3&application_name=x")),
            **as_written,
        )
        if not as_written["port"]:
            del parts["port"]
        parts = parts if tags == ["encoded"] and "%00" not in value else None
        setting = "HLCTL_DATABASE_URL"
    if rng.random() < 0.3:
        value, parts, tags = _spoil(rng, value), None, [*tags, "spoilt"]
    return Address(setting, value, tuple(tags), parts)


# ---- options

_MOMENTS = (
    "2026-01-06T20:44Z", "2026-01-06T20:44:00Z", "2026-01-06t20:44:00.000z", "2026-01-06 20:44+01:00",
    "2026-01-06T20:44:00-05:30",
    "2026-01-06T20:44:00.0000000000Z", "2026-01-06T20:44:01Z", "2026-01-06T20:44:00.1Z", "2026-01-06T20:44",
    "2026-01-06", "20:44Z",
    "2026-02-29T00:00Z", "2024-02-29T00:00Z", "2026-13-01T00:00Z", "2026-01-06T24:00Z", "2026-01-06T23:60Z",
    "2026-01-06T20:44:60Z",
    "0001-01-01T00:00+01:00", "0001-01-01T00:00Z", "9999-12-31T23:59-01:00", "0000-01-01T00:00Z", "2026-W01-1T00:00Z",
    "20260106T2044Z",
    "2026-01-06T20:44+24:00", "2026-01-06T20:44+23:59", "2026-01-06T20:44-00:00", "2026-01-06T20:44+0100",
    "2026-01-06T20:44+01",
    "2026-01-06T20:44+01:00:30", "2026-01-06T20:44:00,0Z", "2026-01-06T20Z", "now", "", "-1", "1767732240",
    "2026-006T20:44Z",
)  # fmt: skip
_SPANS = (
    "90m", "24h", "7d", "1m", "0m", "00d", "36500d", "36501d", "876000h", "876001h", "52560000m", "52560001m",
    "999999999d", "1000000000m",
    "24", "h", "1w", "1.5h", "-1h", "+1h", "1 h", "1H", "1h30m", "", "9" * 5000 + "d", "\u0661h", "\uff11d", "1d\n",
    " 1d",
)  # fmt: skip
_KEEPS = (*_SPANS, "30d", "1d", "00030d", "000030d", "99999d", "030d")
_DAYS = (
    "2026-01-06", "2026-01-07", "2026-02-29", "2024-02-29", "2026-W01-1", "20260106", "2026-1-6", "2026-01-06T",
    "0001-01-01", "9999-12-31",
    "0000-01-01", "2026-01-06Z", " 2026-01-06", "2026-01-06\n", "today", "", "2026-006", "\uff12026-01-06",
)  # fmt: skip


def make_words(seed: int, index: int) -> Words:
    """Make command line `index` of a seed."""
    rng = Random(f"minute:{seed}:{index}")  # noqa: S311 - replayable, not secret
    tags: list[str] = []

    def one(pool: tuple[str, ...]) -> str:
        text = rng.choice(pool)
        if rng.random() < 0.3:
            tags.append("spoilt")
            text = _spoil(rng, text)
        return text

    command = rng.choice(("minutes", "minutes", "keep", "days"))
    given: tuple[str | None, ...]
    if command == "keep":
        given = (one(_KEEPS),)
    elif command == "days":
        form = rng.choice(
            ((1, 0, 0), (1, 0, 0), (0, 1, 1), (0, 1, 1), (0, 1, 0), (0, 0, 1), (1, 1, 0), (0, 0, 0), (1, 1, 1))
        )
        given = tuple(one(_DAYS) if is_given else None for is_given in form)
    else:
        form4 = rng.choice(
            (
                (1, 0, 0, 0),
                (1, 0, 0, 0),
                (0, 1, 0, 0),
                (0, 0, 1, 1),
                (0, 0, 1, 1),
                (0, 0, 1, 0),
                (1, 1, 0, 0),
                (0, 1, 0, 1),
            )
        )
        pools = (_MOMENTS, _SPANS, _MOMENTS, _MOMENTS)
        given = tuple(one(pool) if is_given else None for pool, is_given in zip(pools, form4, strict=True))
    return Words(command, given, (command, *tags))
