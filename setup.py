"""The one compiled part; everything else about the package is in pyproject.toml.

One wheel serves every Python from 3.11 on. Where there is no compiler the installation goes on without it, and
large tokenizer files are read slower; so too on a Python without its lock, which has no limited API.
"""

import os
import sysconfig

from setuptools import Extension, setup

# a sixth faster than -O2, which Debian's Python says
OPTIMISED = [] if os.name == "nt" else ["-O3"]

if sysconfig.get_config_var("Py_GIL_DISABLED"):
    setup()
else:
    setup(
        ext_modules=[
            Extension(
                "padfix.read._scan",
                ["src/padfix/read/_scan.c"],
                depends=[f"src/padfix/read/_scan_{part}.h" for part in ("json", "vocab", "read")],
                extra_compile_args=OPTIMISED,
                py_limited_api=True,
                optional=True,
            )
        ],
        options={"bdist_wheel": {"py_limited_api": "cp311"}},
    )
