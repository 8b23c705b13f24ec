"""A server that lists keys as S3 does: from memory, and with faults where they are asked for.

Its keys are made up, as many as wanted, in the layout of an archive; its objects are empty.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
from bisect import bisect_left, bisect_right
from pathlib import Path
from urllib.parse import parse_qs, quote, unquote, urlsplit
from xml.sax.saxutils import escape

KEYS_PER_PAGE = 1000

_HEAD = '<?xml version="1.0" encoding="UTF-8"?><ListBucketResult><Name>bucket</Name>'

_STATUSES = {
    "SlowDown": "503 Slow Down",
    "InternalError": "500 Internal Server Error",
    "TooManyRequests": "429 Too Many Requests",
    "ExpiredToken": "400 Bad Request",
    "AccessDenied": "403 Forbidden",
}


def make_keys(n_keys: int, n_subjects: int, files_per_session: int = 50) -> list[str]:
    """Return keys of datasets: sessions of equal size, spread over subjects."""
    n_sessions = -(-n_keys // files_per_session)
    keys: list[str] = []
    for number in range(n_sessions):
        subject, day = number % n_subjects, number // n_subjects
        date = f"{2000 + day // 336}-{day // 28 % 12 + 1:02}-{day % 28 + 1:02}"
        session = f"lab/Subjects/S{subject:04}/{date}/001"
        keys += (
            f"{session}/alf/probe{file % 2:02}/_ns_object{file:06}.attribute.npy"
            for file in range(files_per_session)
        )
    return sorted(keys[:n_keys])


class ListServer:
    """Answer requests for lists of objects.

    Parameters
    ----------
    keys
        In the order of their bytes.
    latency
        Seconds before each answer.
    faults
        Shares of the answers that are ``cut`` in the middle, ``reset``, or an error of this code.
    match
        Text in the addresses of the requests that have faults.
    after
        Requests before the first fault.
    """

    def __init__(
        self,
        keys: list[str],
        latency: float = 0.0,
        faults: dict[str, float] | None = None,
        match: str = "",
        after: int = 0,
    ) -> None:
        self._latency = latency
        self._faults = faults or {}
        self._match = match
        self._after = after
        self._n_requests = 0
        self._random = random.Random(1)
        self._keys = [key.encode() for key in keys]
        self._texts = [
            (
                f"<Contents><Key>{escape(key)}</Key><LastModified>2024-05-06T07:08:09.000Z"
                f"</LastModified><ETag>&quot;{number:032x}&quot;</ETag><Size>{number % 5000 + 1}"
                "</Size><StorageClass>STANDARD</StorageClass></Contents>"
            ).encode()
            for number, key in enumerate(keys)
        ]

    async def serve(self, port: int) -> None:
        """Serve on a port of this machine, for ever, and print its number."""
        server = await asyncio.start_server(self._answer_all, "127.0.0.1", port)
        print(server.sockets[0].getsockname()[1], flush=True)
        async with server:
            await server.serve_forever()

    async def _answer_all(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                await self._answer(head.split(b" ", 2)[1].decode(), writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _answer(self, target: str, writer: asyncio.StreamWriter) -> None:
        if self._latency:
            await asyncio.sleep(self._latency)
        fault = self._choose_fault(unquote(target))
        if fault == "reset":
            raise ConnectionError
        status = _STATUSES.get(fault, "200 OK")
        body = f"<Error><Code>{fault}</Code></Error>".encode()
        if status == "200 OK":
            body = self._list(target)
        head = f"HTTP/1.1 {status}\r\nContent-Type: application/xml\r\nContent-Length: {len(body)}"
        if fault == "cut":
            body = body[: len(body) // 2]
        writer.write(head.encode() + b"\r\n\r\n" + body)
        await writer.drain()
        if fault == "cut":
            raise ConnectionError

    def _choose_fault(self, target: str) -> str:
        self._n_requests += 1
        if self._n_requests <= self._after or self._match not in target:
            return ""
        value = self._random.random()
        for name, share in self._faults.items():
            if value < share:
                return name
            value -= share
        return ""

    def _list(self, target: str) -> bytes:
        query = {name: values[0] for name, values in parse_qs(urlsplit(target).query).items()}
        prefix = query.get("prefix", "").encode()
        after = query.get("start-after") or query.get("marker", "")
        if token := query.get("continuation-token"):
            after = unquote(token)
        first = bisect_left(self._keys, prefix)
        if after:
            first = max(first, bisect_right(self._keys, after.encode()))
        last = bisect_left(self._keys, prefix + b"\xff")
        if "delimiter" in query:
            return self._list_level(prefix, first, last)
        end = min(first + KEYS_PER_PAGE, last)
        texts = self._texts[first:end]
        if query.get("encoding-type") == "url":
            texts = [b"<EncodingType>url</EncodingType>"] + [
                text.replace(escape(key.decode()).encode(), quote(key).encode(), 1)
                for key, text in zip(self._keys[first:end], texts, strict=True)
            ]
        return self._wrap(b"".join(texts), end - first, end, last)

    def _list_level(self, prefix: bytes, first: int, last: int) -> bytes:
        found, n = [], 0
        while first < last and n < KEYS_PER_PAGE:
            name, slash, _ = self._keys[first][len(prefix) :].partition(b"/")
            if slash:
                folder = escape((prefix + name + slash).decode()).encode()
                found.append(b"<CommonPrefixes><Prefix>%b</Prefix></CommonPrefixes>" % folder)
                first = bisect_left(self._keys, prefix + name + b"0")  # what comes after /
            else:
                found.append(self._texts[first])
                first += 1
            n += 1
        return self._wrap(b"".join(found), n, first, last)

    def _wrap(self, found: bytes, n: int, end: int, last: int) -> bytes:
        token = ""
        if end < last:
            mark = quote(self._keys[end - 1].decode())
            token = f"<NextContinuationToken>{mark}</NextContinuationToken>"
        head = f"{_HEAD}<KeyCount>{n}</KeyCount><MaxKeys>{KEYS_PER_PAGE}</MaxKeys>"
        head += f"<IsTruncated>{'true' if token else 'false'}</IsTruncated>{token}"
        return head.encode() + found + b"</ListBucketResult>"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keys", type=int, default=100_000)
    parser.add_argument("--subjects", type=int, default=20)
    parser.add_argument("--files-per-session", type=int, default=50)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--latency-ms", type=float, default=0.0)
    parser.add_argument("--faults", default="", help="such as cut=0.1,SlowDown=0.05,reset=0.05")
    parser.add_argument("--match", default="", help="text in the requests that have faults")
    parser.add_argument("--after", type=int, default=0, help="requests before the first fault")
    parser.add_argument("--more", type=Path, help="file of more keys, a list in JSON")
    given = parser.parse_args()
    keys = make_keys(given.keys, given.subjects, given.files_per_session)
    if given.more:
        keys = sorted([*keys, *json.loads(given.more.read_text(encoding="utf-8"))])
    faults = dict(fault.split("=") for fault in given.faults.split(",") if fault)
    server = ListServer(
        keys,
        given.latency_ms / 1000,
        {name: float(share) for name, share in faults.items()},
        given.match,
        given.after,
    )
    asyncio.run(server.serve(given.port))


if __name__ == "__main__":
    main()
