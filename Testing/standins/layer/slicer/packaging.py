"""Stand-in for slicer.packaging (Slicer 5.12): reads requirements for real, never installs.

A test says what happens by `installer`: a function that gets the list of requirements, and raises
subprocess.CalledProcessError as pip would when it fails. `installed` remembers what was asked for.
"""

import importlib.metadata

from packaging.requirements import Requirement

installed = []
installer = None


def load_requirements(path):
    with open(path, encoding="utf-8") as file:
        lines = [line.strip() for line in file]
    return [Requirement(line) for line in lines if line and not line.startswith(("#", "-"))]


def pip_check(req):
    return all(_satisfied(item) for item in _requirements(req))


def pip_ensure(requirements, prompt_install=True, requester=None, **_):
    """Installs what is missing; as in Slicer, a refused installation raises RuntimeError."""
    missing = [item for item in _requirements(requirements) if not _satisfied(item)]
    if not missing:
        return
    import slicer

    question = f"{requester or 'The module'} needs {', '.join(str(item) for item in missing)}"
    if prompt_install and not slicer.util.confirmOkCancelDisplay(question):
        raise RuntimeError("the installation was declined")
    pip_install([str(item) for item in missing])


def pip_install(requirements, **_):
    wanted = [requirements] if isinstance(requirements, str) else list(requirements)
    if installer is not None:
        installer(wanted)
    installed.extend(wanted)


def pip_uninstall(requirements, **_):
    for name in [requirements] if isinstance(requirements, str) else list(requirements):
        if name in installed:
            installed.remove(name)


def isPipInstallInProgress():
    return False


def _requirements(req):
    items = req if isinstance(req, list) else [req]
    return [Requirement(item) if isinstance(item, str) else item for item in items]


def _satisfied(requirement):
    if requirement.marker is not None and not requirement.marker.evaluate():
        return True
    try:
        version = importlib.metadata.version(requirement.name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return requirement.specifier.contains(version, prereleases=True)
