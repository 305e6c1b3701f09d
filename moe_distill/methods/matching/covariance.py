"""The distance of the covariances of real and synthetic features.

Source: the second term of DSDM's loss (Li et al., "Diversified Semantic Distribution Matching for Dataset
Distillation", ACM MM 2024, and its published code, commit cb12851).
"""

import torch


def squared_distance_of_covariances(real_ND: torch.Tensor, synthetic_MD: torch.Tensor) -> torch.Tensor:
    """Return ‖Cov(real) − Cov(synthetic)‖²_F of unbiased covariances, a scalar; no gradient to real features.

    Args:
        real_ND: Features of at least 2 real images.
        synthetic_MD: Features of at least 2 synthetic images.

    Example:
        >>> real, synthetic = torch.tensor([[0.0, 0.0], [2.0, 0.0]]), torch.tensor([[0.0, 0.0], [0.0, 2.0]])
        >>> squared_distance_of_covariances(real, synthetic)  # diag(2, 0) and diag(0, 2)
        tensor(8.)
    """
    rows = [_scaled(real_ND.detach()), _scaled(synthetic_MD)]
    n, m, d = len(real_ND), len(synthetic_MD), real_ND.shape[1]
    if n + m >= d:
        real_DD, synthetic_DD = (r.T @ r for r in rows)
        return (real_DD - synthetic_DD).square().sum()
    # With all rows Q and the signs J = diag(1, …, −1, …), ‖QᵀJQ‖² = tr(JGJG) for the smaller G = QQᵀ.
    stacked = torch.cat(rows)
    gram = stacked @ stacked.T
    signs = torch.cat([gram.new_ones(n), -gram.new_ones(m)])
    return signs @ gram.square() @ signs


def _scaled(f_ND: torch.Tensor) -> torch.Tensor:
    """Return centred features over √(N − 1), whose product with themselves is the covariance."""
    return (f_ND - f_ND.mean(0)) / (len(f_ND) - 1) ** 0.5
