"""A year of flights from New York: a pipeline with a watermark, guardrails and a report.

Read `pipeline.py` first. `python -m examples.flights` runs it on real data.
"""
