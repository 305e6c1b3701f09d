"""DSA: gradient matching with differentiable Siamese augmentation.

Zhao and Bilen, "Dataset Condensation with Differentiable Siamese Augmentation", ICML 2021, §3.2.
"""

from moe_distill.methods.dc import DC


class DSA(DC):
    """DC whose real and synthetic images are augmented alike when matched, and each by itself when trained
    on.

    Everything else is :class:`~moe_distill.methods.dc.DC`, the rule of its loops included.
    """
