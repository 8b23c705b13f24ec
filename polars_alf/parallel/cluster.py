"""Connections to a Dask cluster: the addresses of its scheduler, and its first worker."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from polars_alf.alf.root import call_within
from polars_alf.errors import MissingExtraError, OptionError, ScanError

_logger = logging.getLogger(__name__)

_HOST_AND_PORT = re.compile(r"[^/\s]+:[0-9]+")

_ADDRESS = re.compile(
    r"(?:dask|(?P<protocol>tcp|tls))://(?P<host>\[[0-9A-Fa-f:.]+\]|[\w.-]+):(?P<port>[0-9]{1,5})"
)


@dataclass(slots=True)
class Cluster:
    """A cluster: the address of its scheduler, a `distributed.Client`, and all workers' threads.

    A run goes on for `workers_seconds` without any worker: one that was killed is started again
    meanwhile. `failure` is why the cluster was given up, '' while it is not.
    """

    address: str
    client: Any
    n_threads: int
    workers_seconds: float
    failure: str = ""


def parse_address(address: str) -> str:
    """Return the address of a scheduler as Dask spells it; OptionError for any other text.

    It is given as ``dask://HOST:PORT``, or with ``tcp`` or ``tls`` as a scheduler prints it.
    """
    match = _ADDRESS.fullmatch(address)
    if match is None or not 0 < int(match["port"]) < 1 << 16:
        example = address if _HOST_AND_PORT.fullmatch(address) else "HOST:PORT"
        raise OptionError(
            f"{address!r} is no address of a cluster; give that of its scheduler, as dask://{example}"
        )
    return f"{match['protocol'] or 'tcp'}://{match['host']}:{match['port']}"


@contextmanager
def connect(
    address: str, *, connect_seconds: float = 15, workers_seconds: float = 120
) -> Iterator[Cluster]:
    """Connect to the scheduler at an address, and wait for its first worker.

    Tasks that still run there when the context ends are cancelled.

    Raises
    ------
    MissingExtraError
        Dask is not installed.
    ScanError
        No scheduler answered within `connect_seconds`, or none of its workers for
        `workers_seconds`.
    """
    address = parse_address(address)
    distributed = import_distributed()
    with _silenced_logs():
        try:
            # Dask's own time-out does not hold where something else is at the address.
            client = call_within(
                connect_seconds + 5,
                lambda: distributed.Client(
                    address, timeout=connect_seconds, set_as_default=False, name="polars-alf"
                ),
            )
        except (OSError, ValueError, RuntimeError) as error:
            raise ScanError(
                f"no Dask scheduler answers at {address}: {str(error) or 'no answer'}; see "
                "that it runs there, and that this machine reaches it"
            ) from error
        with client:
            try:
                n_threads = _count_threads(client, address, workers_seconds)
            except distributed.comm.CommClosedError as error:
                raise ScanError(f"the scheduler {address} went away") from error
            yield Cluster(address, client, n_threads, workers_seconds)


def import_distributed() -> Any:
    """Return the module of Dask's clusters; MissingExtraError where it is not installed."""
    try:
        import distributed
    except ImportError as error:
        raise MissingExtraError(
            f'a cluster needs {error.name}: pip install "polars-alf[dask]"', name=error.name
        ) from error
    return distributed


@contextmanager
def _silenced_logs() -> Iterator[None]:
    """Keep Dask's client from logging what becomes an error of ours."""
    loggers = [logging.getLogger(name) for name in ("distributed", "distributed.client")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _count_threads(client: Any, address: str, seconds: float) -> int:
    if not client.nthreads():
        _logger.warning(
            "%s has no workers yet; waiting for one, %g seconds at most", address, seconds
        )
        try:
            client.wait_for_workers(1, timeout=seconds)
        except TimeoutError:
            raise ScanError(
                f"the scheduler {address} had no workers for {seconds:g} seconds; start some, "
                f"with `dask worker {address}`"
            ) from None
    return sum(client.nthreads().values())
