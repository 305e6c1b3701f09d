"""What decides the last bits of a number besides its key: the processor, the instructions used, the
threads.
"""

import os
import platform
from pathlib import Path

import torch

from moe_distill.errors import InputError

# What has a library multiply float32 numbers in fewer bits, each with the value that does not.
_ROUNDING = {
    "ONEDNN_DEFAULT_FPMATH_MODE": "STRICT",
    "DNNL_DEFAULT_FPMATH_MODE": "STRICT",
    "NVIDIA_TF32_OVERRIDE": "0",
    "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE": "0",
}
# What has a library take other instructions, which add in another order.
_INSTRUCTIONS = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "MKL_ENABLE_INSTRUCTIONS", "MKL_CBWR")


def require_full_precision() -> None:
    """Refuse an environment that rounds what is computed: numbers would change of which no key tells.

    Raises:
        InputError: There is such a variable.
    """
    for name, exact in _ROUNDING.items():
        value = os.environ.get(name, exact)
        if value.upper() not in (exact, ""):
            raise InputError(
                name, value, f"{exact}, or not set: float32 would be rounded, of which no key tells"
            )


def hardware(device: torch.device) -> str:
    """Return what a device computes with, as a column of the results: equal keys and equal hardware give
    equal bits.

    A sum over several threads is added in another order than over one, and wider vector instructions
    likewise.
    """
    if device.type != "cpu":
        major, minor = torch.cuda.get_device_capability(device)
        return f"{torch.cuda.get_device_name(device)}, sm_{major}{minor}"
    count = torch.get_num_threads()
    instructions = torch.backends.cpu.get_cpu_capability()
    set_otherwise = [f", {name}={os.environ[name]}" for name in _INSTRUCTIONS if os.environ.get(name)]
    return f"{_processor()}, {instructions}, {count} thread{'s' if count > 1 else ''}{''.join(set_otherwise)}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2] for line in lines if line.startswith("model name"))
    return " ".join(next(named, platform.processor() or platform.machine()).split())


def device_name(device: torch.device) -> str:
    """Return what results call a device."""
    return "cpu" if device.type == "cpu" else torch.cuda.get_device_name(device)
