"""An imitation of a CUDA device on the CPU, which finds wrong devices and counts waits where there is no GPU."""

from detkit.testing.imitation.imitated_device import ImitatedDevice, imitated_device
from detkit.testing.imitation.waits import Wait

__all__ = ["ImitatedDevice", "Wait", "imitated_device"]
