"""Training around a plan: fine-tuning with distillation."""
