"""Where entries come from: each module reads one kind of storage."""
