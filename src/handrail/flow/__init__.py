"""Composing: graphs of tasks, checked before anything runs."""
