"""Running kubectl as a person would, apart from the person's own configuration."""

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from controlplane.programs import Programs


class KubectlFailed(RuntimeError):  # noqa: N818 - named after what happened
    """kubectl said no; the text is what it said."""


def kubectl(
    programs: Programs, kubeconfig: Path, arguments: Sequence[str], *, stdin: str = ""
) -> str:
    """Run kubectl and return what it printed.

    Plug-ins (``kubectl steelyard ...``) are found on the PATH.

    Raises:
        KubectlFailed: with what it said, the server's message included.
    """
    home = kubeconfig.parent / "kubectl-home"  # its discovery cache
    home.mkdir(exist_ok=True)
    path = os.environ.get("PATH", os.defpath)
    done = subprocess.run(
        [str(programs.path("kubectl")), *arguments],
        check=False,
        capture_output=True,
        text=True,
        input=stdin,
        env={"HOME": str(home), "KUBECONFIG": str(kubeconfig), "PATH": path},
    )
    if done.returncode:
        raise KubectlFailed(done.stderr.strip() or done.stdout.strip())
    return done.stdout
