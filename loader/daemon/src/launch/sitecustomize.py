"""Put before a job's Python by `forebay run --auto`: once torch.utils.data is imported, forebay's client looks at it.

Every process of the job finds it by PYTHONPATH: those of `python -m`, of torchrun, and those that are spawned.
"""

import os
import sys


class _Finder:
    """Lets the other finders look for torch.utils.data, and acts behind its import. Once a process."""

    def find_spec(self, name, path=None, target=None):
        if name != "torch.utils.data":
            return None
        sys.meta_path.remove(self)
        for finder in sys.meta_path:
            spec = finder.find_spec(name, path, target) if hasattr(finder, "find_spec") else None
            if spec is not None:
                _act_behind(spec.loader)
                return spec
        return None


def _act_behind(loader):
    run = getattr(loader, "exec_module", None)

    def exec_module(module):
        run(module)
        _install()

    if run is not None:
        loader.exec_module = exec_module


def _install():
    try:
        from forebay import _auto

        _auto.install()
    except Exception as error:  # no forebay, or another one, is no reason to stop a training
        words = f"{sys.executable} cannot use forebay ({error}); pip install forebay there"
        print(f"forebay: auto: torch's own DataLoader reads all data: {words}", file=sys.stderr, flush=True)


def _run_the_next():
    """Run the sitecustomize.py that Python would have found without this one."""
    from importlib.machinery import PathFinder
    from importlib.util import module_from_spec

    here = os.path.dirname(os.path.abspath(__file__))
    spec = PathFinder.find_spec("sitecustomize", [path for path in sys.path if os.path.abspath(path) != here])
    if spec is not None and spec.loader is not None:
        spec.loader.exec_module(module_from_spec(spec))


sys.meta_path.insert(0, _Finder())
_run_the_next()
