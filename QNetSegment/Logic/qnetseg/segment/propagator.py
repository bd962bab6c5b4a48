"""The propagation network on a device, in the precision that suits it."""

from __future__ import annotations

import torch

from ..errors import is_out_of_memory
from ..model.propagation import Propagated, PropagationNet
from .device import choose_device, computes_bf16, require_numbers
from .evidence import Appearance, Scene, evidence
from .options import SegmentOptions


class Propagator:
    """Looks at one window after another. A GPU whose memory runs out is left for the CPU, with a warning."""

    def __init__(self, network: PropagationNet, options: SegmentOptions) -> None:
        """The caller's network stays where it is. Raises DeviceError."""
        self.device, warning = choose_device(options.device)
        self.warnings = [warning] if warning else []
        self._wanted_precision = options.precision
        self._original = network
        self._place()

    @property
    def precision(self) -> str:
        """ "bf16" where asked for or, by default, where the hardware computes in it; else "fp32"."""
        if self._wanted_precision == "auto":
            return "bf16" if computes_bf16(self.device) else "fp32"
        return self._wanted_precision

    def look(self, scene: Scene, appearance: Appearance) -> Propagated:
        """What the network says of windows; everything on the CPU, float32. Raises NetworkError."""
        try:
            return self._look(scene, appearance)
        except RuntimeError as error:
            if self.device.type == "cpu" or not is_out_of_memory(error):
                raise
            self.warnings.append(
                f"The memory of the device {self.device.type} was too small; the CPU took over."
            )
            torch.cuda.empty_cache()
            self.device = torch.device("cpu")
            self._place()
            return self._look(scene, appearance)

    def _look(self, scene: Scene, appearance: Appearance) -> Propagated:
        seen = evidence(scene.to(self.device), appearance.to(self.device))
        seen = seen.contiguous(memory_format=torch.channels_last_3d)
        low = self.precision == "bf16"
        with torch.inference_mode(), torch.autocast(self.device.type, torch.bfloat16, enabled=low):
            said = self.network(seen)
        on_cpu = Propagated(said.logits.float().cpu(), said.presence.float().cpu())
        require_numbers(on_cpu, self.device, self.precision)
        return on_cpu

    def _place(self) -> None:
        # On the CPU the caller's own network serves: it is not changed.
        network = self._original
        if self.device.type != "cpu":
            network = PropagationNet(network.config)
            network.load_state_dict(self._original.state_dict())
            network = network.to(self.device)
        self.network = network.eval()
