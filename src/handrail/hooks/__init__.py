"""Around an execution: who is told of it."""
