"""A server that lists keys as S3 does: from memory, and with faults where they are asked for.

Its keys are made up: as many as wanted, in the layout of an archive.
"""

from __future__ import annotations

import argparse
import asyncio
import random
from bisect import bisect_left, bisect_right
from urllib.parse import parse_qs, quote, unquote, urlsplit
from xml.sax.saxutils import escape, unescape

KEYS_PER_PAGE = 1000

_HEAD = '<?xml version="1.0" encoding="UTF-8"?><ListBucketResult><Name>bucket</Name>'


def make_keys(n_keys: int, n_subjects: int, files_per_session: int = 50) -> list[str]:
    """Return keys of datasets: sessions of equal size, spread over subjects."""
    n_sessions = -(-n_keys // files_per_session)
    keys = []
    for number in range(n_sessions):
        subject, day = number % n_subjects, number // n_subjects
        date = f"{2000 + day // 336}-{day // 28 % 12 + 1:02}-{day % 28 + 1:02}"
        session = f"lab/Subjects/S{subject:04}/{date}/001"
        keys += (
            f"{session}/alf/probe{file % 2:02}/_ns_object{file:03}.attribute.npy"
            for file in range(files_per_session)
        )
    return sorted(keys[:n_keys])


class ListServer:
    """Answer lists of objects, each after some milliseconds.

    Parameters
    ----------
    keys
        In the order of their bytes.
    latency
        Seconds before each answer.
    faults
        Shares of the answers that are ``error`` (503), ``cut`` (half of the body) or ``reset``.
    """

    def __init__(
        self, keys: list[str], latency: float = 0.0, faults: dict[str, float] | None = None
    ) -> None:
        self.latency = latency
        self.faults = faults or {}
        self.n_requests = 0
        self._keys = [key.encode() for key in keys]
        self._random = random.Random(1)
        self._texts = [
            (
                f"<Contents><Key>{escape(key)}</Key><LastModified>2024-05-06T07:08:09.000Z"
                f"</LastModified><ETag>&quot;{number:032x}&quot;</ETag><Size>{number % 5000 + 1}"
                "</Size><StorageClass>STANDARD</StorageClass></Contents>"
            ).encode()
            for number, key in enumerate(keys)
        ]

    async def serve(self, port: int) -> None:
        """Serve on a port of this machine, for ever."""
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
        self.n_requests += 1
        if self.latency:
            await asyncio.sleep(self.latency)
        fault = self._choose_fault()
        if fault == "reset":
            raise ConnectionError
        body = self._list(target)
        status = b"503 Slow Down" if fault == "error" else b"200 OK"
        length = str(len(body)).encode()
        if fault == "cut":
            body = body[: len(body) // 2]
        writer.write(
            b"HTTP/1.1 " + status + b"\r\nContent-Type: application/xml\r\nContent-Length: "
        )
        writer.write(length + b"\r\n\r\n" + body)
        await writer.drain()
        if fault == "cut":
            raise ConnectionError

    def _choose_fault(self) -> str | None:
        value = self._random.random()
        for name, share in self.faults.items():
            if value < share:
                return name
            value -= share
        return None

    def _list(self, target: str) -> bytes:
        query = {name: values[0] for name, values in parse_qs(urlsplit(target).query).items()}
        prefix = query.get("prefix", "").encode()
        after = query.get("continuation-token") or query.get("start-after") or query.get("marker")
        first = bisect_left(self._keys, prefix)
        if after:
            first = max(first, bisect_right(self._keys, unquote(after).encode()))
        last = bisect_left(self._keys, prefix + b"\xff")
        if "delimiter" in query:
            return self._list_level(prefix, first, last)
        end = min(first + KEYS_PER_PAGE, last)
        return self._wrap(b"".join(self._texts[first:end]), end - first, end, last)

    def _list_level(self, prefix: bytes, first: int, last: int) -> bytes:
        found, n = [], 0
        while first < last and n < KEYS_PER_PAGE:
            key = self._keys[first]
            name, slash, _ = key[len(prefix) :].partition(b"/")
            if slash:
                folder = prefix + name + slash
                text = escape(folder.decode()).encode()
                found.append(b"<CommonPrefixes><Prefix>%b</Prefix></CommonPrefixes>" % text)
                first = bisect_left(self._keys, prefix + name + b"0")  # what comes after /
            else:
                found.append(self._texts[first])
                first += 1
            n += 1
        return self._wrap(b"".join(found), n, first, last)

    def _wrap(self, found: bytes, n: int, end: int, last: int) -> bytes:
        more = "false"
        token = ""
        if end < last:
            more = "true"
            mark = quote(self._keys[end - 1].decode())
            token = f"<NextContinuationToken>{mark}</NextContinuationToken>"
            token += f"<NextMarker>{unescape(self._keys[end - 1].decode())}</NextMarker>"
        head = f"{_HEAD}<KeyCount>{n}</KeyCount><MaxKeys>{KEYS_PER_PAGE}</MaxKeys>"
        head += f"<IsTruncated>{more}</IsTruncated>{token}"
        return head.encode() + found + b"</ListBucketResult>"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keys", type=int, default=100_000)
    parser.add_argument("--subjects", type=int, default=20)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--latency-ms", type=float, default=0.0)
    parser.add_argument("--faults", default="", help="such as cut=0.1,error=0.05,reset=0.05")
    arguments = parser.parse_args()
    faults = dict(fault.split("=") for fault in arguments.faults.split(",") if fault)
    server = ListServer(
        make_keys(arguments.keys, arguments.subjects),
        arguments.latency_ms / 1000,
        {name: float(share) for name, share in faults.items()},
    )
    asyncio.run(server.serve(arguments.port))


if __name__ == "__main__":
    main()
