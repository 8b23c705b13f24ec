"""Tables that lie in a bucket or on a web server, read there by Polars: no file is copied."""

from __future__ import annotations

import glob
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import polars as pl
import pyarrow as pa

from polars_alf.errors import OptionError, TableError, TableNotFoundError
from polars_alf.schema import TABLES
from polars_alf.tables.contract import TableHeader, check_generations, parse_header
from polars_alf.tables.upgrade import upgrade_columns

StorageOptions = Mapping[str, Any]

_ADDRESS = re.compile(r"(?:s3a?|gs|az|azure|abfss?|adl|https?)://[^/]+")


def is_remote(text: str) -> bool:
    """Whether tables lie at the address of a bucket or of a web server, not in a folder."""
    return _ADDRESS.match(text) is not None


def check_address(text: str) -> str:
    """Return an address without the slash at its end; OptionError for one that has a pattern."""
    # A bracket may be part of an IPv6 address.
    if glob.has_magic(_ADDRESS.sub("", text)):
        raise OptionError(f"{text!r} is a pattern, and buckets have none; give each address")
    return text.rstrip("/")


def check_options(options: StorageOptions | None) -> None:
    """Raise OptionError, without the values, which may be secrets, where options are none."""
    if options is not None and not isinstance(options, Mapping):
        raise OptionError(
            f"storage_options is of type {type(options).__name__}; give a dict, such as "
            "{'aws_region': 'us-east-1'}, or leave it out"
        )


def scan_remote(address: str, name: str, options: StorageOptions | None) -> pl.LazyFrame:
    """Scan a table of an address in the columns of its schema.

    Only the footers are read until it is collected. Raises TableError where one cannot be read, and
    TornPairError where the two tables are of different runs.
    """
    headers = {name: _read_header(address, name, options)}
    for other in TABLES:
        if other != name:
            try:
                headers[other] = _read_header(address, other, options)
            except TableNotFoundError:
                continue
    check_generations(headers.values())
    location = _locate(address, name)
    try:
        frame = pl.scan_parquet(location, storage_options=_copy(options))
        return frame.select(**upgrade_columns(name, frame.collect_schema(), headers[name].index))
    except TableError as error:
        raise type(error)(f"{location} is no table of {name}: {error}") from error
    except (OSError, pl.exceptions.PolarsError) as error:
        raise _explain(location, error) from error


def _read_header(address: str, name: str, options: StorageOptions | None) -> TableHeader:
    location = _locate(address, name)
    try:
        found = pl.read_parquet_metadata(location, storage_options=_copy(options))
    except (OSError, pl.exceptions.PolarsError) as error:
        raise _explain(location, error) from error
    except ValueError as error:
        raise OptionError(f"{location} cannot be read: storage_options: {error}") from error
    noted = {key: text for key, text in found.items() if key != "ARROW:schema"}
    # A Path would take one of the two slashes for too many.
    return parse_header(cast("Path", location), pa.schema([], metadata=noted))


def _locate(address: str, name: str) -> str:
    return f"{address}/{name}.pqt"


def _copy(options: StorageOptions | None) -> dict[str, Any] | None:
    return None if options is None else dict(options)


def _explain(location: str, error: Exception) -> TableError:
    reason = str(error).partition("\n")[0]
    if isinstance(error, FileNotFoundError):
        return TableNotFoundError(
            f"there is no table {location}; give the address of the folder of the tables ({reason})"
        )
    return TableError(
        f"{location} cannot be read: {reason}; give storage_options, or set the variables of the "
        "environment that Polars takes for that storage, such as AWS_ENDPOINT_URL, AWS_REGION and, "
        "without an account, AWS_SKIP_SIGNATURE=true"
    )
