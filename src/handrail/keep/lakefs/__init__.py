"""Versioned files in LakeFS; see docs/understand/lakefs.md."""
