"""Stand-in for slicer.parameterNodeWrapper: typed parameters in a vtkMRMLScriptedModuleNode.

Covers int, float, bool, str, enum.Enum, pathlib.Path, nodes, `T | None` and other unions, lists,
annotations and the widgets named in connectors. Values lie in the node under the same keys as in
Slicer, so scenes are interchangeable. Parameter packs, dicts, tuples and GUI creation are left out:
they raise. Slicer's own layer can be put in its place, see slicer_session.
"""

from .annotations import (
    Choice,
    Decimals,
    Default,
    Exclude,
    IsInstance,
    Maximum,
    Minimum,
    NotNone,
    SingleStep,
    Validator,
    WithinRange,
)
from .connectors import createGuiConnector
from .wrapper import (
    SlicerParameterNamePropertyName,
    findChildWidgetForParameter,
    isParameterNodeWrapper,
    parameterNodeWrapper,
)

__all__ = [
    "Choice",
    "Decimals",
    "Default",
    "Exclude",
    "IsInstance",
    "Maximum",
    "Minimum",
    "NotNone",
    "SingleStep",
    "SlicerParameterNamePropertyName",
    "Validator",
    "WithinRange",
    "createGuiConnector",
    "findChildWidgetForParameter",
    "isParameterNodeWrapper",
    "parameterNodeWrapper",
]
