"""Measures Handrail against its budgets, peers and floors."""
