"""The table of insertions: the probes of sessions, as ONE finds them in its local mode."""
