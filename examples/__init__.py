"""Whole programs written with Handrail."""
