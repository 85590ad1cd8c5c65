"""Initial weights that transformers share."""

from torch import nn


def small_normal(module: nn.Module) -> None:
    """Draw the weights of all linear layers with deviation 0.02, and set their biases to zero.

    The releases truncate at -2 and 2. That is at 100 deviations, where there is nothing to cut, so
    that a plain normal distribution is the same.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, std=0.02)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
