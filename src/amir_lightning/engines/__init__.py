"""Engines that restore in place of torch: programs of a network, and the user's cache of them."""
