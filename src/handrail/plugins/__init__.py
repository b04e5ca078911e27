"""Ready-made hooks, one concern each."""
