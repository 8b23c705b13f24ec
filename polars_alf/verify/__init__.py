"""The comparison of an archive with its tables."""
