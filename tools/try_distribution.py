"""Install each file of a release into a new environment, and run the quickstart there.

The environment is made outside of the repository, and the quickstart is a copy: what it imports can
only come from the file. ::

    python tools/try_distribution.py dist/*
"""

import os
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def try_distribution(file: Path) -> None:
    """Install `file` with the pinned dependencies and run the quickstart.

    Raises
    ------
    CalledProcessError
        If either fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        python = Path(folder, "env", "bin", "python")
        venv.create(python.parents[1], with_pip=True)
        install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        requirement = f"sk-fewshot[plot] @ {file.resolve().as_uri()}"
        subprocess.run([*install, "-c", ROOT / "constraints.txt", requirement], check=True)
        script = shutil.copy(ROOT / "examples" / "quickstart.py", folder)
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        subprocess.run([python, script], cwd=folder, env=environment, check=True)
        assert Path(folder, "quickstart.png").stat().st_size


if __name__ == "__main__":
    for name in sys.argv[1:]:
        print(f"=== {name}", flush=True)
        try_distribution(Path(name))
