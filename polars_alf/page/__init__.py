"""A page about archives, for people to look at: made from tables, issues, history and last run."""
