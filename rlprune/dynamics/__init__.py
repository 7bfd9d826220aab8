"""What is learned of a network from its training, or by probing it afterwards."""
