"""Plans, their replay on weights, saving and loading."""
