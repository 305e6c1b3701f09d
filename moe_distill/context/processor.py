"""What decides the last bits of a result besides its key: the processor, its instructions, the threads."""

import os
import platform
from pathlib import Path

import torch

from moe_distill.errors import InputError

# Environment variables that make a library multiply float32 numbers with fewer bits, each with the value
# that keeps full precision.
_ROUNDING = {
    "ONEDNN_DEFAULT_FPMATH_MODE": "STRICT",
    "DNNL_DEFAULT_FPMATH_MODE": "STRICT",
    "NVIDIA_TF32_OVERRIDE": "0",
    "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE": "0",
}
# Environment variables that choose a library's vector instructions, and so the order in which it adds.
_INSTRUCTIONS = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "MKL_ENABLE_INSTRUCTIONS", "MKL_CBWR")


def require_full_precision() -> None:
    """Refuse an environment that rounds float32: results would change although their keys do not.

    Raises:
        InputError: A variable of the environment asks for rounding.
    """
    for name, exact in _ROUNDING.items():
        value = os.environ.get(name, exact)
        if value.upper() not in (exact, ""):
            allowed = (
                f"{exact}, or not set: float32 would be rounded, which the keys of results do not record"
            )
            raise InputError(name, value, allowed)


def hardware(device: torch.device) -> str:
    """Return the ``hardware`` column of results: equal keys on equal hardware give equal bits.

    It names the GPU, or the CPU with its vector instructions and number of threads: both change the order in
    which a sum is added, and so its last bits.
    """
    if device.type != "cpu":
        major, minor = torch.cuda.get_device_capability(device)
        return f"{torch.cuda.get_device_name(device)}, sm_{major}{minor}"
    count = torch.get_num_threads()
    instructions = torch.backends.cpu.get_cpu_capability()
    overrides = [f", {name}={os.environ[name]}" for name in _INSTRUCTIONS if os.environ.get(name)]
    plural = "s" if count > 1 else ""
    return f"{_processor()}, {instructions}, {count} thread{plural}{''.join(overrides)}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        # Only Linux has this file.
        lines = []
    model_names = (line.partition(":")[2] for line in lines if line.startswith("model name"))
    # Some vendors pad the name with runs of spaces.
    return " ".join(next(model_names, platform.processor() or platform.machine()).split())


def device_name(device: torch.device) -> str:
    """Return the ``device`` column of results: ``cpu``, or the GPU's name.

    Example:
        >>> device_name(torch.device("cpu"))
        'cpu'
    """
    return "cpu" if device.type == "cpu" else torch.cuda.get_device_name(device)
