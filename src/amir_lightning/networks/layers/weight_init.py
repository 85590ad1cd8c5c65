"""Initial weights that transformers share."""

from torch import nn


def small_normal(module: nn.Module) -> None:
    """Draw the weights of all linear layers from N(0, 0.02^2), and set their biases to zero.

    The releases truncate the distribution at -2 and 2. That is 100 standard deviations away and
    changes nothing.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, std=0.02)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
