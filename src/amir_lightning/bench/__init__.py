"""What a network costs: parameters, multiply-adds, seconds and memory."""
