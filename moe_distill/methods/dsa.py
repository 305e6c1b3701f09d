"""DSA: gradient matching with differentiable Siamese augmentation.

Zhao and Bilen, "Dataset Condensation with Differentiable Siamese Augmentation", ICML 2021, §3.2.
"""

from moe_distill.methods.dc import DC


class DSA(DC):
    """DC with differentiable Siamese augmentation.

    In matching, real and synthetic images share one draw; in training, each image has its own. Everything
    else, including the rule for its loops, is :class:`~moe_distill.methods.dc.DC`.
    """
