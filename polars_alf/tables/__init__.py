"""The two tables as files: their contract with ONE, and how they are read and replaced."""
