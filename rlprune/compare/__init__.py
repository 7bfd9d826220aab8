"""What a comparison of methods is made of: cells, their training, and statistics."""
