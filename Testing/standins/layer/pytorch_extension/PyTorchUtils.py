"""Stand-in for the PyTorch extension: installs nothing, does what a test says.

`session().pytorch_extension(False)` takes the extension away. `error` is raised by the installation;
`version` is what is installed afterwards; `calls` lists the arguments of each installation.
"""

import importlib.metadata
import types

import slicer

installed_version = None
version = "2.8.0"
error = None
calls = []


def reset():
    """Nothing asked for; installed is what this Python has."""
    global installed_version, version, error
    version, error = "2.8.0", None
    calls.clear()
    try:
        installed_version = importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        installed_version = None


class PyTorchUtilsLogic:
    @staticmethod
    def torchInstalled():
        return installed_version is not None

    @property
    def torch(self):
        if installed_version is None:
            return self.installTorch()
        return types.SimpleNamespace(__version__=installed_version)

    def installTorch(
        self,
        askConfirmation=False,
        forceComputationBackend=None,
        torchVersionRequirement=None,
        torchvisionVersionRequirement=None,
    ):
        """Returns a stand-in of the torch module, or None when the user refuses, as the real one does."""
        global installed_version
        calls.append(
            {
                "askConfirmation": askConfirmation,
                "forceComputationBackend": forceComputationBackend,
                "torchVersionRequirement": torchVersionRequirement,
                "torchvisionVersionRequirement": torchvisionVersionRequirement,
            }
        )
        question = "PyTorch will be downloaded and installed."
        if askConfirmation and not slicer.util.confirmOkCancelDisplay(question):
            return None
        if error is not None:
            raise error
        installed_version = version
        return types.SimpleNamespace(__version__=version)

    def uninstallTorch(self, askConfirmation=False, forceComputationBackend=None):
        global installed_version
        installed_version = None


reset()
