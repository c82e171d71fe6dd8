"""An address on loopback that keeps what is posted to it: pings, and notifications of failures."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True, slots=True)
class Posted:
    """One POST."""

    at: datetime
    path: str  # without the query
    body: str

    @property
    def minute(self) -> datetime:
        """Return the minute in which it came."""
        return self.at.replace(second=0, microsecond=0)


@contextmanager
def listening() -> Iterator[tuple[str, list[Posted]]]:
    """Yield an address, without a slash at its end, and the list of what is posted to it and below."""
    posted: list[Posted] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"] or 0)).decode()
            posted.append(Posted(datetime.now(UTC), self.path.partition("?")[0], body))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", posted
        server.shutdown()
