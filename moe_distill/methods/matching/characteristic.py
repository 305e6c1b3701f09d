"""The distance of two sets of features by their characteristic functions, φ(t) = E exp(i t·f).

Source: NCFM (Wang et al., "Dataset Distillation with Neural Characteristic Function: A Minmax Perspective",
CVPR 2025), in the form of its published code.
"""

import torch
import torch.nn.functional as F

LEAST_PHASE = 1e-12  # of the published code: no gradient below it, as that of a root at 0 is infinite
LEAST = 1e-24  # the same for both parts together: only without a phase part can they be less


def characteristic(f_ND: torch.Tensor, t_KD: torch.Tensor) -> torch.Tensor:
    """Return the empirical characteristic function at K frequencies as its real and imaginary part, (2, K).

    Args:
        f_ND: Features, a row for each of N images.
        t_KD: Frequencies.

    Example:
        >>> characteristic(torch.zeros(3, 2), torch.ones(1, 2)).tolist()
        [[1.0], [0.0]]
    """
    phase_NK = f_ND @ t_KD.T
    return torch.stack([phase_NK.cos().mean(0), phase_NK.sin().mean(0)])


def characteristic_distance(
    real_ND: torch.Tensor,
    synthetic_MD: torch.Tensor,
    t_KD: torch.Tensor,
    amplitude: float,
    phase: float,
) -> torch.Tensor:
    """Return the mean over frequencies of √(α (|Φ| − |φ|)² + β 2 (|Φ||φ| − Re Φφ*)), a scalar.

    Φ is the function of the real features, φ that of the synthetic ones. The second part is 2 |Φ||φ| times
    one minus the cosine of the difference of their phases. With α = β it is √α |Φ − φ|.

    Args:
        real_ND: Real features; they get no gradient.
        synthetic_MD: Synthetic features.
        t_KD: Frequencies.
        amplitude: α, the weight of the difference of amplitudes.
        phase: β, the weight of the difference of phases.
    """
    real_2K, synthetic_2K = characteristic(real_ND.detach(), t_KD), characteristic(synthetic_MD, t_KD)
    # vector_norm, as the gradient of a root of squares is NaN at 0.
    real_K, synthetic_K = (torch.linalg.vector_norm(phi, dim=0) for phi in (real_2K, synthetic_2K))
    amplitudes_K = (real_K - synthetic_K).square()
    phases_K = 2 * (real_K * synthetic_K - (real_2K * synthetic_2K).sum(0))
    squares_K = amplitude * amplitudes_K + phase * phases_K.clamp_min(LEAST_PHASE)
    return squares_K.clamp_min(LEAST).sqrt().mean()


def unit_rows(f_ND: torch.Tensor) -> torch.Tensor:
    """Return features with every row of norm 1, so that t·f of Gaussian frequencies is normal itself."""
    return F.normalize(f_ND, dim=1, eps=1e-12)
