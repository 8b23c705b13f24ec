"""Releases: tables of a part of an archive, manifests to cite, and bundles that ONE loads."""
