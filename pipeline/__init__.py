"""Typed records and a store: one module per stage, from sources to a Parquet dataset."""
