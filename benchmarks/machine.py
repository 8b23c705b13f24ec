"""What a benchmark ran on, so that its figures can be understood elsewhere."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path

import joblib
import psutil
from measure import REPOSITORY

PACKAGES = ("polars", "pyarrow", "joblib", "loky", "xxhash", "pandas", "ONE-api")


def describe_machine() -> str:
    """Return a line about the machine and its Python."""
    memory = psutil.virtual_memory().total / 2**30
    return (
        f"{platform.system()} {platform.release()}, {joblib.cpu_count()} cores, "
        f"{memory:.0f} GiB, Python {platform.python_version()}"
    )


def record_machine(folders: Mapping[str, Path]) -> dict[str, str]:
    """Return what there is to say of a machine, by what it is about.

    Parameters
    ----------
    folders
        Those whose file systems matter, by what lies in them. Their paths are not recorded.
    """
    loads = " ".join(f"{load:.2f}" for load in os.getloadavg())
    record = {
        "date": f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M} UTC",
        "CPU": f"{_cpu_model()}, {joblib.cpu_count()} cores",
        "machine": "virtual" if is_virtual() else "real, as far as can be told",
        "memory": f"{psutil.virtual_memory().total / 2**30:.1f} GiB",
        "kernel": f"{platform.system()} {platform.release()}",
    }
    record |= {f"file system of {what}": _file_system(path) for what, path in folders.items()}
    record |= {
        "load average before": loads,
        "Python": platform.python_version(),
        "packages": ", ".join(
            f"{name} {version}" for name in PACKAGES if (version := find_version(name))
        ),
        "polars_alf": find_commit(),
    }
    return record


def name_host() -> str:
    """Return what kind of a machine this is, as the name of a folder: `vm-2-cores`."""
    return f"{'vm' if is_virtual() else 'host'}-{joblib.cpu_count()}-cores"


def is_virtual() -> bool:
    """Tell whether the processor says that a hypervisor runs it."""
    return " hypervisor " in _cpu_field("flags") + " "


def find_version(package: str) -> str | None:
    """Return the version of an installed package, None where there is none."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def find_commit() -> str:
    """Return the version and the commit of this checkout, and whether the code is as committed."""
    version = find_version("polars-alf") or "not installed"
    git = ["git", "-C", str(REPOSITORY)]
    commit = subprocess.run([*git, "rev-parse", "--short=12", "HEAD"], capture_output=True)
    if commit.returncode:
        return version
    changes = subprocess.run([*git, "status", "--porcelain", "polars_alf"], capture_output=True)
    changed = ", with changes that are not committed" if changes.stdout else ""
    return f"{version}, commit {commit.stdout.decode().strip()}{changed}"


def _cpu_model() -> str:
    return _cpu_field("model name") or platform.processor() or platform.machine()


def _cpu_field(name: str) -> str:
    cpuinfo = Path("/proc/cpuinfo")
    for line in cpuinfo.read_text().splitlines() if cpuinfo.exists() else ():
        field, _, value = line.partition(":")
        if field.strip() == name:
            return value.strip()
    return ""


def _file_system(path: Path) -> str:
    """Return the type and the options of the file system of a path."""
    above = [
        partition
        for partition in psutil.disk_partitions(all=True)
        if path.resolve().is_relative_to(partition.mountpoint)
    ]
    if not above:
        return "unknown"
    # Of those mounted at the same place, the last is the one to be seen.
    mount = max(reversed(above), key=lambda partition: len(partition.mountpoint))
    return f"{mount.fstype} ({mount.opts})"
