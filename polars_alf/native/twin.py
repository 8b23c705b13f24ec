"""The twins in Python of the functions in C: what these are to return, and what stands in for them."""

from __future__ import annotations
