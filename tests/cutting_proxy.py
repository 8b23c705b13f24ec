"""A proxy before a service: it counts requests, and cuts objects short, as some do under load."""

from __future__ import annotations

import http.client
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

_PASSED_ON = {"content-type", "content-range", "etag", "last-modified", "accept-ranges"}


@dataclass
class Faults:
    """What becomes of contents on their way.

    Parameters
    ----------
    n_cuts
        How many of the first answers for each object, or range of one, are cut short.
    is_admitted
        Whether such an answer has the length that it says, and not the half of it.
    has_ranges
        Whether requests for ranges are handed on.
    is_replaced
        Whether each answer has another ETag, as if the object was another one each time.
    match
        Text in the keys of the objects that have faults.
    n_requests
        How many requests came, of any kind.
    """

    n_cuts: int = 0
    is_admitted: bool = False
    has_ranges: bool = True
    is_replaced: bool = False
    match: str = ""
    n_requests: int = 0
    seen: Counter[tuple[str, str]] = field(default_factory=Counter)


@contextmanager
def serve_cut_short(service: str, faults: Faults) -> Iterator[str]:
    """Yield the address of a proxy before a service."""
    counting = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            with counting:
                faults.n_requests += 1
            upstream = http.client.HTTPConnection(urlsplit(service).netloc)
            headers = dict(self.headers)
            if not faults.has_ranges:
                headers.pop("range", None)
            if faults.is_replaced:
                headers.pop("if-match", None)
            upstream.request(self.command, self.path, headers=headers)
            answer = upstream.getresponse()
            body = answer.read()
            upstream.close()
            length = int(answer.headers.get("content-length") or len(body))
            is_object = "list-type" not in self.path and faults.match in self.path
            if self.command == "GET" and is_object and answer.status in (200, 206):
                which = self.path, self.headers.get("range", "")
                faults.seen[which] += 1
                if faults.seen[which] <= faults.n_cuts:
                    body = body[: len(body) // 2]
                    self.close_connection = True
                    if faults.is_admitted:
                        length = len(body)
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() in _PASSED_ON:
                    is_tag = name.lower() == "etag" and faults.is_replaced
                    self.send_header(name, f'"{faults.seen.total()}"' if is_tag else value)
            self.send_header("Content-Length", str(length))
            self.end_headers()
            self.wfile.write(body if self.command == "GET" else b"")

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()
