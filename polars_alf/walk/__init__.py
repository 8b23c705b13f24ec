"""The directories of an archive as Arrow record batches, listed in parallel."""
