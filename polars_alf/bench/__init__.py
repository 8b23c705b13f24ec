"""Measurement of how a storage system serves ALF archives."""
