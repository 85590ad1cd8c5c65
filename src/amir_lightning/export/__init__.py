"""A trained network as a folder for others: weights, configuration, model card, programs."""
