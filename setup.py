"""The one compiled part; everything else about the package is in pyproject.toml.

One wheel serves every Python from 3.11 on. Where there is no compiler the installation goes on without it, and
large tokenizer files are read slower; so too on a Python without its lock, which has no limited API.
"""

import os
import sysconfig

from setuptools import Extension, setup

if sysconfig.get_config_var("Py_GIL_DISABLED"):
    setup()
else:
    setup(
        ext_modules=[
            Extension(
                "padfix.read._scan",
                ["src/padfix/read/_scan.c"],
                depends=["src/padfix/read/_scan_json.h", "src/padfix/read/_scan_vocab.h"],
                extra_compile_args=[]
                if os.name == "nt"
                else ["-O3"],  # a sixth faster than -O2, which Debian's Python says
                py_limited_api=True,
                optional=True,
            )
        ],
        options={"bdist_wheel": {"py_limited_api": "cp311"}},
    )
