"""Buckets: the services that have them, what keys they list, and what objects hold."""
