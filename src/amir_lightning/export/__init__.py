"""Export a trained network as a folder: weights, configuration, model card, programs."""
