"""Running: one loop, one caller of user code, one place that publishes."""
