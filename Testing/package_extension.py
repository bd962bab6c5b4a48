"""Builds the tree that the extension installs, against a stand-in of Slicer (`make package`)."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import cmake

from cmake_list import ROOT

STANDIN = ROOT / "Testing" / "standins" / "cmake"
MODULE_FOLDER = Path("lib", "Slicer-5.12", "qt-scripted-modules")  # below the installed tree


def run(tool: str, *arguments: str | Path) -> str:
    """Standard output of cmake or ctest; what it wrote goes on to standard error when it fails."""
    command = [Path(cmake.CMAKE_BIN_DIR) / tool, *arguments]
    process = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace")
    if process.returncode:
        sys.stderr.write(process.stdout + process.stderr)
    process.check_returncode()
    return process.stdout


def configure(build: Path, source: Path = ROOT) -> None:
    """Configures the extension into the clean folder `build`. Raises CalledProcessError."""
    cache = ["-C", STANDIN / "NoCompilers.cmake", f"-DSlicer_DIR={STANDIN}"]
    run("cmake", "-G", "Unix Makefiles", *cache, "-S", source, "-B", build)


def install(build: Path, prefix: Path) -> Path:
    """Installs what is configured in `build` below `prefix` and returns the module's folder there."""
    run("cmake", "--install", build, "--prefix", prefix)
    return prefix / MODULE_FOLDER


def main() -> None:
    """Installs the checkout into build/package, afresh."""
    build, prefix = ROOT / "build" / "cmake", ROOT / "build" / "package"
    for folder in (build, prefix):
        shutil.rmtree(folder, ignore_errors=True)
    configure(build)
    folder = install(build, prefix)
    files = sum(path.is_file() for path in prefix.rglob("*"))
    print(f"{files} files in {prefix.relative_to(ROOT)}; for Slicer's additional module paths: {folder}")


if __name__ == "__main__":
    main()
