"""Exported files in other precisions than float32."""
