"""Cost of networks: parameters, multiply-adds, seconds and memory."""
