"""Compare an archive with its tables."""

from polars_alf.verifying.flow import Verification, verify_archive

__all__ = ["Verification", "verify_archive"]
