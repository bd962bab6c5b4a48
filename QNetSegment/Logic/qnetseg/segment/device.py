"""Choosing where to compute, and proving that it works before relying on it."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from ..errors import DeviceError, NetworkError

NAMES = ("auto", "cpu", "cuda", "mps")


def choose_device(name: str = "auto") -> tuple[torch.device, str]:
    """The device to use and a warning, empty if there is none.

    "auto" takes cuda, then mps, then the CPU; a GPU is taken only if one convolution on it gives a finite
    number, because a new GPU can be listed and yet have no kernels in the installed torch.

    Raises:
        DeviceError: a device asked for by name is missing or fails that test.
    """
    if name not in NAMES:
        raise DeviceError(f"There is no device {name!r}.", f"Use one of {', '.join(NAMES)}.")
    if name == "cpu":
        return torch.device("cpu"), ""
    warning = ""
    for candidate in ("cuda", "mps") if name == "auto" else (name,):
        problem = _problem(candidate)
        if not problem:
            return torch.device(candidate), ""
        if name != "auto":
            raise DeviceError(f"The device {name} cannot be used: {problem}.", "Use --device cpu, or auto.")
        if problem != _MISSING:
            warning = f"The GPU ({candidate}) was not used: {problem}."
    return torch.device("cpu"), warning


_MISSING = "this machine or this torch has none"


def _problem(candidate: str) -> str:
    """Why a GPU cannot be used; empty if it can."""
    backend = torch.cuda if candidate == "cuda" else torch.backends.mps
    if not backend.is_available():
        return _MISSING
    try:
        result = torch.nn.functional.conv2d(
            torch.ones(1, 1, 4, 4, device=candidate), torch.ones(1, 1, 3, 3, device=candidate)
        )
        return "" if bool(torch.isfinite(result).all().cpu()) else "a test convolution gave no number"
    except RuntimeError as error:
        return f"a test convolution failed ({str(error).splitlines()[0]})"


def computes_bf16(device: torch.device) -> bool:
    """Whether the hardware multiplies bfloat16 matrices faster than float32."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device)[0] >= 8
    if device.type == "cpu":
        # torch has no public name for this; where the private one is gone, float32 is always right.
        probe = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
        return bool(probe())
    return False


def require_numbers(answer: Iterable[Tensor], device: torch.device, precision: str) -> None:
    """Raise `NetworkError` where a network's answer holds NaN or infinite values: a result made of them would
    look like one."""
    if not all(bool(torch.isfinite(part).all()) for part in answer):
        raise NetworkError(
            f"The network's answer on the device {device.type} in {precision} holds values that are not"
            " finite numbers.",
            "Use --device cpu and --precision fp32; if that does not help, other weights.",
        )
