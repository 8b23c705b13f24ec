"""The index of one archive: two tables, a report, and a snapshot for the next index."""
