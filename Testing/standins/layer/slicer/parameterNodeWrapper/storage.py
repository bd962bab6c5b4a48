"""How values lie in a vtkMRMLScriptedModuleNode: as texts and node references, under Slicer's keys."""

import collections.abc
import enum
import pathlib
import typing

import slicer

from .annotations import IsInstance, NotNone, Validator, split

_TEXT_TYPES = (int, float, str, bool)


def storage_of(hint):
    """(storage, annotations that are no validators) for a type hint; TypeError for what is not covered."""
    kind, annotations = split(hint)
    storage = _plain_storage(kind)
    validators = [a() if isinstance(a, type) else a for a in annotations if _is_validator(a)]
    storage.validators = storage.validators + validators
    return storage, [a for a in annotations if not _is_validator(a)]


def _is_validator(annotation):
    cls = annotation if isinstance(annotation, type) else type(annotation)
    return issubclass(cls, Validator)


def _plain_storage(kind):
    if typing.get_origin(kind) is typing.Union:
        return UnionStorage([storage_of(part)[0] for part in typing.get_args(kind)])
    if typing.get_origin(kind) is list:
        element = storage_of(typing.get_args(kind)[0])[0]
        if isinstance(element, ListStorage):
            raise TypeError("the stand-in of parameterNodeWrapper has no lists of lists")
        return ListStorage(element)
    if kind is type(None):
        return NoneStorage()
    if isinstance(kind, type) and issubclass(kind, slicer.vtkMRMLNode):
        return NodeStorage(kind)
    if kind in _TEXT_TYPES or (isinstance(kind, type) and issubclass(kind, (enum.Enum, pathlib.PurePath))):
        return TextStorage(kind)
    raise TypeError(f"the stand-in of parameterNodeWrapper has no storage for {kind}")


class Storage:
    """Base: one key, checked values."""

    validators: typing.ClassVar[list] = []

    def default(self):
        return None

    def accepts(self, value):
        """Whether the value has the right type, for the choice within a union."""
        return True

    def validate(self, value):
        for validator in self.validators:
            validator.validate(value)

    def has(self, node, name):
        return node.HasParameter(name)

    def remove(self, node, name):
        node.UnsetParameter(name)

    def write(self, node, name, value):
        self.validate(value)
        self._write(node, name, value)


class TextStorage(Storage):
    def __init__(self, kind):
        self.kind = kind
        self.types = (int, float) if kind is float else kind
        self.validators = [NotNone(), IsInstance(self.types)]

    def accepts(self, value):
        """In a union True is no int."""
        return isinstance(value, self.types) and (self.kind is bool or not isinstance(value, bool))

    def default(self):
        return next(iter(self.kind)) if issubclass(self.kind, enum.Enum) else self.kind()

    def _write(self, node, name, value):
        text = value.name if isinstance(value, enum.Enum) else str(value)
        node.SetParameter(name, text)

    def read(self, node, name):
        text = node.GetParameter(name)
        if self.kind is bool:
            return text == "True"
        if issubclass(self.kind, enum.Enum):
            if text not in self.kind.__members__:
                raise ValueError(f"{text!r} in the parameter node is no {self.kind.__name__}")
            return self.kind[text]
        return self.kind(text)


class NoneStorage(Storage):
    def accepts(self, value):
        return value is None

    def _write(self, node, name, value):
        node.SetParameter(name, "True")

    def read(self, node, name):
        return None


class NodeStorage(Storage):
    """A node reference whose role is the parameter's name, and an empty text that says it was set."""

    def __init__(self, kind):
        self.kind = kind
        self.validators = [IsInstance(kind)]

    def accepts(self, value):
        return isinstance(value, self.kind)

    def _write(self, node, name, value):
        node.SetParameter(name, "")
        node.SetNodeReferenceID(name, value.GetID() if value is not None else None)

    def read(self, node, name):
        return node.GetNodeReference(name)

    def remove(self, node, name):
        node.UnsetParameter(name)
        node.RemoveNodeReferenceIDs(name)


class UnionStorage(Storage):
    """The value lies under "name.index" of the member type that it has."""

    def __init__(self, members):
        self.members = members

    def default(self):
        optional = len(self.members) == 2 and isinstance(self.members[1], NoneStorage)
        return None if optional else self.members[0].default()

    def accepts(self, value):
        return any(member.accepts(value) for member in self.members)

    def has(self, node, name):
        return self._index(node, name) is not None

    def _index(self, node, name):
        present = (i for i, member in enumerate(self.members) if member.has(node, f"{name}.{i}"))
        return next(present, None)

    def _write(self, node, name, value):
        index = next((i for i, member in enumerate(self.members) if member.accepts(value)), None)
        if index is None:
            raise TypeError(f"{value!r} has none of the types of this parameter")
        self.members[index].validate(value)
        self.remove(node, name)
        self.members[index].write(node, f"{name}.{index}", value)

    def read(self, node, name):
        index = self._index(node, name)
        return self.members[index].read(node, f"{name}.{index}")

    def remove(self, node, name):
        for index, member in enumerate(self.members):
            member.remove(node, f"{name}.{index}")


class ListStorage(Storage):
    """Elements under "name.index", their number under "name.len"."""

    def __init__(self, element):
        self.element = element

    def default(self):
        return []

    def accepts(self, value):
        return isinstance(value, (list, ParameterList))

    def has(self, node, name):
        return node.HasParameter(f"{name}.len")

    def _length(self, node, name):
        return int(node.GetParameter(f"{name}.len") or 0)

    def _write(self, node, name, value):
        values = list(value)
        for item in values:
            self.element.validate(item)
        self.remove(node, name)
        for index, item in enumerate(values):
            self.element.write(node, f"{name}.{index}", item)
        node.SetParameter(f"{name}.len", str(len(values)))

    def read(self, node, name):
        items = [self.element.read(node, f"{name}.{i}") for i in range(self._length(node, name))]
        return ParameterList(node, self, name, items)

    def remove(self, node, name):
        for index in range(self._length(node, name)):
            self.element.remove(node, f"{name}.{index}")
        node.UnsetParameter(f"{name}.len")


class ParameterList(collections.abc.MutableSequence):
    """The list that a list parameter reads as: a change is written to the node."""

    def __init__(self, node, storage, name, items):
        self._node, self._storage, self._name, self._items = node, storage, name, items

    def _save(self, items):
        with slicer.util.NodeModify(self._node):
            self._storage.write(self._node, self._name, items)
        self._items = items

    def __len__(self):
        return len(self._items)

    def __getitem__(self, index):
        return self._items[index]

    def __setitem__(self, index, value):
        items = list(self._items)
        items[index] = value
        self._save(items)

    def __delitem__(self, index):
        items = list(self._items)
        del items[index]
        self._save(items)

    def extend(self, values):
        self._save([*self._items, *values])

    def __iadd__(self, values):
        self.extend(values)
        return self

    def clear(self):
        self._save([])

    def sort(self, **options):
        self._save(sorted(self._items, **options))

    def insert(self, index, value):
        items = list(self._items)
        items.insert(index, value)
        self._save(items)

    def __eq__(self, other):
        return list(self) == list(other)

    def __repr__(self):
        return f"ParameterList({self._items})"
