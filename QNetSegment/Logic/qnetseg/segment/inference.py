"""Running the encoder over many slices: batches, mixed precision, running out of memory."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from ..errors import is_out_of_memory
from ..model import FewShotMethod, QNet
from ..volume import SupportSet
from .device import choose_device, computes_bf16, require_numbers
from .job import Job
from .options import SegmentOptions

Network = TypeVar("Network", bound=FewShotMethod)
Work = TypeVar("Work")


class Runner(Generic[Network]):
    """A network on a device. Falls back to smaller batches, then to the CPU, and says so in `warnings`.

    The caller's network, `original`, stays as it is: the runner works on a copy whose batch normalisation is
    folded into its convolutions and whose encoder holds the precision that it computes in.
    """

    def __init__(self, network: Network, options: SegmentOptions) -> None:
        self.device, warning = choose_device(options.device)
        self.warnings = [warning] if warning else []
        self.batch_size = options.batch_size
        self._wanted_precision = options.precision
        self.original = network
        try:
            self.network = self._place()
        except RuntimeError as error:
            if self.device.type == "cpu" or not is_out_of_memory(error):
                raise
            self._use_cpu()

    @property
    def precision(self) -> str:
        """ "bf16" where asked for or, by default, where the hardware computes in it; else "fp32"."""
        if self._wanted_precision == "auto":
            return "bf16" if computes_bf16(self.device) else "fp32"
        return self._wanted_precision

    def seen_as(self, support: SupportSet) -> tuple[Any, ...]:
        """What decides, beside the grid, how the encoder sees a volume: a key for what is kept of it."""
        return (self.original, self.device.type, self.precision, support.plane, support.axes.tobytes())

    def encode(self, images: Tensor) -> Any:
        """Features of (B, H, W) float32 images by the network's method, float32 on the runner's device.

        Raises NetworkError.
        """
        with torch.no_grad():
            features = self.network.encode(images.to(self.device, self._dtype))
        features = type(features)(*(part.float() for part in features))
        self.require_numbers(*features)
        return features

    def finest(self: Runner[QNet], images: Tensor) -> Tensor:
        """The finest of these features alone. Raises NetworkError."""
        with torch.no_grad():
            features = self.network.finest(images.to(self.device, self._dtype)).float()
        self.require_numbers(features)
        return features

    def require_numbers(self, *answer: Tensor) -> None:
        """Raise `NetworkError` where what the network says holds NaN or infinite values."""
        require_numbers(answer, self.device, self.precision)

    def batches(
        self,
        images: Tensor,
        work: Callable[[slice, Any], Work],
        stage: str,
        job: Job,
        kept: list[Any] | None = None,
        encode: Callable[[Tensor], Any] | None = None,
    ) -> Iterator[tuple[slice, Work]]:
        """Encode (S, H, W) images batch by batch and do `work` on the features of each.

        encode: None for `self.encode`; another one does not go with `kept`.
        kept: features of the images from an earlier call, which are then not encoded again, or an empty list
        that receives them.

        Yields the slice of S and what the work gave. Raises `Cancelled` between batches. When memory runs
        out, also inside the work, the batch is halved; when one slice does not fit, the CPU takes over.
        """
        done, total = 0, len(images)
        while done < total:
            job.check()
            part = slice(done, min(done + self.batch_size, total))
            try:
                features = self._features(images, part, kept, encode or self.encode)
                with torch.no_grad():
                    result = work(part, features)
            except (RuntimeError, MemoryError) as error:
                if not self._shrink(error):
                    raise
                continue
            if kept is not None and done == len(kept):
                kept += _slice_by_slice(features, self._dtype)
            yield part, result
            done = part.stop
            job.tell(done, total, stage)

    def _features(
        self, images: Tensor, part: slice, kept: list[Any] | None, encode: Callable[[Tensor], Any]
    ) -> Any:
        """One batch, out of what was kept slice by slice where that holds it."""
        if kept is None or len(kept) < part.stop:
            return encode(images[part])
        slices = kept[part]
        parts = (torch.cat(values).to(self.device, torch.float32) for values in zip(*slices, strict=True))
        return type(slices[0])(*parts)

    def _shrink(self, error: Exception) -> bool:
        """Make the next attempt cheaper after running out of memory; False if that was not the reason."""
        if not is_out_of_memory(error) or (self.batch_size == 1 and self.device.type == "cpu"):
            return False
        if self.batch_size > 1:
            self.batch_size //= 2
            self.warnings.append(f"Memory ran out; slices were taken {self.batch_size} at a time.")
        else:
            self._use_cpu()
        return True

    def _use_cpu(self) -> None:
        self.warnings.append(f"The memory of the device {self.device.type} was too small; the CPU took over.")
        torch.cuda.empty_cache()
        self.device = torch.device("cpu")
        self.network = self._place()

    @property
    def _dtype(self) -> torch.dtype:
        return torch.bfloat16 if self.precision == "bf16" else torch.float32

    def _place(self) -> Network:
        network = fold_batch_norm(copy.deepcopy(self.original).eval()).to(self.device)
        network.encoder.to(dtype=self._dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
        return network


def _slice_by_slice(features: Any, computed: torch.dtype) -> list[Any]:
    """Features of a batch as those of its slices, on the CPU, as precise as they were computed."""
    parts = (values.to("cpu", computed).split(1) for values in features)
    return [type(features)(*one) for one in zip(*parts, strict=True)]


def fold_batch_norm(network: Network) -> Network:
    """Fold every frozen batch normalisation of the encoder into the convolution before it, in place."""
    for module in list(network.encoder.modules()):
        children = list(module.named_children())
        for (before, conv), (after, norm) in pairwise(children):
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                module._modules[before] = fuse_conv_bn_eval(conv, norm)
                module._modules[after] = nn.Identity()
    return network
