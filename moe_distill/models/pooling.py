"""Average pooling as a product with a small matrix, which a CPU computes several times as fast."""

import torch
import torch.nn.functional as F
from torch import nn

# The product multiplies by zeros, the more the wider the map: above this width pooling is as fast.
_WIDEST = 64


class AveragePool(nn.Module):
    """Means of 2 × 2 pixels, as ``nn.AvgPool2d(2)``; on a CPU as a product.

    Two rows of a map lie behind one another in memory, so that a row of means is one row vector of 2W values
    times a 2W × W/2 matrix of quarters and zeros. Quarters scale exactly and the four pixels are added in the
    same order, so that the means and their gradients are those of ``nn.AvgPool2d``, bit for bit.
    """

    def forward(self, x_NCHW: torch.Tensor) -> torch.Tensor:
        """Return the means, N × C × H/2 × W/2; an odd last row or column is left out."""
        height, width = x_NCHW.shape[-2:]
        if x_NCHW.device.type != "cpu" or height % 2 or width % 2 or width > _WIDEST:
            return F.avg_pool2d(x_NCHW, 2)
        one_row = torch.eye(width // 2, dtype=x_NCHW.dtype).mul_(0.25).repeat_interleave(2, dim=0)
        # Automatic casting would round a float32 map that pooling leaves as it is.
        with torch.autocast(x_NCHW.device.type, enabled=False):
            rows = x_NCHW.reshape(*x_NCHW.shape[:-2], height // 2, 2 * width)
            return rows @ torch.cat([one_row, one_row])
