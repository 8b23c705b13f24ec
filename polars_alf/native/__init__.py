"""The functions that must be fast: in C where that was built, else their twins in Python."""
