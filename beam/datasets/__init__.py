"""The annotation files of published datasets in, `specs.Inputs` out: one module a dataset, `catalog` lists them.

Nothing is downloaded. docs/datasets.md says for each where the originals come from and what becomes of them.
"""
