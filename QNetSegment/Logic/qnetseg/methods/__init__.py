"""Q-Net and its rivals by name: networks behind one interface, `FewShotMethod`."""

from ..errors import RecipeError
from ..model import FewShotMethod, QNet, QNetConfig

METHODS: dict[str, type[FewShotMethod]] = {"qnet": QNet}


def build_method(name: str, config: QNetConfig) -> FewShotMethod:
    """A network with random weights. Raises `RecipeError` for an unknown name."""
    if name not in METHODS:
        raise RecipeError(f"There is no method {name!r}.", f"Use one of {', '.join(METHODS)}.")
    return METHODS[name](config)


__all__ = ["METHODS", "build_method"]
