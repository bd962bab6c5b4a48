"""What every network that a weights file holds can say of itself."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import nn


class Network(nn.Module):
    """A network that is made from its configuration alone.

    Attributes:
        name: in recipes and weights files.
        title: in tables and messages.
        config_type: class of the configuration; it has `to_dict` and `from_dict`.
        config: an instance of it.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    config_type: ClassVar[Any]
    config: Any

    @property
    def described(self) -> str:
        """What messages call it: the title and what tells its size."""
        return self.title
