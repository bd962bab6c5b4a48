"""Writes the lists of installed files in QNetSegment/CMakeLists.txt (`make cmake-list`)."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CMAKE_FILE = ROOT / "QNetSegment" / "CMakeLists.txt"


def project_files(root: Path = ROOT) -> list[str]:
    """Paths of all files that belong to the project, relative to its root: what git does not ignore,
    or, in an unpacked archive, everything but hidden and generated files."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    if (root / ".git").exists():
        listed = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout
        return sorted(path for path in listed.split("\0") if (root / path).is_file())
    paths = [path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()]
    generated = re.compile(r"(^|/)(\.|__pycache__/|[^/]*\.egg-info/|build/)")
    return sorted(path for path in paths if not generated.search(path))


def installed_files(root: Path = ROOT) -> dict[str, list[str]]:
    """What Slicer has to install, by the name of its list, relative to QNetSegment/."""
    folder = "QNetSegment/"
    inside = [path.removeprefix(folder) for path in project_files(root) if path.startswith(folder)]
    inside.remove("CMakeLists.txt")
    return {
        "MODULE_PYTHON_SCRIPTS": [path for path in inside if path.endswith(".py")],
        "MODULE_PYTHON_RESOURCES": [path for path in inside if not path.endswith(".py")],
    }


def listed_files(cmake: str, name: str) -> list[str]:
    """The entries of the list `name` in the text of a CMakeLists.txt."""
    found = re.search(rf"^set\({name}\b([^)]*)\)", cmake, re.MULTILINE)
    return found.group(1).split() if found else []


def with_lists(cmake: str, lists: dict[str, list[str]]) -> str:
    """The text of a CMakeLists.txt with new entries in its lists."""
    for name, paths in lists.items():
        entries = "".join(f"\n  {path}" for path in paths)
        cmake = re.sub(rf"^set\({name}\b[^)]*\)", f"set({name}{entries}\n  )", cmake, flags=re.MULTILINE)
    return cmake


if __name__ == "__main__":
    CMAKE_FILE.write_text(with_lists(CMAKE_FILE.read_text(), installed_files()))
