"""What a question costs in CPU time: hlctl's transport beside `http.client`, in 8 threads, plain and over TLS.

`python -m benchmarks.questions [--rounds 9] [--questions 2000]` starts processes in turn, each of which asks so many
times over connections that are open already, and prints CPU time per question and its ratio to that of `http.client`,
which neither ends a slow answer nor counts its bytes: a floor for whoever writes HTTP in Python.
"""

import argparse
import http.client
import os
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks import exchange
from benchmarks.paired import ratios, rounds, spread

_THREADS = 8
_WARM_UP = 5  # questions of each thread: its connection is open then
_QUESTION = b'{"type":"clearinghouseState","user":"0x%040x"}'
_WALLETS = 200
_PATIENCE = 30.0  # seconds, for all threads to be ready

Ask = Callable[[bytes], bytes]


def _transport(base: str) -> Callable[[], Ask]:
    """Return what makes a thread's way to ask through hlctl."""
    from hlctl.exchange import MAX_STATE_BYTES  # noqa: PLC0415 - who asks otherwise loads none of it
    from hlctl.transport import Transport  # noqa: PLC0415

    transport = Transport(connections=_THREADS)
    template = transport.post_template(f"{base}/info")
    return lambda: partial(transport.post, template, seconds=8.0, limit=MAX_STATE_BYTES)


def _client(base: str) -> Callable[[], Ask]:
    """Return what makes a thread's way to ask through a connection of `http.client`."""
    host = urlsplit(base)
    context = ssl.create_default_context() if host.scheme == "https" else None
    headers = {"User-Agent": "benchmark", "Accept": "application/json", "Content-Type": "application/json"}

    def opened() -> Ask:
        connection = (
            http.client.HTTPSConnection(host.netloc, timeout=8, context=context)
            if context
            else http.client.HTTPConnection(host.netloc, timeout=8)
        )

        def ask(body: bytes) -> bytes:
            connection.request("POST", "/info", body, headers)
            return connection.getresponse().read()

        return ask

    return opened


_WAYS = {"http.client": _client, "hlctl": _transport}


def ask(way: str, base: str, questions: int) -> float:
    """Ask in threads and return the CPU seconds of a question, opening the connections aside."""
    opened = _WAYS[way](base)
    ready = threading.Barrier(_THREADS + 1, timeout=_PATIENCE)

    def work() -> None:
        one = opened()
        for number in range(_WARM_UP):
            one(_QUESTION % number)
        ready.wait()
        ready.wait()
        for number in range(questions // _THREADS):
            one(_QUESTION % (number % _WALLETS))

    threads = [threading.Thread(target=work) for _ in range(_THREADS)]
    for thread in threads:
        thread.start()
    ready.wait()
    began = time.process_time()
    ready.wait()
    for thread in threads:
        thread.join()
    return (time.process_time() - began) / (questions // _THREADS * _THREADS)


def apart(way: str, base: str, questions: int, env: Mapping[str, str]) -> float:
    """Do the same in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.questions", "--way", way, "--base", base]
    return float(
        subprocess.run(
            [*command, "--questions", f"{questions}"], env=env, check=True, capture_output=True, text=True
        ).stdout
    )


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.questions", description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--questions", type=int, default=2_000, help="of a process")
    parser.add_argument("--way", choices=_WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--base", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.way:
        print(ask(options.way, options.base, options.questions))
        return
    for scheme in ("http", "https"):
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            certificate = exchange.certify(folder) if scheme == "https" else None
            base = stack.enter_context(exchange.serving(rows=1_000, certificate=certificate))
            env = os.environ | ({"SSL_CERT_FILE": str(certificate.authorities)} if certificate else {})
            ways = {way: partial(apart, way, base, options.questions, env) for way in _WAYS}
            found = rounds(ways, options.rounds)
        print(f"{scheme}: {options.rounds} rounds of {options.questions} questions, median (least to largest)")
        for way, figures in found.items():
            print(f"  {way}: ms {spread([1000 * figure for figure in figures])}")
        print(f"  hlctl / http.client: {ratios(found['hlctl'], found['http.client'])}")


if __name__ == "__main__":
    main()
