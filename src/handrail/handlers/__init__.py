"""Task handlers that come with Handrail, one file each, found by name."""
