"""What a plan is worth before it is fine-tuned: one file for each class of cost, one registry."""
