"""Declaring: what a task is, what goes in, what comes out, what it may do. No file, no clock."""
