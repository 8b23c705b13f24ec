"""The same function over many tasks, in this process, in others or on a cluster."""
