"""The removal of what an archive has and its tables do not: first a plan, then its execution."""
