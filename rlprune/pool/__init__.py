"""Many small trained networks of sampled architectures, on disk: what an agent learns from."""
