"""The service that has a bucket: how it is reached, and what its refusals mean."""

from __future__ import annotations

import importlib
import os
import re
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import xxhash

from polars_alf.alf.address import Address, hide_secrets
from polars_alf.errors import (
    ArchiveNotFoundError,
    ArchivePermissionError,
    MissingExtraError,
    OptionError,
    PolarsAlfError,
    ScanError,
)

if TYPE_CHECKING:
    from obstore.store import ObjectStore

_REQUEST_SECONDS = 30.0
"""Time for one request; the next try has as much again."""

_RETRY_SECONDS = 180.0
"""Time in which a request that is refused for the moment is tried again."""

_ENDPOINTS = {
    "s3": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"),
    "gs": ("GOOGLE_BASE_URL",),
    # Containers of a name may be in any account.
    "az": ("AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT", "AZURE_STORAGE_ACCOUNT_NAME"),
}
"""Variables of the environment that tell which service it is, the first that is set."""

_CREDENTIALS = {
    "s3": "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
    "gs": "set GOOGLE_APPLICATION_CREDENTIALS",
    "az": "set AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY",
}


@dataclass(frozen=True, slots=True)
class Service:
    """How a bucket is reached. Has no secrets: those stay in the environment and in profiles.

    Parameters
    ----------
    address
        The archive.
    endpoint_url
        Address of the service, None for that of the environment or the provider.
    region
        Region of the bucket, None for that of the environment or a profile.
    anonymous
        Whether requests are not signed.
    op_timeout
        Seconds to try a request for; None tries as long as is usual.
    kept
        What an error says of the tables.
    """

    address: Address
    endpoint_url: str | None = None
    region: str | None = None
    anonymous: bool = False
    op_timeout: float | None = None
    kept: str = "; tables that were there are as they were"

    def locate(self, path: str) -> str:
        """Return the path in the bucket of one that is relative to the archive."""
        return "/".join(filter(None, (self.address.folder, path)))

    @property
    def endpoint(self) -> str:
        """The address of the service, or what names it in the environment; "" for the provider."""
        known = (os.environ.get(name) for name in _ENDPOINTS[self.address.scheme])
        return (self.endpoint_url or next(filter(None, known), "")).rstrip("/")

    @property
    def number(self) -> int:
        """A number that tells apart the services on which a bucket of this name may be."""
        # Of 63 bits, as JSON and tables hold any.
        return xxhash.xxh3_64_intdigest(self.endpoint.encode()) >> 1

    def explain(self, error: BaseException, doing: str = "be listed") -> PolarsAlfError:
        """Return the error to raise in the place of one of the store."""
        kind, reason = classify_failure(error)
        here = f"{self.address} cannot {doing}: {reason}"
        if kind is Failure.NOT_FOUND:
            return ArchiveNotFoundError(
                f"{here}; check the name of the bucket, and --endpoint-url (endpoint_url=…)"
            )
        if kind is Failure.DENIED:
            return ArchivePermissionError(
                f"{here}{self.kept}; {_CREDENTIALS[self.address.scheme]}, give --region (region=…) "
                "where the bucket is elsewhere, or --anonymous (anonymous=True) where it is public"
            )
        return ScanError(f"{here}{self.kept}; run again when the service answers")


class Failure(Enum):
    """Consequence of a failed request for the others."""

    NOT_FOUND = "there is no such bucket"
    DENIED = "no request will be answered"
    BUSY = "the service answers no request now"
    BROKEN = "the answer was cut short"


def classify_failure(error: BaseException) -> tuple[Failure, str]:
    """Return what an error of the store means, and the reason in words.

    Its own text is left out but for a status and a code: others have addresses with signatures in
    them, and keys.
    """
    text, code = str(error), ""
    status: int | None = None
    if found := re.search(r"status: (\d{3})\b|status code: (\d{3})\b", text):
        status = int(found[1] or found[2])
    if found := re.search(r"<Code>(\w{1,64})</Code>", text):
        code = found[1]
    answer = getattr(error, "response", None)  # of an error of boto3
    if isinstance(answer, dict):
        status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode")
        code = answer.get("Error", {}).get("Code", "")
    reason = f"{status or 'error'} {code}".rstrip()
    name = type(error).__name__
    if "token request" in text:  # of who gives out credentials, be it that no such service answers
        return Failure.DENIED, "there are no credentials for it"
    if isinstance(error, FileNotFoundError) or status == 404:
        return Failure.NOT_FOUND, f"not found ({reason})" if status else "not found"
    if status is not None and status < 500 and status not in (408, 409, 429):
        return Failure.DENIED, f"the service refuses ({reason})"
    if name in ("PermissionDeniedError", "UnauthenticatedError"):
        return Failure.DENIED, "the service refuses"
    if status is not None:
        return Failure.BUSY, f"the service does not answer requests ({reason})"
    if "kind: Connect" in text:
        return Failure.BUSY, "no connection to the service"
    if "kind: Timeout" in text:
        return Failure.BUSY, "the service does not answer in time"
    if "redential" in text:
        return Failure.DENIED, "there are no credentials for it"
    return Failure.BROKEN, "an answer was cut short, or is none of such a service"


def check_endpoint(url: str | None) -> str | None:
    """Return the address of a service; OptionError where it is none, or has secrets in it."""
    if not url:
        return None
    try:
        parts = urlsplit(url)
        is_plain = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        is_plain = False
    if not is_plain or "@" in url or parts.query or parts.fragment:
        raise OptionError(
            f"the endpoint {hide_secrets(url)!r} is not the address of a service alone; give one "
            "such as https://s3.example.org, and keys in the environment or a profile"
        )
    return url.rstrip("/")


@lru_cache(maxsize=8)
def open_store(service: Service) -> ObjectStore:
    """Return the store of a bucket; the same one again, as it keeps connections.

    Raises
    ------
    MissingExtraError
        A package of the extra ``cloud`` is not installed.
    ArchivePermissionError
        There are no credentials.
    OptionError
        The configuration of the service makes no sense.
    """
    store = _import("obstore.store")
    _import("arro3.core")
    address, scheme = service.address, service.address.scheme
    seconds = service.op_timeout
    options: dict[str, Any] = {
        "client_options": {
            "allow_http": True,  # where the address of the service says so
            "timeout": timedelta(seconds=seconds or _REQUEST_SECONDS),
        },
        "retry_config": {"retry_timeout": timedelta(seconds=seconds or _RETRY_SECONDS)},
    }
    if service.anonymous:
        options["skip_signature"] = True
    if service.endpoint_url:
        options["base_url" if scheme == "gs" else "endpoint"] = service.endpoint_url
    kinds = {"s3": store.S3Store, "gs": store.GCSStore, "az": store.AzureStore}
    if scheme == "s3":
        options |= _choose_s3_options(service)
    try:
        return kinds[scheme](address.bucket, **options)  # type: ignore[no-any-return]
    except Exception as error:
        raise OptionError(
            f"{address} cannot be opened ({type(error).__name__}); check --endpoint-url, and the "
            f"variables of the environment; {_CREDENTIALS[scheme]}, or give --anonymous"
        ) from None


def forget_stores() -> None:
    """Have stores opened anew: those that are there keep their credentials."""
    open_store.cache_clear()
    open_client.cache_clear()


def _choose_s3_options(service: Service) -> dict[str, Any]:
    options: dict[str, Any] = {}
    if service.region:
        options["region"] = service.region
    known = ("AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE")
    if service.anonymous or any(os.environ.get(name) for name in known):
        return options
    # The store does not read profiles.
    session = open_session(service)
    if session.get_credentials() is None:
        raise ArchivePermissionError(
            f"there are no credentials for {service.address}; {_CREDENTIALS['s3']}, or give "
            "--anonymous (anonymous=True) where it is public"
        )
    options["credential_provider"] = _import("obstore.auth.boto3").Boto3CredentialProvider(session)
    return options


def open_session(service: Service) -> Any:
    """Return a session of boto3, which reads profiles."""
    try:
        return _import("boto3").Session(region_name=service.region)
    except MissingExtraError:
        raise
    except Exception as error:  # a profile that is not there
        raise ArchivePermissionError(
            f"there are no credentials for {service.address}: {type(error).__name__}; check "
            "AWS_PROFILE and the file of profiles"
        ) from None


@lru_cache(maxsize=8)
def open_client(service: Service) -> Any:
    """Return a client of boto3 for a bucket of S3."""
    config = _import("botocore.config").Config
    unsigned = {"signature_version": _import("botocore").UNSIGNED} if service.anonymous else {}
    return open_session(service).client(
        "s3",
        endpoint_url=service.endpoint_url,
        region_name=service.region or os.environ.get("AWS_REGION") or None,
        config=config(
            read_timeout=service.op_timeout or _REQUEST_SECONDS,
            connect_timeout=service.op_timeout or _REQUEST_SECONDS,
            retries={"mode": "standard", "total_max_attempts": 5},
            s3={"addressing_style": "path"} if service.endpoint_url else {},
            **unsigned,
        ),
    )


def _import(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        package = (error.name or name).partition(".")[0]
        raise MissingExtraError(
            f'an archive in a bucket needs {package}: pip install "polars-alf[cloud]"',
            name=error.name,
        ) from error
