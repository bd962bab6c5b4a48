"""What may stand in `Annotated[...]`: defaults, validators, and how widgets show numbers."""

import types
import typing
from dataclasses import dataclass


def split(hint):
    """(type, annotations) of a possibly annotated type; `A | B` becomes Union[A, B]."""
    kind, annotations = hint, ()
    if typing.get_origin(hint) is typing.Annotated:
        kind, *annotations = typing.get_args(hint)
    if isinstance(kind, types.UnionType):
        kind = typing.Union[typing.get_args(kind)]  # noqa: UP007
    return kind, list(annotations)


def first(annotations, kind):
    return next((item for item in annotations if isinstance(item, kind)), None)


class Default:
    def __init__(self, value=None, *, generator=None):
        self._value, self._generator = value, generator

    @property
    def value(self):
        return self._generator() if self._generator else self._value


@dataclass(eq=False)
class Decimals:
    value: int


@dataclass(eq=False)
class SingleStep:
    value: float


class Validator:
    """Raises from `validate` what must not be stored; ValueError unless the type is wrong."""

    def validate(self, value):
        raise NotImplementedError


class NotNone(Validator):
    def validate(self, value):
        if value is None:
            raise ValueError("None is not a value of this parameter")


@dataclass(eq=False)
class IsInstance(Validator):
    classtype: typing.Any

    def validate(self, value):
        if value is not None and not isinstance(value, self.classtype):
            raise TypeError(f"{value!r} is a {type(value).__name__}, not a {self.classtype}")


@dataclass(eq=False)
class WithinRange(Validator):
    minimum: float
    maximum: float

    def validate(self, value):
        if not self.minimum <= value <= self.maximum:
            raise ValueError(f"{value} lies outside of {self.minimum} to {self.maximum}")


@dataclass(eq=False)
class Minimum(Validator):
    minimum: float

    def validate(self, value):
        if value < self.minimum:
            raise ValueError(f"{value} is below {self.minimum}")


@dataclass(eq=False)
class Maximum(Validator):
    maximum: float

    def validate(self, value):
        if value > self.maximum:
            raise ValueError(f"{value} is above {self.maximum}")


@dataclass(eq=False)
class Choice(Validator):
    choices: typing.Any

    def validate(self, value):
        if value not in self.choices:
            raise ValueError(f"{value!r} is none of {list(self.choices)}")


@dataclass(eq=False)
class Exclude(Validator):
    excludedValues: typing.Any

    def validate(self, value):
        if value in self.excludedValues:
            raise ValueError(f"{value!r} is excluded")
