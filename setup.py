"""The one compiled part; everything else about the package is in pyproject.toml.

One wheel serves every Python from 3.11 on. Where there is no compiler the installation goes on without it, and
large tokenizer files are read slower.
"""

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension("padfix.read._scan", ["src/padfix/read/_scan.c"], py_limited_api=True, optional=True)
    ],
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
