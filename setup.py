"""What pyproject.toml cannot say: csrc/build.py makes the extension modules and the generated ones."""

import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py

sys.path.insert(0, str(Path(__file__).parent / "csrc"))
import build


class BuildModules(build_py):
    def run(self):
        build.build_generated()
        super().run()


class BuildExtensions(build_ext):
    def build_extension(self, extension):
        directory = Path(self.get_ext_fullpath(extension.name)).parent
        directory.mkdir(parents=True, exist_ok=True)
        build.build_extensions(directory)


setup(
    cmdclass={"build_py": BuildModules, "build_ext": BuildExtensions},
    ext_modules=[Extension("pyrun._native", []), Extension("pyrun._json", [])],
)
