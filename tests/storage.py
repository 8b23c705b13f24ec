"""File systems to measure, mounted for a test, and a loop in C that does the same."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from polars_alf import StorageReport, bench_storage

CALLS = r"""
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* Seconds without those that this process waited for a processor: others may be at work. */
static double now(void)
{
    struct timespec time;
    long run = 0, delay = 0;
    FILE *file = fopen("/proc/self/schedstat", "r");
    if (file) {
        if (fscanf(file, "%ld %ld", &run, &delay) != 2) delay = 0;
        fclose(file);
    }
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + (time.tv_nsec - delay) * 1e-9;
}

/* calls stat PATHS ROUNDS, or calls create FOLDER N: print calls per second. */
int main(int count, char **arguments)
{
    long n = 0, rounds = atol(arguments[3]);
    double begin = 0;
    if (!strcmp(arguments[1], "stat")) {
        char **paths = malloc(sizeof *paths * 1000000), *line = NULL;
        size_t room = 0;
        ssize_t length;
        long n_paths = 0;
        FILE *file = fopen(arguments[2], "r");
        while ((length = getline(&line, &room, file)) > 0) {
            line[length - 1] = 0;
            paths[n_paths++] = strdup(line);
        }
        struct stat status;
        begin = now();
        for (; n < rounds * n_paths; n++)
            if (stat(paths[n % n_paths], &status)) return 1;
    } else {
        char path[4096];
        begin = now();
        for (; n < rounds; n++) {
            snprintf(path, sizeof path, "%s/f%07ld.npy", arguments[2], n);
            int descriptor = open(path, O_CREAT | O_EXCL | O_WRONLY, 0666);
            if (descriptor < 0) return 1;
            close(descriptor);
        }
    }
    printf("%f\n", n / (now() - begin));
    return 0;
}
"""


def build_calls(folder: Path) -> Path:
    """Compile the loop in C; skip the test where there is no compiler."""
    if not shutil.which("cc"):
        pytest.skip("there is no C compiler: install one, such as gcc, as cc")
    source, program = folder / "calls.c", folder / "calls"
    source.write_text(CALLS)
    subprocess.run(["cc", "-O2", "-o", program, source], check=True)
    return program


def need_root() -> None:
    """Skip the test where nothing can be mounted."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("only root may mount file systems, on Linux")


@contextlib.contextmanager
def mount(point: Path, *arguments: str | Path) -> Iterator[Path]:
    """Mount something for a while; skip the test where this machine does not let us."""
    need_root()
    point.mkdir()
    result = subprocess.run(["mount", *arguments, point], capture_output=True, text=True)
    if result.returncode:
        pytest.skip(f"nothing can be mounted here: {result.stderr.strip()}")
    try:
        yield point
    finally:
        subprocess.run(["umount", "--lazy", point], check=True)


@contextlib.contextmanager
def mount_tmpfs(point: Path, size: str = "400M") -> Iterator[Path]:
    """Mount an empty file system in memory."""
    with mount(point, "-t", "tmpfs", "-o", f"size={size}", "tmpfs") as folder:
        yield folder


@contextlib.contextmanager
def mount_ext4(point: Path, image: Path) -> Iterator[Path]:
    """Mount an empty ext4 in a file."""
    if not shutil.which("mkfs.ext4"):
        pytest.skip("there is no mkfs.ext4: install e2fsprogs")
    with image.open("wb") as file:
        file.truncate(200_000_000)
    subprocess.run(["mkfs.ext4", "-q", "-F", image], check=True)
    with mount(point, "-o", "loop,noatime", image) as folder:
        shutil.rmtree(folder / "lost+found")
        yield folder


def measure_quickly(path: Path, **options: object) -> StorageReport:
    """Measure in a moment."""
    quick: dict[str, object] = {"files": 80, "threads": [1], "duration": 0.02, "repeats": 1}
    return bench_storage(path, **(quick | options))  # type: ignore[arg-type]
