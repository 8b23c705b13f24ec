"""The extension in C, which is left out where it cannot be built; pyproject.toml has the rest.

`POLARS_ALF_NATIVE=0` in the environment leaves it out, `POLARS_ALF_NATIVE=1` fails without it.
"""

from __future__ import annotations

import os
import sys
import sysconfig
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext

WANTED = os.environ.get("POLARS_ALF_NATIVE")

# PyPy has no limited API, and neither have free-threaded Pythons before 3.15.
HAS_LIMITED_API = sys.implementation.name == "cpython" and not sysconfig.get_config_var(
    "Py_GIL_DISABLED"
)


class BuildExtension(build_ext):
    """Build the extension, and go on as if there were none where that fails."""

    def run(self) -> None:
        files = [Path(self.get_ext_fullpath(extension.name)) for extension in self.extensions]
        for file in files:
            # A file of older sources must not stand in for one that cannot be built.
            file.unlink(missing_ok=True)
        super().run()
        if not all(file.is_file() for file in files):
            self.distribution.ext_modules = None

    def build_extensions(self) -> None:
        # MSVC is given /O2 anyway, and has no more. The flags of a user come first.
        if self.compiler.compiler_type != "msvc" and "CFLAGS" not in os.environ:
            for extension in self.extensions:
                extension.extra_compile_args = ["-O3"]
        super().build_extensions()


class BuildWheel(bdist_wheel):
    """Build first and name the wheel after that: without the extension it suits all machines."""

    def run(self) -> None:
        if not self.skip_build:
            self.run_command("build")
            self.skip_build = True
        self.root_is_pure = not self.distribution.has_ext_modules()
        super().run()


extension = Extension(
    "polars_alf.native._native",
    ["polars_alf/native/_native.c"],
    depends=sorted(path.as_posix() for path in Path("polars_alf/native").glob("*.h")),
    define_macros=[("Py_LIMITED_API", "0x030B0000")],
    py_limited_api=True,
    optional=WANTED != "1",
)
is_built = HAS_LIMITED_API and WANTED != "0"
setup(
    ext_modules=[extension] if is_built else [],
    cmdclass={"build_ext": BuildExtension, "bdist_wheel": BuildWheel},
    # One wheel for Python 3.11 and all later ones.
    options={"bdist_wheel": {"py_limited_api": "cp311"}} if is_built else {},
)
